"""What is wrong with the runs themselves: each finding a code and where it was seen.

A fit of bad numbers looks like a fit of good ones. So every fit carries what can be seen from the
table alone (units that cannot be, columns exchanged, copies, losses of different kinds) and from
the fit (a run far from the others, a run that alone moves the answer, groups that lie apart).
Nothing is left out or mended here: the codes say what to look at. Where one mistake looks like
another, only the more basic one is said: counts in millions also look exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError, Status
from isoloss.fitting.cooling import hot
from isoloss.fitting.design import Design
from isoloss.fitting.intervals import robust_scale
from isoloss.laws.allocation import allocate
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.units import PF_DAY, format_number

Names = NDArray[np.str_]

NOTES = frozenset({Status.UNKNOWN_CONVENTION, Status.DIVERGED_RUNS})
"""Codes that say what to know about the runs; the others put the fit itself in doubt."""

MANY = 10_000
INFLUENCE = 1.25
"""A run is influential if without it the best size at ten times the largest compute moves by more
than this factor, and by more than all other runs' moves together (root of the summed squares)."""

_LEAST_COUNT, _PER_PARAMETER = 1e3, (1e-3, 1e6)
"""Fewer parameters or tokens, or tokens per parameter outside the range, are no laws' runs."""
_EMPTY, _EMPTY_BESIDE_UNIT = 1e4, 300.0
"""A gap this wide within a column parts it in two; the narrower one where a unit would close it."""
_UNITS = (("millions", 1e6), ("billions", 1e9), ("trillions", 1e12))
_RATIO = (0.8, 1.5)
_AROUND_SHAPE = 0.1
_ALIKE = 1.3  # ratios within this factor are one number
_MOST_VOCABULARY = 300_000
_GUESSING = 1.02
_TRAINED_LOSS, _TRAINED_ON = 7.0, 1e8
_FAR, _FAR_AT_LEAST = 10.0, 0.05
_APART, _APART_AT_LEAST, _APART_SHARE = 8.0, 0.02, 0.6
"""Groups lie apart at this many standard errors, by this much in log loss, where that is this share
of what the residuals vary. What a law gets wrong at some budgets may be many standard errors too,
but on the public tables it is no more than 0.45 of what the residuals vary."""
_FEWEST_IN_GROUP = 4
_EFFICIENT = 1.345
_BEYOND = 10.0
_STEP = 1e-4
_LEAST_SPARE = 1e-6
_TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Finding:
    """A code, and in one clause what was seen and where."""

    code: Status
    detail: str


def inspect_runs(runs: Runs, *, along_curves: bool = False) -> tuple[Finding, ...]:
    """Find what can be seen to be wrong with a table of runs.

    along_curves: the rows are meant to be points along runs (laws of steps), so that losses at a
    high learning rate belong there.
    """
    counts = _counts(runs, along_curves)
    found = [
        counts,
        None if counts or _counts_by_flops(runs) else _swapped(runs),
        _units(runs),
        _flops(runs),
        None if along_curves else _hot(runs),
        _duplicates(runs),
        _many(runs),
        _diverged(runs),
    ]
    if runs.n_convention == "unknown":
        found.append(Finding(Status.UNKNOWN_CONVENTION, "the table does not say how n is counted"))
    return tuple(one for one in found if one is not None)


def inspect(
    runs: Runs, design: Design, coordinates: Array, weights: Array, residuals: Array
) -> tuple[Finding, ...]:
    """Find what can be seen to be wrong with runs that a law was fitted to.

    design, coordinates: the solved problem, of the runs whose weight is above zero. weights: (m,).
    residuals: (m,) log predicted - log observed.
    """
    along_curves = bool({"steps", "s_min"} & set(design.form.variables))
    used = weights > 0
    found = [
        *inspect_runs(runs, along_curves=along_curves),
        outlier(runs.run[used], residuals[used]),
        _groups(runs.group[used], residuals[used]),
        _influential(design, coordinates, weights[used], runs.run[used], float(runs.c.max())),
    ]
    return tuple(one for one in found if one is not None)


def codes(findings: tuple[Finding, ...]) -> tuple[Status, ...]:
    """Return the codes that put a fit in doubt, each once."""
    return tuple(dict.fromkeys(one.code for one in findings if one.code not in NOTES))


# ---- the table -------------------------------------------------------------------------------


