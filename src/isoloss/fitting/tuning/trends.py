"""How the best settings move with parameters and tokens: power laws through the optima.

The optima of a sweep differ in how well they are known, and their errors are shared where they
borrow each other's curvature. So each is weighed by its own variance plus a scatter about the law
that is estimated too, and the interval follows the draws of all optima through the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array

Span = tuple[float, float, float]
"""The low end, the middle and the high end of an interval."""

_APART = 0.05
_SEPARATE = 0.98
_CLIP = 6.0


@dataclass(frozen=True, eq=False)
class TuningLaw:
    """setting = coefficient * product over x of x ** exponents[x], from a sweep's own optima.

    setting: "lr", "batch" (tokens) or "weight_decay". exponents: by variable, "n" in parameters
    and "d" in tokens. coefficient_interval, exponent_intervals: (low, mid, high) at `level`.
    scatter: sd of ln setting about the law beyond the optima's errors. optima: how many it is of.
    ranges: smallest and largest n and d of those. log_draws: (k, 1 + variables) ln coefficient and
    exponents of each draw.
    """

    setting: str
    coefficient: float
    exponents: Mapping[str, float]
    level: float
    coefficient_interval: Span
    exponent_intervals: Mapping[str, Span]
    scatter: float
    optima: int
    ranges: Mapping[str, tuple[float, float]]
    log_draws: Array = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("exponents", "exponent_intervals", "ranges"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def variables(self) -> tuple[str, ...]:
        """What the law depends on."""
        return tuple(self.exponents)

    def __call__(self, *, n: ArrayLike | None = None, d: ArrayLike | None = None) -> Array:
        """Return the setting at n parameters and d tokens; what the law does not use is ignored."""
        powers = [np.log(self.coefficient), *self.exponents.values()]
        return np.asarray(np.exp(self._terms(n, d) @ np.array(powers)))

    def interval(self, *, n: ArrayLike | None = None, d: ArrayLike | None = None) -> Array:
        """Return low, middle and high of the law at n and d, at `level`: (3, ...).

        It holds the law's own doubt, not the scatter of one configuration about it.
        """
        logs = np.einsum("...v,kv->k...", self._terms(n, d), self.log_draws)
        tail = (1 - self.level) / 2
        return np.asarray(np.exp(np.quantile(logs, [tail, 0.5, 1 - tail], axis=0)))

    def inside(self, *, n: ArrayLike | None = None, d: ArrayLike | None = None) -> Array:
        """Return whether n and d lie in the range of the optima behind the law.

        Both are held against it, whichever the law uses; one that it does not use may be left out.
        Raises InputError if one that it uses is left out.
        """
        held = np.asarray(True)
        for name, value in self._given(n, d).items():
            low, high = self.ranges[name]
            x = np.asarray(value, dtype=np.float64)
            held = held & (low / 1.01 <= x) & (x <= high * 1.01)
        return np.asarray(held)

    def _given(self, n: ArrayLike | None, d: ArrayLike | None) -> dict[str, ArrayLike]:
        given = {name: value for name, value in (("n", n), ("d", d)) if value is not None}
        for name in self.variables:
            if name not in given:
                raise InputError(f"the law of {self.setting} needs {name}")
        return given

    def _terms(self, n: ArrayLike | None, d: ArrayLike | None) -> Array:
        given = self._given(n, d)
        logs = [np.log(np.asarray(given[name], dtype=np.float64)) for name in self.variables]
        return np.stack(np.broadcast_arrays(np.ones(()), *logs), axis=-1)


def separable(logs: Mapping[str, Array]) -> tuple[str, ...]:
    """Return which of the variables, (G,) logarithms each, vary, and apart from those before."""
    found: list[str] = []
    for name, values in logs.items():
        if float(np.ptp(values)) < _APART:
            continue
        others = np.column_stack([np.ones(len(values)), *(logs[other] for other in found)])
        fitted = others @ np.linalg.lstsq(others, values, rcond=None)[0]
        left = float(np.sum((values - fitted) ** 2) / np.sum((values - values.mean()) ** 2))
        if left > 1 - _SEPARATE**2:
            found.append(name)
    return tuple(found)


def tuning_law(
    setting: str,
    draws: Array,
    n: Array,
    d: Array,
    variables: tuple[str, ...],
    level: float,
    random: np.random.Generator,
) -> TuningLaw | None:
    """Fit the power law of a setting through its optima.

    setting: its name. draws: (k, G) ln setting at the optimum. n, d: (G,) parameters and tokens.
    variables: which of "n" and "d" the law depends on.
    Returns the law, or None if there are fewer optima than two more than its variables.
    Weights are 1 / (variance + scatter^2) with the scatter at which the weighted residuals have
    their expected size (Paule & Mandel 1982); draws of the scatter have a scaled inverse
    chi-square, so that few optima give intervals as wide as Student's t.
    """
    count, size = draws.shape[1], 1 + len(variables)
    if count < size + 1:
        return None
    logs = {"n": np.log(n), "d": np.log(d)}
    columns = np.column_stack([np.ones(count), *(logs[name] for name in variables)])
    middle = np.median(draws, axis=0)
    spread = (np.quantile(draws, 0.841, axis=0) - np.quantile(draws, 0.159, axis=0)) / 2
    # A nearly flat bowl has draws far out, which the weights answer for and the mean need not.
    reach = _CLIP * spread
    steady = np.clip(draws, middle - reach, middle + reach)
    scatter = _scatter(columns, middle, spread**2)
    weights = 1 / (spread**2 + scatter**2)
    operator = np.linalg.solve((columns.T * weights) @ columns, columns.T * weights)
    point = operator @ middle
    freedom = count - size
    drawn = scatter * np.sqrt(freedom / random.chisquare(freedom, len(draws)))
    noise = drawn[:, None] * random.standard_normal(draws.shape)
    found = (steady + noise) @ operator.T
    tail = (1 - level) / 2
    low, mid, high = np.quantile(found, [tail, 0.5, 1 - tail], axis=0)
    spans = [(float(a), float(b), float(c)) for a, b, c in zip(low, mid, high, strict=True)]
    first = np.exp(np.array(spans[0]))
    return TuningLaw(
        setting=setting,
        coefficient=float(np.exp(point[0])),
        exponents=dict(zip(variables, map(float, point[1:]), strict=True)),
        level=level,
        coefficient_interval=(float(first[0]), float(first[1]), float(first[2])),
        exponent_intervals=dict(zip(variables, spans[1:], strict=True)),
        scatter=scatter,
        optima=count,
        ranges={"n": (float(n.min()), float(n.max())), "d": (float(d.min()), float(d.max()))},
        log_draws=found,
    )


def _scatter(columns: Array, middle: Array, variances: Array) -> float:
    """The sd beyond the errors at which the weighted squared residuals sum to their freedom."""
    freedom = columns.shape[0] - columns.shape[1]

    def excess(scatter: float) -> float:
        weights = 1 / np.maximum(variances + scatter**2, 1e-30)
        root = np.sqrt(weights)[:, None]
        point = np.linalg.lstsq(columns * root, middle * root[:, 0], rcond=None)[0]
        return float(np.sum(weights * (middle - columns @ point) ** 2) - freedom)

    low, high = 0.0, 1.0
    if excess(low) <= 0:
        return 0.0
    while excess(high) > 0 and high < 1e3:
        high *= 2
    for _ in range(60):
        half = (low + high) / 2
        low, high = (half, high) if excess(half) > 0 else (low, half)
    return high
