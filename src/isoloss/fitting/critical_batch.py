"""The critical batch from runs of different batch: where larger batches stop saving steps.

    ln S(B) = ln S_min + ln(1 + B_crit / B) + error,      B_crit = B* / L^(1/alpha_B)

S is the number of steps to reach a loss L at batch B. With E = B S this is
(S/S_min - 1)(E/E_min - 1) = 1 with E_min = B_crit S_min, as Kaplan and McCandlish have it, and one
error, not two: the tokens are the steps times a number that is known. All targets are fitted
together, each with its own S_min, sharing B* and alpha_B; a run that never reached a target counts
as needing more steps than it made. What one run did to all its targets it did once, so doubt is
measured by leaving out whole runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting.crossings import Crossings, crossings
from isoloss.fitting.intervals import Interval, log_interval
from isoloss.fitting.zhang import zhang_critical_batch
from isoloss.laws.forms import Array
from isoloss.laws.relations import CriticalBatch
from isoloss.runs import Runs
from isoloss.units import format_number

SPAN = 8.0
"""How far the batches must reach on each side of the critical one."""

_FEWEST_RUNS = 5
_LEAST_SPREAD = 1e-6
_STEPS = 200
_SETTLED = 1e-12
_WIDE = 0.5
_OUT_OF_SIGHT = 64.0


@dataclass(frozen=True, eq=False)
class CriticalBatchFit:
    """The critical batch at each target loss, and its law; arrays are (targets,).

    law: b_crit = b_star / loss ** (1 / alpha_b); None with one target loss, which shows no trend.
    target: nats, n: parameters; one entry for each pair, by rising size and falling loss.
    b_crit, e_min: tokens, s_min: steps, b_star: tokens, alpha_b: each an interval at `level`.
    spread: standard deviation of ln S. crossings: what it was fitted to. status: advice.
    covariance: (2, 2) of ln b_star and 1 / alpha_b, which go together; degrees: of freedom.
    """

    law: CriticalBatch | None
    target: Array
    n: Array
    s_min: Interval
    e_min: Interval
    b_crit: Interval
    b_star: Interval | None
    alpha_b: Interval | None
    spread: float
    level: float
    crossings: Crossings
    status: tuple[Status, ...]
    covariance: Array | None = field(default=None, repr=False)
    degrees: int = 1

    def at(self, loss: float, *, level: float | None = None) -> Interval:
        """Return the critical batch in tokens at a loss in nats, as uncertain as the law is there.

        level: of the interval, by default that of the fit. Raises InputError for a fit of one
        target loss, which has no law, and for a loss that is not above 0.
        """
        if not 0 < loss < math.inf:
            raise InputError(f"loss is {loss:g}; give one above 0, in nats")
        if self.law is None or self.covariance is None:
            raise InputError(
                "the fit has one target loss, which shows no trend: fit the critical batch at two "
                "or more"
            )
        slope = np.array([1.0, -math.log(loss)])  # of ln B by ln b_star and 1 / alpha_b
        se = math.sqrt(float(slope @ self.covariance @ slope))
        return log_interval(self.law(loss), se, self.degrees, level or self.level)

    @property
    def short(self) -> tuple[tuple[float, float], ...]:
        """The pairs (n, target) whose batches do not span 8 times B_crit on each side."""
        pairs = zip(self.n.tolist(), self.target.tolist(), _reach(self), strict=True)
        return tuple(
            (n, target)
            for n, target, (low, seen, high) in pairs
            if low > seen / SPAN * (1 + 1e-9) or high < seen * SPAN * (1 - 1e-9)
        )

    def zhang(self, *, optimal: float | None = None, excess: float = 0.2) -> Interval:
        """Return Zhang's critical batch at each target, in tokens: `zhang_critical_batch`.

        optimal: the batch that scaling starts from, by default the smallest that was run.
        """
        start = float(self.crossings.batch.min()) if optimal is None else optimal
        low, mid, high = (
            zhang_critical_batch(1.0, end, optimal=start, excess=excess) for end in self.b_crit
        )
        return Interval(low, mid, high)


@dataclass(frozen=True)
class _Problem:
    """ln S at m rows: cell (m,) numbers the (n, target) pairs, of which there are `cells`."""

    log_steps: Array
    log_batch: Array
    log_loss: Array  # (m,) less its mean over the cells
    cell: NDArray[np.intp]
    censored: NDArray[np.bool_]
    cells: int
    trend: bool

    def model(self, at: Array) -> tuple[Array, Array]:
        """Return ln S predicted (m,) and its slopes (m, q) at (ln S_min..., ln B, 1/alpha_B)."""
        gamma = at[self.cells + 1] if self.trend else 0.0
        with np.errstate(over="ignore"):
            ratio = np.exp(at[self.cells] - gamma * self.log_loss - self.log_batch)
        slopes = np.zeros((len(ratio), len(at)))
        slopes[np.arange(len(ratio)), self.cell] = 1.0
        # Written so that an infinite ratio has the slope 1.
        slopes[:, self.cells] = 1.0 / (1.0 + 1.0 / ratio)
        if self.trend:
            slopes[:, self.cells + 1] = -slopes[:, self.cells] * self.log_loss
        return at[self.cell] + np.log1p(ratio), slopes

    def take(self, rows: NDArray[np.bool_]) -> _Problem:
        return _Problem(
            self.log_steps[rows],
            self.log_batch[rows],
            self.log_loss[rows],
            self.cell[rows],
            self.censored[rows],
            self.cells,
            self.trend,
        )


def critical_batch(
    data: Runs | Crossings, targets: ArrayLike | None = None, *, level: float = 0.9
) -> CriticalBatchFit:
    """Fit the critical batch to steps to a loss at different batches.

    ln S = ln S_min(n, L) + ln(1 + B_crit(L) / B), B_crit = b_star / L ** (1 / alpha_b), by least
    squares; rows that were censored enter with the probability of needing more steps (Tobit).
    data: learning curves of runs that differ in batch (`runs.curves`, or evaluations themselves),
    or Crossings. targets: losses in nats for curves, as in `crossings`. level: of the intervals.
    Returns CriticalBatchFit; intervals by the jackknife over whole runs with Student's t.
    Raises InputError for curves that `crossings` refuses, such as losses that are not in nats;
    UnidentifiedError naming the batches to run, with the fit in `.partial`, if the batches that
    reach a target do not span 8 times B_crit on each side of it, or fewer than five runs do.
    Source: Kaplan et al. 2020, Eqs 5.1-5.4; McCandlish et al. 2018, section 2. Left out: their two
    separate errors, and a B_crit that moves within a run.
    """
    if isinstance(data, Runs):
        data = crossings(data.curves if data.curves is not None else data, targets)
    elif targets is not None:
        raise InputError("these crossings have their targets; leave targets out")
    used, cells = _cells(data)
    problem = _problem(used, cells)
    at, spread = _solve(problem)
    result = _result(used, cells, problem, at, spread, level)
    complaint = _complaint(result)
    if complaint:
        raise UnidentifiedError(f"critical batch: {complaint}", partial=result)
    return result


def _cells(data: Crossings) -> tuple[Crossings, Array]:
    """The usable rows, and the (n, target) pairs that two or more batches reach, (k, 2)."""
    pairs = np.stack([data.n, -data.target], axis=1)
    found, where = np.unique(pairs, axis=0, return_inverse=True)
    where = where.reshape(-1)
    batches = np.array(
        [len(np.unique(data.batch[(where == i) & ~data.censored])) for i in range(len(found))]
    )
    keep = batches[where] >= 2
    runs = len(np.unique(data.run[keep]))
    if runs < _FEWEST_RUNS:
        raise UnidentifiedError(
            f"critical batch: {runs} runs reach a loss that another batch reaches too, and five "
            "are needed; run one configuration at five or more batches, each 4 times the last"
        )
    return data.take(keep), found[batches >= 2] * [1.0, -1.0]


def _problem(used: Crossings, cells: Array) -> _Problem:
    log_loss = np.log(used.target)
    cell = np.array(
        [
            int(np.flatnonzero((cells[:, 0] == n) & (cells[:, 1] == target))[0])
            for n, target in zip(used.n, used.target, strict=True)
        ]
    )
    return _Problem(
        log_steps=np.log(used.steps),
        log_batch=np.log(used.batch),
        log_loss=log_loss - np.log(cells[:, 1]).mean(),
        cell=cell,
        censored=used.censored,
        cells=len(cells),
        trend=len(np.unique(cells[:, 1])) > 1,
    )


# ---- solving ---------------------------------------------------------------------------------


def _solve(problem: _Problem) -> tuple[Array, float]:
    """The likeliest coordinates and spread, from a grid over B and 1/alpha_B."""
    seen = problem.take(~problem.censored)
    counts = np.maximum(np.bincount(seen.cell, minlength=problem.cells), 1)
    best, least = np.zeros(0), np.inf
    middles = np.arange(seen.log_batch.min() - 3, seen.log_batch.max() + 3, 0.5)
    for middle in middles:
        for gamma in np.arange(-2.0, 13.0, 1.0) if problem.trend else (0.0,):
            tail = [middle, gamma] if problem.trend else [middle]
            bare, _ = seen.model(np.concatenate([np.zeros(problem.cells), tail]))
            rest = seen.log_steps - bare
            floor = np.bincount(seen.cell, rest, minlength=problem.cells) / counts
            error = float(np.sum((rest - floor[seen.cell]) ** 2))
            if error < least:
                least, best = error, np.concatenate([floor, tail])
    at, spread = _descend(seen, best, 1.0)
    return _descend(problem, at, spread) if problem.censored.any() else (at, spread)


def _descend(problem: _Problem, at: Array, spread: float) -> tuple[Array, float]:
    """Damped Newton steps on the Tobit likelihood, the spread found along with it."""
    spare = max(len(problem.cell) - len(at), 1)
    damping = 1e-3
    value, score, bend, squares = _likelihood(problem, at, spread)
    for _ in range(_STEPS):
        _, slopes = problem.model(at)
        curvature = (slopes * bend[:, None]).T @ slopes
        diagonal = np.diagonal(curvature) + _LEAST_SPREAD
        step = np.linalg.solve(curvature + damping * np.diag(diagonal), slopes.T @ score)
        trial = at + np.clip(step, -2.0, 2.0)
        found = _likelihood(problem, trial, spread)
        if found[0] > value:
            damping = min(damping * 10, 1e8)
            if damping >= 1e8:
                break
            continue
        done = value - found[0] <= _SETTLED * max(abs(value), 1.0)
        at, (_, _, _, squares) = trial, found
        damping = max(damping * 0.2, 1e-12)
        fresh = max(math.sqrt(squares / spare), _LEAST_SPREAD)
        done = done and abs(fresh / spread - 1) < 1e-6
        spread = fresh
        value, score, bend, squares = _likelihood(problem, at, spread)
        if done:
            break
    return at, spread


def _likelihood(problem: _Problem, at: Array, spread: float) -> tuple[float, Array, Array, float]:
    """Minus the log likelihood at this spread, times spread ** 2; its pull on ln S, its bend, each
    (m,); and the expected squared errors summed."""
    predicted, _ = problem.model(at)
    score = problem.log_steps - predicted
    bend = np.ones_like(score)
    squares = score * score
    value = 0.5 * squares
    if problem.censored.any():
        rows = problem.censored
        z = score[rows] / spread
        log_beyond, hazard = _beyond(z)
        value[rows] = -(spread**2) * log_beyond
        score[rows] = spread * hazard
        bend[rows] = hazard * (hazard - z)
        squares[rows] = spread**2 * (1 + z * hazard)
    return float(value.sum()), score, bend, float(squares.sum())


def _beyond(z: Array) -> tuple[Array, Array]:
    """ln P(Z > z) of a normal Z, and the density at z over that probability."""
    share = np.array([0.5 * math.erfc(value / math.sqrt(2.0)) for value in np.minimum(z, 30.0)])
    log_density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    far = z > 30.0
    with np.errstate(divide="ignore", over="ignore"):
        log_share = np.where(far, log_density - np.log(np.maximum(z, 1.0)), np.log(share))
    return log_share, np.exp(log_density - log_share)


# ---- what comes of it ------------------------------------------------------------------------


def _result(
    used: Crossings, cells: Array, problem: _Problem, at: Array, spread: float, level: float
) -> CriticalBatchFit:
    log_loss = np.log(cells[:, 1])
    middle = log_loss.mean()
    found = _quantities(problem, at, log_loss, middle)
    names = np.unique(used.run)
    left = np.array(
        [
            _quantities(
                problem, _descend(problem.take(used.run != name), at, spread)[0], log_loss, middle
            )
            for name in names
        ]
    )
    count = len(names)
    away = (left - found) * math.sqrt((count - 1) / count)
    se = np.sqrt((away**2).sum(axis=0))
    degrees = max(count - 3, 1)
    k = problem.cells
    law, b_star, alpha_b, covariance = None, None, None, None
    status = []
    if problem.trend:
        gamma, gamma_se = float(at[k + 1]), float(se[3 * k + 1])
        covariance = away[:, 3 * k :].T @ away[:, 3 * k :]
        log_star = float(found[3 * k])
        b_star = log_interval(np.exp(found[3 * k]), se[3 * k], degrees, level)
        width = student_quantile(0.5 + 0.5 * level, degrees) * gamma_se
        ends = [1 / end if end > 0 else math.inf for end in (gamma + width, gamma - width)]
        mid = 1 / gamma if gamma > 0 else math.inf
        alpha_b = Interval(np.asarray(ends[0]), np.asarray(mid), np.asarray(ends[1]))
        law = CriticalBatch(math.exp(log_star), 1 / gamma) if gamma != 0 else None
        if not width <= _WIDE * gamma:
            status.append(Status.WIDE_EXPONENT)
    if count < _FEWEST_RUNS + 1:
        status.append(Status.FEW_RUNS)
    s_min, b_crit, e_min = (
        log_interval(np.exp(found[part]), se[part], degrees, level)
        for part in (slice(0, k), slice(k, 2 * k), slice(2 * k, 3 * k))
    )
    return CriticalBatchFit(
        law=law,
        target=cells[:, 1],
        n=cells[:, 0],
        s_min=s_min,
        e_min=e_min,
        b_crit=b_crit,
        b_star=b_star,
        alpha_b=alpha_b,
        spread=spread,
        level=level,
        crossings=used,
        status=tuple(status),
        covariance=covariance,
        degrees=degrees,
    )


def _quantities(problem: _Problem, at: Array, log_loss: Array, middle: float) -> Array:
    """ln S_min, ln B_crit and ln E_min of every cell, then ln B* and 1/alpha_B."""
    k = problem.cells
    gamma = float(at[k + 1]) if problem.trend else 0.0
    log_b = at[k] - gamma * (log_loss - middle)
    return np.concatenate([at[:k], log_b, at[:k] + log_b, [at[k] + gamma * middle, gamma]])


def _reach(result: CriticalBatchFit) -> list[tuple[float, float, float]]:
    """Of each pair the least batch, B_crit and the largest batch, of those that reach the loss."""
    data, found = result.crossings, []
    for n, target, b_crit in zip(result.n, result.target, result.b_crit.mid, strict=True):
        rows = (data.n == n) & (data.target == target) & ~data.censored
        low, high = float(data.batch[rows].min()), float(data.batch[rows].max())
        # Beyond sight of the batches B_crit is a guess: ask for one more factor of eight.
        seen = float(np.clip(b_crit, low / _OUT_OF_SIGHT, high * _OUT_OF_SIGHT))
        found.append((low, seen, high))
    return found


def _complaint(result: CriticalBatchFit) -> str:
    """The batches to run, if those there do not reach far enough around B_crit."""
    short = len(result.short)
    if not short:
        return ""
    seen = [at for _, at, _ in _reach(result)]
    low_wanted, high_wanted = min(seen) / SPAN, max(seen) * SPAN
    reached = result.crossings.batch[~result.crossings.censored]
    wanted = []
    if low_wanted < reached.min():
        wanted.append(f"{format_number(2.0 ** math.floor(math.log2(low_wanted)))} or fewer")
    if high_wanted > reached.max():
        wanted.append(f"{format_number(2.0 ** math.ceil(math.log2(high_wanted)))} or more")
    spans = f"{format_number(float(reached.min()))} to {format_number(float(reached.max()))}"
    mend = (
        f"run batches of {' and of '.join(wanted)} tokens"
        if wanted
        else "train the outermost batches on until they reach every target, or leave out the "
        "targets that they do not reach"
    )
    return (
        f"the batches that reach the targets ({spans} tokens) do not span 8 times B_crit "
        f"({format_number(float(result.b_crit.mid.min()))} to "
        f"{format_number(float(result.b_crit.mid.max()))}) on each side for {short} of "
        f"{len(result.target)} targets; {mend}"
    )