def _counts(runs: Runs, along_curves: bool) -> Finding | None:
    """A column of n or d that is no plain count, in all of its rows or in some."""
    # The first points of a curve may lie far below its others.
    for name in ("n",) if along_curves else ("n", "d"):
        rising = np.sort(getattr(runs, name))
        if len(rising) < 2 or rising[0] == rising[-1]:  # perhaps only a placeholder
            return None
        seen = _in_two(name, rising)
        if not seen and np.median(rising) < _LEAST_COUNT:
            seen = f"{name} is {_span(rising)}: is it in millions or billions?"
        if seen:
            return Finding(Status.WRONG_UNITS, seen)
    each = float(np.median(runs.d / runs.n))
    if along_curves or _PER_PARAMETER[0] <= each <= _PER_PARAMETER[1]:
        return None
    return Finding(
        Status.WRONG_UNITS,
        f"d is {each:.3g} times n at the median: is {'n' if each > 1 else 'd'} in millions?",
    )


def _in_two(name: str, rising: Array) -> str:
    """Where a column falls in two that one unit would not part, in words; empty if nowhere."""
    gaps = rising[1:] / rising[:-1]
    at = int(gaps.argmax()) + 1
    low, high = rising[:at], rising[at:]
    units = [
        unit for unit, size in _UNITS if size * low[0] <= high[-1] and size * low[-1] >= high[0]
    ]
    if gaps[at - 1] < (_EMPTY_BESIDE_UNIT if units else _EMPTY):
        return ""
    return (
        f"{name} is {_span(low)} in {len(low)} of {len(rising)} runs"
        f"{f', as if in {units[0]}' if units else ''}, and {_span(high)} in the others, with "
        "nothing between"
    )


def _span(values: Array) -> str:
    return f"{format_number(float(values.min()))} to {format_number(float(values.max()))}"


def _counts_by_flops(runs: Runs) -> bool:
    """Whether the compute says that n or d are in millions or billions."""
    return bool(_counts_hint(float(np.median(runs.c / (6.0 * runs.n * runs.d)))))


def _units(runs: Runs) -> Finding | None:
    if runs.loss_unit != "nats":
        return None
    vocabulary = np.array(
        [
            float(spec.shape.vocab) if (spec := runs.specs.get(str(name))) else _MOST_VOCABULARY
            for name in (runs.run if runs.specs else ())
        ]
    )
    guess = np.log(vocabulary if runs.specs else float(_MOST_VOCABULARY))
    above = runs.loss > _GUESSING * guess
    if above.any():
        row = int(np.argmax(runs.loss / guess))
        limit = float(np.broadcast_to(guess, above.shape)[row])
        return Finding(
            Status.NOT_NATS,
            f"the loss of run {runs.run[row]!s} is {runs.loss[row]:.4g}, and guessing among all "
            f"tokens of {'its' if runs.specs else 'any'} vocabulary gives {limit:.3g} nats",
        )
    if np.median(runs.loss) > _TRAINED_LOSS and np.median(runs.d) > _TRAINED_ON:
        return Finding(
            Status.NOT_NATS,
            f"half of the losses are above {_TRAINED_LOSS:g} after "
            f"{format_number(float(np.median(runs.d)))} tokens",
        )
    return None


def _swapped(runs: Runs) -> Finding | None:
    if runs.batch is not None and runs.steps is not None:
        seen = runs.batch * runs.steps
        as_n, as_d = np.abs(np.log(seen / runs.n)) < 0.05, np.abs(np.log(seen / runs.d)) < 0.05
        count = int((as_n & ~as_d).sum())
        if count > 0.5 * len(runs):
            return Finding(Status.SWAPPED, f"batch times steps is n, not d, in {count} runs")
    count = int((runs.d < runs.n).sum())
    if count > 0.5 * len(runs):
        return Finding(
            Status.SWAPPED,
            f"{count} of {len(runs)} runs have fewer tokens (d, {_span(runs.d)}) than parameters "
            f"(n, {_span(runs.n)})",
        )
    return None


