"""What is wrong with a table of runs by itself: each finding a code and where it was seen.

A fit of bad numbers looks like a fit of good ones. So what can be seen from the table alone is said
of it: units that cannot be, columns exchanged, copies, losses of different kinds. Nothing is left
out or mended here: the codes say what to look at. Where one mistake looks like another, only the
more basic one is said: counts in millions also look exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoloss.errors import Status
from isoloss.fitting.cooling import hot
from isoloss.fitting.levels import configurations
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.units import PF_DAY, format_number

NOTES = frozenset({Status.UNKNOWN_CONVENTION, Status.DIVERGED_RUNS})
"""Codes that say what to know about the runs; the others put the fit itself in doubt."""

MANY = 10_000
"""With more rows than this, one asks whether they are runs or points along runs."""

_LEAST_COUNT, _PER_PARAMETER = 1e3, (1e-3, 1e4)
"""Fewer parameters or tokens, or tokens per parameter outside the range at the median, are asked
about; from a thousandth to one token they look exchanged."""
_LEAST_IN_UNITS = 1e-9
"""In trillions this would be less than a thousand."""
_MOST = {"n": 1e15, "d": 1e17}
"""More parameters or tokens than there are: a wrong unit, multiplied where it had to be divided."""
_COMPUTE = (1e4, 1e33)
"""Fewer or more FLOPs than any run of a language model has."""
_EMPTY, _EMPTY_BESIDE_UNIT = 1e4, 300.0
"""A gap this wide within a column parts it in two; the narrower one where a unit would close it."""
_NOUNS = {"n": "parameters in any model", "d": "tokens of text"}
_UNITS = (("millions", 1e6), ("billions", 1e9), ("trillions", 1e12))
_RATIO = (0.8, 1.5)  # of c to 6 n d, where the shapes are not known
_AROUND_SHAPE = 0.1  # how far log c may lie from the compute that the shape implies
_ALIKE = 1.3  # ratios within this factor are one number
_MOST_VOCABULARY = 300_000
_GUESSING = 1.02  # times the log of the vocabulary: no loss in nats is above
_TRAINED_LOSS, _TRAINED_ON = 7.0, 1e8  # no loss in nats is so high after so many tokens
_FEWEST_ALIKE, _APART = 4, 0.1
"""So many runs of one n and d, and so far apart in log loss at the median, are of several sets. On
the public tables it is 0.07 where a sweep of rates is taken for one size, 0.57 across languages."""


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
        _flops(runs) or (None if counts else _compute(runs)),
        None if along_curves else _hot(runs),
        _duplicates(runs),
        None if along_curves else _replicates(runs),
        _many(runs),
        _diverged(runs),
    ]
    if runs.n_convention == "unknown":
        found.append(Finding(Status.UNKNOWN_CONVENTION, "the table does not say how n is counted"))
    return tuple(one for one in found if one is not None)


def codes(findings: tuple[Finding, ...]) -> tuple[Status, ...]:
    """Return the codes that put a fit in doubt, each once."""
    return tuple(dict.fromkeys(one.code for one in findings if one.code not in NOTES))


def _counts(runs: Runs, along_curves: bool) -> Finding | None:
    """A column of n or d that is no plain count, in all of its rows or in some."""
    # The first points of a curve may lie far below its others.
    for name in ("n",) if along_curves else ("n", "d"):
        rising = np.sort(getattr(runs, name))
        if len(rising) < 2 or rising[0] == rising[-1]:  # perhaps only a placeholder
            return None
        seen = _in_two(name, rising)
        if not seen and rising[-1] > _MOST[name]:
            seen = f"{name} is {_span(rising)}: there are not so many {_NOUNS[name]}"
        if not seen and np.median(rising) < _LEAST_COUNT:
            asked = "is it in millions or billions?"
            if rising[-1] < _LEAST_IN_UNITS:
                asked = "in no unit is that a count"
            seen = f"{name} is {_span(rising)}: {asked}"
        if seen:
            return Finding(Status.WRONG_UNITS, seen)
    ratio = float(np.median(runs.d / runs.n))
    if along_curves or _PER_PARAMETER[0] <= ratio <= _PER_PARAMETER[1]:
        return None
    return Finding(
        Status.WRONG_UNITS,
        f"d is {ratio:.3g} times n at the median: is {'n' if ratio > 1 else 'd'} in millions?",
    )


def _in_two(name: str, rising: Array) -> str:
    """Say where a column falls in two parts with an empty gap between; empty if it does not."""
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


def _compute(runs: Runs) -> Finding | None:
    """A compute that no run has, where nothing else says so."""
    least, most = float(runs.c.min()), float(runs.c.max())
    if _COMPUTE[0] <= least <= most <= _COMPUTE[1]:
        return None
    return Finding(
        Status.FLOPS_RATIO, f"c is {least:.3g} to {most:.3g} FLOPs, which no run of a model takes"
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


def _replicates(runs: Runs) -> Finding | None:
    """Runs of one configuration and group, whose losses lie farther apart than seeds set them."""
    if not len(runs):
        return None
    _, group = np.unique(runs.group, return_inverse=True)
    _, alike = np.unique(configurations(runs) * (group.max() + 1) + group, return_inverse=True)
    counts = np.bincount(alike)
    shared = counts > 1
    if counts[shared].sum() < _FEWEST_ALIKE:
        return None
    low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
    np.minimum.at(low, alike, np.log(runs.loss))
    np.maximum.at(high, alike, np.log(runs.loss))
    gap = float(np.median((high - low)[shared]))
    if gap < _APART:
        return None
    return Finding(
        Status.MIXED_DATA,
        f"{int(counts[shared].sum())} of {len(runs)} runs share n, d and settings with another, "
        f"and their losses are {np.expm1(gap):.0%} apart at the median",
    )


def _many(runs: Runs) -> Finding | None:
    if len(runs) <= MANY:
        return None
    return Finding(Status.MANY_ROWS, f"{len(runs):,} rows of {len(np.unique(runs.run)):,} runs")


def _diverged(runs: Runs) -> Finding | None:
    # Reading leaves diverged runs out and says so in the notes, the only trace they leave.
    notes = [note for note in runs.notes if "diverged" in note]
    return Finding(Status.DIVERGED_RUNS, notes[0]) if notes else None
