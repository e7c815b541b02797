"""The optimum of one configuration, in words and numbers, and what its sweep lacks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import Status
from isoloss.fitting.tuning.arms import Arms
from isoloss.fitting.tuning.trends import Span
from isoloss.laws.forms import Array
from isoloss.units import format_number

_NONE: Span = (float("nan"), float("nan"), float("nan"))
_WIDEST = np.log(10.0)
_UNITS = {"lr": "rate", "batch": "batch", "weight_decay": "weight decay"}


@dataclass(frozen=True, eq=False)
class Configuration:
    """One n and d: where its loss is lowest, how low, and how sure that is.

    n: parameters, d: tokens, c: FLOPs. arms: how many runs the quadratic is of.
    lr, batch, weight_decay: (low, mid, high) of the best setting, in its own unit; NaN for one that
    is no factor of the sweep, or that the arms do not locate. loss, sd: loss at the optimum and its
    standard error, in the unit of the runs. grid_lr, grid_loss: the arm with the lowest mean loss.
    curvature: second derivative of ln loss in ln lr at the optimum.
    usable: whether the optimum is known to within a factor of ten and lies at most one step of the
    grid beyond it. status: `undertuned` where an arm is missing: a factor has one value, the lowest
    loss is at the end of a grid, the arms vary the factors together, or their losses leave the
    optimum open by a factor of ten; then `reason` says which in a clause and `mend` which arm to
    run. rows: which rows of the runs; best_row: one of the lowest arm.
    """

    n: float
    d: float
    c: float
    arms: int
    lr: Span
    batch: Span
    weight_decay: Span
    loss: float
    sd: float
    grid_lr: float
    grid_loss: float
    curvature: float
    usable: bool
    status: tuple[Status, ...]
    reason: str
    mend: str
    rows: NDArray[np.intp] = field(repr=False)
    best_row: int = field(repr=False)


@dataclass(frozen=True, eq=False)
class Located:
    """The draws of one configuration's optimum: at (k, p), log_loss (k,), log_curvature (k,)."""

    at: Array
    log_loss: Array
    log_curvature: Array


def describe(
    arms: Arms,
    factors: tuple[str, ...],
    place: tuple[float, float, float],
    level: float,
    found: Located | None,
) -> Configuration:
    """Put one configuration into words and numbers.

    place: n, d and c. found: the draws of its optimum, None where its arms do not locate one.
    """
    spans = dict.fromkeys(("lr", "batch", "weight_decay"), _NONE)
    loss = sd = curvature = float("nan")
    sure = False
    if found is not None:
        tail = (1 - level) / 2
        for j, name in enumerate(factors):
            low, mid, high = np.exp(np.quantile(found.at[:, j], [tail, 0.5, 1 - tail]))
            spans[name] = (float(low), float(mid), float(high))
        # The sd whose normal 90 % interval is as wide as theirs: the draws have longer tails.
        lower, middle, upper = np.quantile(found.log_loss, [0.05, 0.5, 0.95])
        loss = float(np.exp(middle))
        sd = loss * float(upper - lower) / (2 * 1.6449)
        curvature = float(np.exp(np.median(found.log_curvature)))
        sure = all(np.log(spans[name][2] / spans[name][0]) < _WIDEST for name in factors)
    reason, mend = _lacking(arms, factors, sure, found is not None)
    near = found is not None and _within_a_step(arms, factors, spans)
    n, d, c = place
    best = arms.best
    return Configuration(
        n=n,
        d=d,
        c=c,
        arms=int(arms.near.sum()),
        **spans,
        loss=loss,
        sd=sd,
        grid_lr=float(np.exp(arms.x[best, 0])),
        grid_loss=float(np.exp(arms.y[arms.at_best].mean())),
        curvature=curvature,
        usable=sure and near,
        status=(Status.UNDERTUNED,) if reason else (),
        reason=reason,
        mend=f"at n = {format_number(n)}, d = {format_number(d)} {mend}" if mend else "",
        rows=arms.rows,
        best_row=int(arms.rows[best]),
    )


def _lacking(arms: Arms, factors: tuple[str, ...], sure: bool, located: bool) -> tuple[str, str]:
    """Why the arms do not settle the optimum, and which arm would; "" where they do."""
    for j, name in enumerate(factors):
        values = arms.values(j)
        if len(values) < 2:
            at = format_number(float(values[0]))
            return (
                f"trained at one {_UNITS[name]} ({at})",
                f"run {name} = {_written(values[0] / 2)} and {_written(values[0] * 2)}",
            )
    best = arms.x[arms.best]
    for j, name in enumerate(factors):
        values = arms.values(j)
        mine = float(np.exp(best[j]))
        for end, beside, word in ((-1, -2, "highest"), (0, 1, "lowest")):
            if np.isclose(mine, values[end], rtol=0.01):
                further = values[end] ** 2 / values[beside]
                return (
                    f"the lowest loss is at the {word} {_UNITS[name]} ({_written(mine)})",
                    f"run {name} = {_written(further)}",
                )
    if not located:
        return "its arms vary the settings together", "run the corners of the grid"
    if not sure:
        return (
            "its losses differ too little to say where the optimum is",
            f"run {factors[0]} = {_written(arms.values(0)[0] / 2)} and "
            f"{_written(arms.values(0)[-1] * 2)}",
        )
    return "", ""


def _within_a_step(arms: Arms, factors: tuple[str, ...], spans: dict[str, Span]) -> bool:
    for j, name in enumerate(factors):
        values = np.log(arms.values(j))
        step = float(np.diff(values).max())
        if not values[0] - step <= np.log(spans[name][1]) <= values[-1] + step:
            return False
    return True


def _written(value: float) -> str:
    return f"{float(value):.3g}"
