"""The joint fit of two arms: one law, one factor between them, twins weighted as twins.

Coefficients, all as logarithms: `floor` E of arm a; `scales` and `exponents` of the terms; `ratio`
r; `gap` E of arm b over that of arm a, where asymptotes are free. Least squares of log loss by
Gauss-Newton. Half the sum and half the difference of twins have variances of their own, estimated
in turn, for what the law gets wrong and the luck of a shared seed are in the sum alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isoloss.distributions import student_cdf
from isoloss.errors import FitError
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.trust.resampling import Numbers

Flags = NDArray[np.bool_]

_EXPONENT, _EXPONENT_SPREAD = 0.3, 0.5
_FLOOR, _FLOOR_SPREAD = 0.7, 0.4
"""The weak prior: logarithms of the exponents and of E over the least loss."""
_WEAK = 100.0
_FEWEST_TWINS = 5
"""With fewer twins, or with less than half an arm in them, all runs count as strangers."""
_ROUNDS = 3
_ROBUST_ROUNDS, _SETTLED_ENOUGH = 30, 1e-4
"""Rounds in search of medians, and the step in log coefficients at which that ends."""
_LEAST_SHARE = 1e-3
"""A residual counts as no smaller than this share of their mean size, where medians are sought."""
_STEPS = 40
_SETTLED = 1e-9
"""The descent ends where a step would lower the objective by no more than this share."""
_LEAST_SD = 1e-7


@dataclass(frozen=True, eq=False)
class Arms:
    """Two arms fitted together.

    names: of the coefficients, centre: (q,) and cov: (q, q) of their logarithms; scales are those
    at the geometric means `middle` of the law's variables. cost: FLOPs over n d. degrees: of
    freedom behind the noise in the arms' difference. pairs, sd, sd_pairs as in `Comparison`.
    """

    law: Literal["nd", "c"]
    names: tuple[str, ...]
    centre: Array
    cov: Array
    middle: Array
    cost: float
    degrees: int
    pairs: int
    sd: float
    sd_pairs: float

    def place(self, name: str) -> int:
        return self.names.index(name)

    def value(self, name: str) -> float:
        return float(self.centre[self.place(name)])

    def error(self, name: str) -> float:
        at = self.place(name)
        return float(np.sqrt(self.cov[at, at]))

    def p_value(self, size: float) -> float:
        return 2.0 * (1.0 - student_cdf(size, self.degrees))

    def draws(self, count: int, random: np.random.Generator) -> Array:
        """Return draws of all coefficients' logarithms, (count, q), Student's t about the fit."""
        normal = random.multivariate_normal(np.zeros(len(self.names)), self.cov, size=count)
        chi = np.sqrt(random.chisquare(self.degrees, size=count) / self.degrees)
        return np.asarray(self.centre + normal / chi[:, None])

    def asymptotes(self, logs: Array) -> tuple[Array, Array]:
        """Return E of arm a and of arm b for rows of logarithms."""
        floor = logs[:, self.place("floor")]
        gap = logs[:, self.place("gap")] if "gap" in self.names else 0.0
        return np.exp(floor), np.exp(floor + gap)

    def frontier(self, logs: Array) -> tuple[Array, Array]:
        """Return ln K and gamma of the least reducible loss K / c ** gamma of arm a, for rows."""
        if self.law == "c":
            exponent = np.exp(logs[:, self.place("alpha")])
            return logs[:, self.place("A")] + exponent * self.middle[0], exponent
        alpha, beta = (np.exp(logs[:, self.place(name)]) for name in ("alpha", "beta"))
        a = logs[:, self.place("A")] + alpha * self.middle[0]
        b = logs[:, self.place("B")] + beta * self.middle[1]
        # The best n for n d = 1: d(A / n ** alpha + B n ** beta) / dn = 0.
        best = (np.log(alpha / beta) + a - b) / (alpha + beta)
        gamma = alpha * beta / (alpha + beta)
        log_scale = np.logaddexp(a - alpha * best, b + beta * best)
        return log_scale + gamma * math.log(self.cost), gamma


def fit_arms(runs_a: Runs, runs_b: Runs, law: Literal["nd", "c"], *, free: bool) -> Arms:
    """Fit both arms together.

    Raises FitError if the fit does not settle.
    """
    x, middle, y, second = _laid(runs_a, runs_b, law)
    twins = pair(runs_a, runs_b)
    if len(twins) < max(_FEWEST_TWINS, min(len(runs_a), len(runs_b)) / 2):
        twins = twins[:0]
    names = ("floor", *(("A", "B", "alpha", "beta") if law == "nd" else ("A", "alpha")), "ratio")
    names += ("gap",) if free else ()
    prior, spread = _prior(names, y)
    variances = np.array([1e-4, 1e-4])
    centre = prior
    for _ in range(_ROUNDS):
        weights = _weights(len(y), twins, variances)
        centre, cov = _descend(centre, x, y, second, twins, weights, prior, spread, names)
        variances = _variances(centre, x, y, second, twins, names)
    apart = 1 + int(free)
    count = len(twins) if len(twins) else len(y) - len(names) + apart
    costs = np.concatenate([runs.c / (runs.n * runs.d) for runs in (runs_a, runs_b)])
    return Arms(
        law=law,
        names=names,
        centre=centre,
        cov=cov,
        middle=middle,
        cost=float(np.median(costs)),
        degrees=max(count - apart, 1),
        pairs=len(twins),
        sd=float(np.sqrt(variances.mean())),
        sd_pairs=float(np.sqrt(2.0 * variances[1])) if len(twins) else math.nan,
    )


def median_residuals(runs_a: Runs, runs_b: Runs, arms: Arms) -> Array:
    """Return the residuals of the law of least absolute ones, which an outlier does not pull along.

    By reweighted least squares from the fit `arms`; twins count as strangers.
    Returns (m,) log predicted - log observed, the runs of arm a first.
    """
    x, _, y, second = _laid(runs_a, runs_b, arms.law)
    prior, spread = _prior(arms.names, y)
    alone = np.zeros((0, 2), dtype=np.intp)
    logs = arms.centre
    for _ in range(_ROBUST_ROUNDS):
        before = logs
        size = np.abs(_model(logs, x, second, arms.names)[0] - y)
        usual = max(float(size.mean()), _LEAST_SD)
        weights = 1.0 / (usual * np.maximum(size, _LEAST_SHARE * usual))
        logs, _ = _descend(logs, x, y, second, alone, weights, prior, spread, arms.names)
        if np.max(np.abs(logs - before)) < _SETTLED_ENOUGH:
            break
    return _model(logs, x, second, arms.names)[0] - y


def _laid(runs_a: Runs, runs_b: Runs, law: Literal["nd", "c"]) -> tuple[Array, Array, Array, Flags]:
    """The law's variables (v, m) as logarithms about their means, the means (v,), the log losses
    (m,), and which rows are of arm b (m,)."""
    both = [
        np.log(np.concatenate([getattr(runs, name) for runs in (runs_a, runs_b)]))
        for name in (("n", "d") if law == "nd" else ("c",))
    ]
    middle = np.array([column.mean() for column in both])
    y = np.log(np.concatenate([runs_a.loss, runs_b.loss]))
    return np.stack(both) - middle[:, None], middle, y, np.arange(len(y)) >= len(runs_a)


def pair(runs_a: Runs, runs_b: Runs) -> Numbers:
    """Return which rows are twins, (p, 2): equal n, d and seed, each row in one pair at most.

    The second number counts from the end of arm a.
    """
    waiting: dict[tuple[float, ...], list[int]] = {}
    for row, key in enumerate(_keys(runs_b)):
        waiting.setdefault(key, []).append(row + len(runs_a))
    found = [
        (row, waiting[key].pop(0)) for row, key in enumerate(_keys(runs_a)) if waiting.get(key)
    ]
    return np.array(found, dtype=np.intp).reshape(-1, 2)


def _keys(runs: Runs) -> list[tuple[float, ...]]:
    seed = np.full(len(runs), -1.0) if runs.seed is None else np.nan_to_num(runs.seed, nan=-1.0)
    columns = (np.round(np.log(runs.n), 6), np.round(np.log(runs.d), 6), seed)
    return [tuple(float(v) for v in row) for row in zip(*columns, strict=True)]


def _prior(names: tuple[str, ...], y: Array) -> tuple[Array, Array]:
    """The prior's centre, also where the fit starts, and its spread, of each logarithm."""
    least, middle = float(y.min()), float(np.exp(y.mean()))
    rest = np.log(max(middle - _FLOOR * math.exp(least), 1e-3) / (2.0 if "B" in names else 1.0))
    known = {
        "floor": (least + math.log(_FLOOR), _FLOOR_SPREAD),
        "alpha": (math.log(_EXPONENT), _EXPONENT_SPREAD),
        "beta": (math.log(_EXPONENT), _EXPONENT_SPREAD),
        "A": (float(rest), _WEAK),
        "B": (float(rest), _WEAK),
        "ratio": (0.0, _WEAK),
        "gap": (0.0, _WEAK),
    }
    centre, spread = zip(*(known[name] for name in names), strict=True)
    return np.array(centre), np.array(spread)