def _flops(runs: Runs) -> Finding | None:
    if "exact" not in runs.costs and runs.c_convention not in ("reported", "unknown"):
        return None
    plain = 6.0 * runs.n * runs.d
    ratio = runs.c / plain
    if "exact" in runs.costs:
        # 6 n d and Kaplan's count differ from the exact one by what they leave out, and say so.
        if runs.c_convention not in ("exact", "reported", "unknown"):
            return None
        implied = runs.costs["exact"] / plain
        off = np.abs(np.log(ratio / implied)) > _AROUND_SHAPE
        usual = f"where the shapes imply {float(np.median(implied)):.3g} times"
    else:
        off = (ratio < _RATIO[0]) | (ratio > _RATIO[1])
        usual = f"where {_RATIO[0]} to {_RATIO[1]} times is usual"
    if not off.any():
        return None
    low, high = float(ratio[off].min()), float(ratio[off].max())
    times = f"{low:.4g} to {high:.4g}" if high > _ALIKE * low else f"{np.median(ratio[off]):.4g}"
    return Finding(
        Status.FLOPS_RATIO,
        f"in {int(off.sum())} of {len(runs)} runs c is {times} times 6 n d, {usual}: "
        f"{_hint(float(np.median(ratio[off])))}",
    )


def _hint(ratio: float) -> str:
    """What unit or count a ratio of compute to 6 n d gives away."""
    if abs(ratio * 3 - 1) < 0.02:
        return "a third is the forward pass alone, so multiply c by 3"
    for unit, flops in (("GFLOPs", 1e9), ("TFLOPs", 1e12), ("PFLOPs", 1e15), ("PF-days", PF_DAY)):
        if _RATIO[0] / 1.5 < ratio * flops < 1.5 * _RATIO[1]:
            return f"it looks like {unit}, so multiply c by {flops:.3g}"
    return _counts_hint(ratio) or "check the units of c, n and d"


def _counts_hint(ratio: float) -> str:
    """What a ratio of compute to 6 n d says of the units of n and d."""
    for what, size in (
        ("n or d may be in millions", 1e6),
        ("n or d may be in billions", 1e9),
        ("n and d may be in millions and billions", 1e15),
        ("n and d may both be in billions", 1e18),
    ):
        if _RATIO[0] / 1.5 < ratio / size < 1.5 * _RATIO[1]:
            return what
    return ""


def _hot(runs: Runs) -> Finding | None:
    warm = hot(runs)
    if not warm.any():
        return None
    count = int(warm.sum())
    if warm.all():
        detail = f"all {count} losses were measured before the learning rate was lowered"
    else:
        detail = f"{count} of {len(runs)} rows are before their run lowered its learning rate"
    return Finding(Status.HOT_AND_COOLED, detail)


def _duplicates(runs: Runs) -> Finding | None:
    order = np.lexsort((runs.c, runs.d, runs.n, runs.loss))
    same = np.ones(max(len(runs) - 1, 0), dtype=bool)
    for column in (runs.n, runs.d, runs.c, runs.loss):
        same &= np.diff(column[order]) == 0
    if not same.any():
        return None
    at = int(np.argmax(same))
    first, second = runs.run[order[at]], runs.run[order[at + 1]]
    return Finding(
        Status.DUPLICATED_RUNS, f"{int(same.sum())} rows repeat another, such as {first}, {second}"
    )


def _many(runs: Runs) -> Finding | None:
    if len(runs) <= MANY:
        return None
    return Finding(Status.MANY_ROWS, f"{len(runs):,} rows of {len(np.unique(runs.run)):,} runs")


def _diverged(runs: Runs) -> Finding | None:
    # Reading leaves diverged runs out and says so in the notes, the only trace they leave.
    notes = [note for note in runs.notes if "diverged" in note]
    return Finding(Status.DIVERGED_RUNS, notes[0]) if notes else None


# ---- the fit ---------------------------------------------------------------------------------


def outlier(names: Names, residuals: Array, fitted: int = 0) -> Finding | None:
    """Find the run farthest from a law, if it lies out of all proportion to the others.

    names, residuals: (m,). fitted: how many residuals a median fit sets to zero, which say nothing
    of the noise: as many as it has coefficients, or 0 where there are far more runs than those.
    """
    size = np.abs(residuals)
    scale = robust_scale(np.sort(size)[min(fitted, len(size) - 1) :])
    row = int(size.argmax())
    if size[row] <= max(_FAR * scale, _FAR_AT_LEAST):
        return None
    return Finding(
        Status.OUTLIER,
        f"run {names[row]!s} lies {size[row]:.0%} from the law, {scale:.1%} being usual",
    )


