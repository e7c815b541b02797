"""Descend to the least robust objective: damped Gauss-Newton, many problems in lock-step.

The objective is a weighted sum of Huber losses of the residuals,

    sum_i w_i h(r_i),    h(r) = r^2 / 2 for |r| <= delta,  delta (|r| - delta / 2) beyond,

with w_i multiplied by the design's asymmetry where r_i > 0.

For a small delta this is nearly a median regression: its curvature comes only from the few runs
whose residual lies within delta, and plain reweighted least squares (IRLS) crawls. So each step
solves with the true curvature blended with the IRLS one: almost none of it while steps succeed
(then it is Newton's method on the Huber loss, exact in a handful of steps), more after each step
that fails, together with Levenberg-Marquardt damping. A step that does not lower the objective is
never taken. Non-negative weights and the exponents' ranges are kept by clipping, and a coordinate
that a bound holds is left out of the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isoloss.laws.forms import Array

_MOST_STEPS = 300
_MOST_IDLE = 12
_ROUNDING = 1e-30
_DAMPING = (1e-13, 1e6)
_KEPT_MEMORY = 2**25 - 2**16


class Problem(Protocol):
    """What is descended on: a Design, or several side by side."""

    @property
    def bounds(self) -> tuple[Array, Array]:
        """The lowest and highest value of each coordinate, each (q,)."""

    @property
    def asymmetry(self) -> float:
        """How many times as much a residual above zero costs as one below."""

    def evaluate(self, coordinates: Array, log_loss: Array) -> tuple[Array, Array]:
        """Return residuals (k, m) and their Jacobian (k, q, m) at coordinates (k, q)."""


@dataclass(frozen=True)
class Solutions:
    """k solved problems: coordinates (k, q), objectives (k,), and whether each converged (k,)."""

    coordinates: Array
    objectives: Array
    converged: NDArray[np.bool_]

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Solutions:
        """Return some of the solutions."""
        return Solutions(self.coordinates[rows], self.objectives[rows], self.converged[rows])

    def put(
        self, rows: NDArray[np.intp], coordinates: Array, objectives: Array, converged: bool = True
    ) -> None:
        """Write what was found for some of the problems."""
        self.coordinates[rows] = coordinates
        self.objectives[rows] = objectives
        self.converged[rows] = converged

    def lower(self, other: Solutions) -> Solutions:
        """Return, problem by problem, the solution with the lower objective."""
        mine = self.objectives <= other.objectives
        return Solutions(
            np.where(mine[:, None], self.coordinates, other.coordinates),
            np.where(mine, self.objectives, other.objectives),
            np.where(mine, self.converged, other.converged),
        )


@dataclass(frozen=True)
class _Model:
    """k objectives: value (k,), gradient (k, q), true and reweighted curvature (k, q, q)."""

    value: Array
    gradient: Array
    sharp: Array
    smooth: Array

    def at(self, rows: NDArray[np.bool_]) -> _Model:
        """Return some of the objectives."""
        return _Model(self.value[rows], self.gradient[rows], self.sharp[rows], self.smooth[rows])

    def where(self, taken: NDArray[np.bool_], other: _Model) -> _Model:
        """Return the objectives of `other` where taken, else these."""
        return _Model(
            np.where(taken, other.value, self.value),
            np.where(taken[:, None], other.gradient, self.gradient),
            np.where(taken[:, None, None], other.sharp, self.sharp),
            np.where(taken[:, None, None], other.smooth, self.smooth),
        )


def huber(residuals: Array, delta: float | None) -> Array:
    """Return the Huber loss of each residual; half the square if delta is None."""
    if delta is None:
        return 0.5 * residuals * residuals
    size = np.abs(residuals)
    inner = np.minimum(size, delta)
    return inner * (size - 0.5 * inner)


def lopsided(design: Problem, weights: Array, residuals: Array) -> Array:
    """Return the weights of residuals (k, m), those above zero times the design's asymmetry."""
    if design.asymmetry == 1.0:
        return weights
    heavier: Array = weights * np.where(residuals > 0, design.asymmetry, 1.0)
    return heavier