def _model(logs: Array, x: Array, second: Flags, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Log loss (m,) and its Jacobian (m, q) in the logarithms of the coefficients."""
    at = {name: float(value) for name, value in zip(names, logs, strict=True)}
    factor = np.where(second, np.exp(at["ratio"]), 1.0)
    floor = np.exp(at["floor"] + np.where(second, at.get("gap", 0.0), 0.0))
    terms, slopes = np.zeros(x.shape[1]), {}
    for scale, exponent, column in zip(("A", "B"), ("alpha", "beta"), x, strict=False):
        term = factor * np.exp(at[scale] - math.exp(at[exponent]) * column)
        slopes[scale], slopes[exponent] = term, -term * math.exp(at[exponent]) * column
        terms = terms + term
    loss = floor + terms
    slopes["floor"] = floor
    slopes["gap"], slopes["ratio"] = np.where(second, floor, 0.0), np.where(second, terms, 0.0)
    return np.log(loss), np.column_stack([slopes[name] for name in names]) / loss[:, None]


def _rotated(values: Array, twins: Numbers) -> Array:
    """Rows with those of twins replaced by sum and difference over sqrt(2)."""
    turned = values.copy()
    first, second = values[twins[:, 0]], values[twins[:, 1]]
    turned[twins[:, 0]] = (first + second) / math.sqrt(2.0)
    turned[twins[:, 1]] = (second - first) / math.sqrt(2.0)
    return turned


def _weights(count: int, twins: Numbers, variances: Array) -> Array:
    """One over the variance of every rotated row: of sums, of differences, of runs alone."""
    variance = np.full(count, variances.mean())
    variance[twins[:, 0]], variance[twins[:, 1]] = variances
    return np.asarray(1.0 / variance)


def _descend(
    start: Array,
    x: Array,
    y: Array,
    second: Flags,
    twins: Numbers,
    weights: Array,
    prior: Array,
    spread: Array,
    names: tuple[str, ...],
) -> tuple[Array, Array]:
    """The logarithms of least weighted squares (q,), and their covariance: damped Gauss-Newton.

    weights: (m,) of the rows rotated at twins.
    """
    precision = spread**-2.0

    def cost(logs: Array) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            left = _rotated(_model(logs, x, second, names)[0] - y, twins)
            value = float(np.sum(weights * left**2) + np.sum(precision * (logs - prior) ** 2))
        return value if np.isfinite(value) else math.inf

    logs, damping, best = start, 1e-3, cost(start)
    for _ in range(_STEPS):
        value, slopes = _model(logs, x, second, names)
        left, turned = _rotated(value - y, twins), _rotated(slopes, twins)
        square = (turned * weights[:, None]).T @ turned + np.diag(precision)
        pull = turned.T @ (weights * left) + precision * (logs - prior)
        step = np.linalg.solve(square + damping * np.diag(np.diag(square)), pull)
        if float(pull @ step) <= _SETTLED * max(best, 1.0):
            break
        tried = cost(logs - step)
        if tried <= best:
            logs, best, damping = logs - step, tried, damping / 10.0
        else:
            damping = max(10.0 * damping, 1e-6)
            if damping > 1e12:
                break
    if not math.isfinite(best):
        raise FitError("the two arms could not be fitted together; look for a wrong loss")
    slopes = _rotated(_model(logs, x, second, names)[1], twins)
    square = (slopes * weights[:, None]).T @ slopes + np.diag(precision)
    return logs, np.asarray(np.linalg.inv(square))


def _variances(
    centre: Array, x: Array, y: Array, second: Flags, twins: Numbers, names: tuple[str, ...]
) -> Array:
    """Variances of the sums and of the differences of twins over sqrt(2); one without twins."""
    left = _rotated(_model(centre, x, second, names)[0] - y, twins)
    apart = 1 + int("gap" in names)
    shared = len(names) - apart
    differs = np.zeros(len(y), dtype=bool)
    differs[twins[:, 1]] = True
    if len(twins) <= apart + 1:
        pooled = float(np.sum(left**2)) / max(len(y) - len(names), 1)
        return np.asarray(np.maximum([pooled, pooled], _LEAST_SD**2))
    sums, differences = float(np.sum(left[~differs] ** 2)), float(np.sum(left[differs] ** 2))
    found = [sums / max(int((~differs).sum()) - shared, 1), differences / (len(twins) - apart)]
    return np.asarray(np.maximum(found, _LEAST_SD**2))