def _groups(groups: Names, residuals: Array) -> Finding | None:
    """The group of runs that lies farthest to one side of the law, against all others."""
    names, where = np.unique(groups, return_inverse=True)
    farthest: tuple[float, str, float] = (0.0, "", 0.0)
    for number, name in enumerate(names):
        own, rest = residuals[where == number], residuals[where != number]
        if min(len(own), len(rest)) < _FEWEST_IN_GROUP:
            continue
        gap = float(rest.mean() - own.mean())
        error = float(np.sqrt(own.var(ddof=1) / len(own) + rest.var(ddof=1) / len(rest)))
        between = gap**2 * len(own) * len(rest) / len(residuals)
        share = between / max(float(np.sum((residuals - residuals.mean()) ** 2)), _TINY)
        if abs(gap) > max(_APART * error, _APART_AT_LEAST, farthest[0]) and share > _APART_SHARE:
            farthest = (abs(gap), str(name), gap)
    size, group, gap = farthest
    if not size:
        return None
    return Finding(
        Status.MIXED_GROUPS,
        f"the losses of group {group!r} lie {size:.1%} {'above' if gap > 0 else 'below'} those of "
        f"the others, held against the law",
    )


def _influential(
    design: Design, coordinates: Array, weights: Array, names: Names, largest: float
) -> Finding | None:
    """The run whose removal moves ln n at the optimum most, by one Gauss-Newton step each."""
    if design.form.variables != ("n", "d"):
        return None
    slope = _slope_of_best(design, coordinates, _BEYOND * largest)
    if slope is None:
        return None
    (residuals,), (jacobian,) = design.evaluate(coordinates[None], design.log_loss[None])
    moved = np.abs(leave_one_out(residuals, jacobian, weights, slope))
    row = int(moved.argmax())
    others = float(np.sqrt(np.sum(moved**2) - moved[row] ** 2))
    if not moved[row] > max(np.log(INFLUENCE), others):
        return None
    return Finding(
        Status.INFLUENTIAL_RUN,
        f"without run {names[row]!s} the best size at {_BEYOND:g} times the largest compute moves "
        f"by a factor of {np.exp(min(moved[row], 20.0)):.3g}",
    )


def leave_one_out(residuals: Array, jacobian: Array, weights: Array, slope: Array) -> Array:
    """Return how far a quantity moves when each run is left out, by one Gauss-Newton step, (m,).

    slope . H^-1 J_i w_i r_i / (1 - h_i), with H = sum w J J^T and h_i the leverage; the weights are
    those of a Huber loss at 1.345 robust scales.
    residuals: (m,), jacobian: (q, m), weights: (m,), slope: (q,) of the quantity.
    Source: Cook 1977; Pregibon 1981 for the one step.
    """
    scale = max(robust_scale(residuals), np.finfo(float).tiny)
    each = weights * np.minimum(1.0, _EFFICIENT * scale / np.maximum(np.abs(residuals), scale))
    unit = np.sqrt(np.maximum((each * jacobian**2).sum(axis=1), np.finfo(float).tiny))
    columns = jacobian / unit[:, None]
    inverse = np.linalg.pinv((columns * each) @ columns.T, rcond=1e-12, hermitian=True)
    leverage = each * np.einsum("im,ij,jm->m", columns, inverse, columns)
    pull = (slope / unit) @ inverse @ columns
    moved: Array = pull * each * residuals / np.maximum(1.0 - leverage, _LEAST_SPARE)
    return moved


def _slope_of_best(design: Design, coordinates: Array, flops: float) -> Array | None:
    """The slopes of ln n at the optimum in each coordinate, (q,); None without an optimum."""
    count = len(coordinates)
    step = _STEP * np.maximum(np.abs(coordinates), _STEP)
    low, high = design.bounds
    points = np.concatenate([coordinates + np.diag(step), coordinates - np.diag(step)])
    points = np.clip(points, low, high)
    try:
        best = allocate(design.law(points), flops)
    except InputError:
        return None
    log_n = np.log(np.asarray(best.n, dtype=np.float64))
    between = np.diagonal(points[:count] - points[count:])
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (log_n[:count] - log_n[count:]) / between
    found: Array = np.where(np.isfinite(slope), slope, 0.0)
    return found