def polish(
    design: Problem,
    starts: Array,
    log_loss: Array,
    weights: Array,
    delta: float | None,
    *,
    tolerance: float = 1e-13,
    steps: int = _MOST_STEPS,
) -> Solutions:
    """Descend from each start to a local minimum of its own objective.

    design: such as a Design. starts: coordinates (k, q). log_loss: (m,) or (k, m).
    weights: (m,) or (k, m), not negative.
    delta: in units of the residual, or None for squares. tolerance: the relative decrease of the
    objective at which a problem counts as solved. steps: at most so many.
    """
    _keep_memory()
    count = len(starts)
    low, high = design.bounds
    at = np.clip(starts, low, high)
    log_loss, weights = np.atleast_2d(log_loss), np.atleast_2d(weights)
    model = _model(design, at, log_loss, weights, delta)
    negligible = _ROUNDING * weights.sum(axis=-1) * np.ones(count)
    damping = np.full(count, 1e-4)
    blend = np.full(count, 0.0 if delta is None else 1e-2)
    idle = np.zeros(count, dtype=np.intp)
    solved = Solutions(at.copy(), model.value.copy(), np.zeros(count, dtype=bool))
    live = np.arange(count)  # which problem each row of the arrays above is
    for _ in range(steps):
        trial = np.clip(at + _step(model, at, (low, high), damping, blend), low, high)
        found = _model(design, trial, log_loss, weights, delta)
        gain = model.value - found.value
        taken = gain >= 0
        small = gain <= tolerance * model.value
        if taken.all():
            at, model = trial, found
        else:
            at, model = np.where(taken[:, None], trial, at), model.where(taken, found)
        idle = np.where(small, idle + 1, 0)
        # Damping is large where a step was refused: a small gain there proves nothing yet.
        settled = small & taken & (damping <= 1e-3)
        damping = np.clip(damping * np.where(taken, 0.2, 5.0), *_DAMPING)
        if delta is not None:
            blend = np.where(taken, 0.2 * blend, np.clip(5.0 * blend, 1e-3, 1.0))
        done = settled | (idle >= _MOST_IDLE) | (model.value <= negligible)
        if done.any():
            solved.put(live[done], at[done], model.value[done])
            more = ~done
            live = live[more]
            if not len(live):
                return solved
            at, model, negligible = at[more], model.at(more), negligible[more]
            damping, blend, idle = damping[more], blend[more], idle[more]
            log_loss = log_loss if len(log_loss) == 1 else log_loss[more]
            weights = weights if len(weights) == 1 else weights[more]
    solved.put(live, at, model.value, converged=False)
    return solved


@cache
def _keep_memory() -> None:
    """Make the C library keep what is freed, once in a process.

    It hands freed memory back, and every array anew is paged in, which took a third of the time.
    Where it is glibc, one large block freed makes it keep up to twice as much.
    """
    np.empty(_KEPT_MEMORY, dtype=np.uint8)


def _model(
    design: Problem, at: Array, log_loss: Array, weights: Array, delta: float | None
) -> _Model:
    residuals, jacobian = design.evaluate(at, log_loss)
    weights = lopsided(design, weights, residuals)
    transposed = jacobian.transpose(0, 2, 1)
    value = (weights * huber(residuals, delta)).sum(axis=-1)
    if delta is None:
        gradient = ((weights * residuals)[:, None, :] @ transposed)[:, 0]
        smooth = (jacobian * weights[:, None, :]) @ transposed
        return _Model(value, gradient, smooth, smooth.copy())
    size = np.abs(residuals)
    reweighted = weights * (delta / np.maximum(size, delta))
    gradient = ((reweighted * residuals)[:, None, :] @ transposed)[:, 0]
    smooth = (jacobian * reweighted[:, None, :]) @ transposed
    sharp = (jacobian * (weights * (size <= delta))[:, None, :]) @ transposed
    return _Model(value, gradient, sharp, smooth)


def _step(
    model: _Model, at: Array, bounds: tuple[Array, Array], damping: Array, blend: Array
) -> Array:
    """The damped step of each problem, (k, q); zero in coordinates that a bound holds."""
    gradient, smooth = model.gradient, model.smooth
    curvature = model.sharp + blend[:, None, None] * (smooth - model.sharp)
    diagonal = np.diagonal(smooth, axis1=1, axis2=2)
    unit = 1.0 / np.sqrt(np.maximum(diagonal, np.finfo(float).tiny))
    held = ((at <= bounds[0]) & (gradient > 0)) | ((at >= bounds[1]) & (gradient < 0))
    free = unit * ~held
    scaled = curvature * free[:, :, None] * free[:, None, :]
    index = np.arange(at.shape[1])
    scaled[:, index, index] += np.where(held, 1.0, damping[:, None])
    solved = np.linalg.solve(scaled, (gradient * free)[:, :, None])[:, :, 0]
    step: Array = -solved * unit
    return step
