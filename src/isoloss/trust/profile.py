"""Profile likelihood: how much worse the best fit gets as one quantity is held away from its best.

Resampling asks what other tables might have said; a profile asks this table alone, and shows the
shape of its doubt: a flat side is a quantity that the runs do not bound. Each point of a profile is
a constrained optimum, found by sequential quadratic programming in the logarithms of the terms'
weights and in the exponents, in which the quantities that people ask about are nearly straight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, IsolossError, UnidentifiedError
from isoloss.fitting.design import Design
from isoloss.fitting.diagnosis import decided
from isoloss.fitting.intervals import Interval, check_level
from isoloss.fitting.parametric import Fit, single
from isoloss.fitting.polish import huber, lopsided
from isoloss.laws.forms import Array, Law
from isoloss.trust.draws import robust_centre

Quantity = str | Callable[[Law], ArrayLike]
Mask = NDArray[np.bool_]

_STEP = 1e-6
_STEPS, _HALVINGS = 60, 12
_SETTLED, _MET = 1e-9, 1e-8
_STRIDES, _SECANTS = 14, 30
_STRIDE, _MOST_FOLDS = 1.6, 2.0
_HAIR = 1e-9  # of the mean loss
_CLOSE = 1e-3  # of the rise that ends an interval


@dataclass(frozen=True, eq=False)
class Profile:
    """The profile of one quantity.

    best: its value at the optimum of the robust loss. values, rise: (j,), rising values, and twice
    how far the objective rises there over the noise, which is 1 at one standard error. level: of
    `interval`, whose ends are infinite, or 0 below for a positive quantity, where the runs set no
    bound. delta: where the Huber loss turned linear.
    """

    best: float
    values: Array
    rise: Array
    level: float
    interval: Interval
    delta: float


def profile(fit: Fit, of: Quantity, *, level: float = 0.9) -> Profile:
    """Profile a coefficient, or any number that follows from the law.

    The interval holds the values v with 2 (Q(v) - Q) / k <= t^2, Q(v) the least objective of laws
    whose quantity is v, t Student's for the runs beyond the coefficients, and
    k = sum psi^2 / (m - p) / mean psi', the factor that makes it a test under the Huber loss.

    fit: from `fit`; of a robust loss as `bootstrap` uses it, 1.345 times the scale of residuals.
    of: the name of a coefficient, or a function of a law returning one finite number, such as
    `lambda law: allocate(law, 1e24).n`. level: the share inside.
    Returns a Profile: the points that the search visited, and the interval.
    Raises InputError for another name or no number; UnidentifiedError if no run is left over or the
    runs say nothing of the quantity, as of the scale of a term that vanished.
    Source: Venzon & Moolgavkar 1988; Ronchetti 1982 and Heritier & Ronchetti 1994 (the robust
    test). Left out: dependence between runs; where seeds of one configuration share an error, read
    `bootstrap` instead.
    """
    if not isinstance(fit, Fit):
        raise InputError(f"profile takes a fit, such as fit(Chinchilla, runs), not {fit!r}")
    check_level(level)
    problem = _Problem.of(fit, of)
    limit = student_quantile(0.5 + 0.5 * level, problem.spare) ** 2
    visited = {problem.middle: 0.0}
    ends = [_end(problem, side, limit, visited) for side in (-1.0, 1.0)]
    places = np.array(sorted(visited))
    rise = np.array([visited[place] for place in places])
    low, mid, high = (np.asarray(problem.value(at)) for at in (ends[0], problem.middle, ends[1]))
    values = np.array([problem.value(place) for place in places])
    return Profile(float(mid), values, rise, level, Interval(low, mid, high), problem.delta)


@dataclass(frozen=True, eq=False)
class _Problem:
    """A robust fit and a quantity, in coordinates (p,): logs of weights, and exponents as they are.

    held: the whole coordinates of the design. free: which of them the data decide. scale: what
    turns a rise of the objective into that of a likelihood. logarithmic: whether the quantity is
    followed in its logarithm.
    """

    design: Design
    weights: Array
    delta: float
    held: Array
    free: Mask
    scale: float
    spare: int
    function: Callable[[Law], ArrayLike]
    logarithmic: bool

    @classmethod
    def of(cls, fit: Fit, of: Quantity) -> _Problem:
        function = _function(fit, of)
        used = fit.weights > 0
        weights = fit.weights[used]
        centre, delta = robust_centre(fit, weights)
        best, free = _freed(fit, centre[0])
        residuals, _ = fit.design.evaluate(best[None], fit.design.log_loss[None])
        spare = residuals.size - int(free.sum())
        if spare < 1:
            raise UnidentifiedError(
                f"{residuals.size} runs for {int(free.sum())} coefficients of {fit.form.__name__} "
                f"leave none to measure doubt by; add at least {1 - spare}",
                partial=fit,
            )
        pull = lopsided(fit.design, weights, residuals[0])
        scores = pull * np.clip(residuals[0], -delta, delta)
        curved = float(np.sum(pull * (np.abs(residuals[0]) <= delta)))
        scale = float(np.sum(scores**2)) / spare * residuals.size / max(curved, 1e-300)
        problem = cls(fit.design, weights, delta, best, free, scale, spare, function, False)
        found = problem.quantity(problem.start)
        if not np.isfinite(found):
            raise InputError("of must return one finite number for the fitted law")
        if not np.any(problem.slopes(problem.start)):
            if _constant(fit.law, function, found):
                raise InputError(
                    "of gives the same number whatever the law; give the name of a coefficient, or "
                    "a function of the law such as lambda law: law(1e9, 2e10)"
                )
            raise UnidentifiedError(f"{_name(of)} does not depend on what these runs fix", fit)
        return replace(problem, logarithmic=found > 0)

    @property
    def start(self) -> Array:
        """Where the optimum lies."""
        return self._inward(self.held)[self.free]

    @property
    def middle(self) -> float:
        """The quantity at the optimum, followed as the search follows it."""
        return self.quantity(self.start)

    def value(self, place: float) -> float:
        """The quantity as people read it."""
        return float(np.exp(place)) if self.logarithmic else place

    def quantity(self, z: Array) -> float:
        """The quantity as the search follows it; NaN where the law has none."""
        law = single(self.design.law(self._whole(z)[None]))
        with np.errstate(all="ignore"):
            try:
                found = float(np.ravel(np.asarray(self.function(law), dtype=np.float64))[0])
            except (IsolossError, TypeError, ValueError):
                return float("nan")
            return float(np.log(found)) if self.logarithmic else found

    def slopes(self, z: Array) -> Array:
        steps = _STEP * np.eye(len(z))
        return np.array([self.quantity(z + h) - self.quantity(z - h) for h in steps]) / (2 * _STEP)

    def objective(self, z: Array) -> float:
        """Twice the objective over the noise."""
        residuals, _ = self.design.evaluate(self._whole(z)[None], self.design.log_loss[None])
        weights = lopsided(self.design, self.weights, residuals[0])
        return float(2 * np.sum(weights * huber(residuals[0], self.delta)) / self.scale)

    def quadratic(self, z: Array) -> tuple[Array, Array]:
        """Gradient and reweighted curvature of the objective at z."""
        whole = self._whole(z)
        residuals, jacobian = self.design.evaluate(whole[None], self.design.log_loss[None])
        columns = jacobian[0].copy()
        count = len(self.design.scales)
        columns[:count] *= whole[:count, None]
        columns = columns[self.free]
        pull = lopsided(self.design, self.weights, residuals[0])
        pull = 2 * pull * self.delta / np.maximum(np.abs(residuals[0]), self.delta) / self.scale
        gradient: Array = columns @ (pull * residuals[0])
        curvature: Array = (columns * pull) @ columns.T
        return gradient, curvature

    @property
    def bounds(self) -> tuple[Array, Array]:
        low, high = self.design.bounds
        return self._inward(np.maximum(low, 1e-300))[self.free], self._inward(high)[self.free]

    def _inward(self, whole: Array) -> Array:
        count = len(self.design.scales)
        with np.errstate(divide="ignore"):
            return np.concatenate([np.log(whole[:count]), whole[count:]])

    def _whole(self, z: Array) -> Array:
        whole = self.held.copy()
        whole[self.free] = z
        count = len(self.design.scales)
        weights = self.free[:count]
        whole[:count][weights] = np.exp(np.clip(whole[:count][weights], -600.0, 130.0))
        return whole


def _function(fit: Fit, of: Quantity) -> Callable[[Law], ArrayLike]:
    if callable(of):
        return of
    if of not in fit.coefficients or of in fit.fixed:
        names = ", ".join(name for name in fit.coefficients if name not in fit.fixed)
        raise InputError(f"{of!r} is no coefficient that was fitted; there are {names}")
    return lambda law: law.coefficients()[of]


def _constant(law: Law, function: Callable[[Law], ArrayLike], value: float) -> bool:
    """Whether a quantity stays as it is when every coefficient of the law is another."""
    other = {name: 1.07 * float(each) + 0.01 for name, each in law.coefficients().items()}
    try:
        return float(np.ravel(np.asarray(function(replace(law, **other))))[0]) == value
    except (IsolossError, TypeError, ValueError):
        return False


def _name(of: Quantity) -> str:
    return of if isinstance(of, str) else "the quantity"


def _freed(fit: Fit, best: Array) -> tuple[Array, Mask]:
    """The optimum and which of its coordinates are sought: those that the data decide.

    A constant that came out zero is one more, begun a hair above it, for it may be more.
    """
    design = fit.design
    free = decided(design, best)
    _, slopes = design.logarithms(best[None, len(design.scales) :])
    varying = {design.form.scales[term] for term, _ in slopes}
    best = best.copy()
    for column, name in enumerate(design.scales):
        if not free[column] and name not in varying:
            best[column], free[column] = _HAIR, True
    return best, free


def _end(problem: _Problem, side: float, limit: float, visited: dict[float, float]) -> float:
    """Where the rise reaches the limit on one side: an infinity if it does nowhere."""
    z = problem.start
    slopes, (_, curvature) = problem.slopes(z), problem.quadratic(z)
    # A coefficient on which nothing depends yet has no curvature, and no bound on the first step.
    size = np.sqrt(np.maximum(np.diag(curvature), np.finfo(float).tiny))
    scaled = curvature / np.outer(size, size) + 1e-12 * np.eye(len(z))
    variance = float((slopes / size) @ np.linalg.solve(scaled, slopes / size))
    inside = _Point(problem.middle, z, 0.0, True)
    step = float(np.sqrt(variance * limit))
    step = side * (min(step, _MOST_FOLDS) if problem.logarithmic else step)
    for _ in range(_STRIDES):
        outside = _lowest(problem, inside.place + step, (inside,))
        if not outside.met or outside.rise > limit:
            break
        visited[outside.place] = outside.rise
        inside, step = outside, _STRIDE * step
    else:
        return side * np.inf
    for _ in range(_SECANTS):
        share = 0.5
        if outside.met:  # the root of the rise is nearly straight
            roots = [np.sqrt(max(rise, 0.0)) for rise in (inside.rise, limit, outside.rise)]
            share = float(np.clip((roots[1] - roots[0]) / (roots[2] - roots[0]), 0.05, 0.95))
            visited[outside.place] = outside.rise
        place = inside.place + share * (outside.place - inside.place)
        found = _lowest(problem, place, (inside, outside))
        if found.met and abs(found.rise - limit) < _CLOSE * limit:
            visited[place] = found.rise
            return place
        if found.met and found.rise <= limit:
            visited[place] = found.rise
            inside = found
        else:
            outside = found
    return inside.place if outside.met else side * np.inf


@dataclass(frozen=True, eq=False)
class _Point:
    """A constrained optimum: the quantity, its coordinates, the rise, and whether it was met."""

    place: float
    at: Array
    rise: float
    met: bool


def _lowest(problem: _Problem, place: float, near: tuple[_Point, ...]) -> _Point:
    """The constrained optimum at a place, the lower of those begun at the points near it."""
    best = problem.objective(problem.start)
    found = []
    for point in near:
        z, met = _constrained(problem, point.at, place)
        found.append(_Point(place, z, problem.objective(z) - best, met))
    return min(found, key=lambda point: (not point.met, point.rise))


def _constrained(problem: _Problem, start: Array, value: float) -> tuple[Array, bool]:
    """The least objective with the quantity at `value`, and whether it could be put there."""
    z, penalty, damping = start, 1.0, 1e-6
    low, high = problem.bounds
    for _ in range(_STEPS):
        gradient, curvature = problem.quadratic(z)
        slopes, short = problem.slopes(z), value - problem.quantity(z)
        if not np.all(np.isfinite(slopes)):
            return z, False
        step, multiplier = _step(gradient, curvature, slopes, short, damping, (z <= low, z >= high))
        penalty = max(penalty, 2 * abs(multiplier))
        merit = problem.objective(z) + penalty * abs(short)
        for _ in range(_HALVINGS):
            trial = np.clip(z + step, low, high)
            left = value - problem.quantity(trial)
            if problem.objective(trial) + penalty * abs(left) <= merit:
                break
            step = 0.5 * step
        else:
            break
        gain = merit - problem.objective(trial) - penalty * abs(left)
        z = trial
        if gain < _SETTLED * max(merit, 1.0) and abs(left) < _MET * max(abs(value), 1.0):
            break
    return z, abs(value - problem.quantity(z)) < 1e-6 * max(abs(value), 1.0)


def _step(
    gradient: Array,
    curvature: Array,
    slopes: Array,
    short: float,
    damping: float,
    at: tuple[Mask, Mask],
) -> tuple[Array, float]:
    """The step to the optimum of the quadratic model on the linearised constraint.

    A coordinate at an end of its range that would step out of it is held, and the rest solved anew.
    """
    free = np.ones(len(gradient), dtype=bool)
    for _ in range(len(gradient)):
        rows = np.flatnonzero(free)
        size = np.sqrt(np.maximum(np.diag(curvature)[rows], 1e-300))
        matrix = np.zeros((len(rows) + 1, len(rows) + 1))
        matrix[:-1, :-1] = curvature[np.ix_(rows, rows)] / np.outer(size, size)
        matrix[:-1, :-1] += damping * np.eye(len(rows))
        matrix[-1, :-1] = matrix[:-1, -1] = slopes[rows] / size
        solved = np.linalg.lstsq(
            matrix, np.append(-gradient[rows] / size, short), rcond=1e-14
        )[0]  # fmt: skip
        step = np.zeros(len(gradient))
        step[rows] = solved[:-1] / size
        out = free & ((at[0] & (step < 0)) | (at[1] & (step > 0)))
        if not out.any():
            break
        free &= ~out
    return step, float(solved[-1])
