"""Whether the runs can answer: what a fit is refused for, and what it is doubted for.

Identification is a rank: the Jacobian of the log predictions in the coefficients, at the runs with
values of a variable within 1 % taken as one value, must have as many independent columns as there
are coefficients to find. That covers one size only, two sizes beside an irreducible loss, fewer
runs than coefficients, and any law alike; the message names the runs that would mend it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import Status
from isoloss.fitting.design import Design
from isoloss.fitting.intervals import robust_scale
from isoloss.fitting.levels import levels
from isoloss.fitting.polish import Solutions
from isoloss.laws.forms import Array
from isoloss.units import format_number

FEWEST_SPARE = 4
"""Runs beyond the coefficients; with fewer, intervals miss the truth too often."""

_NOUNS = {"n": "sizes", "d": "token counts"}
_RANK = 1e-9
_TIED, _NEARLY_TIED = 1e-4, 0.02  # share of the variance of log d that log n leaves over
_VANISHED = 1e-6
EQUAL_LOSSES = 1e-9
"""Losses whose logarithms differ by less do not vary."""


@dataclass(frozen=True)
class Verdict:
    """Codes of doubt, most serious first, and the sentence of a refusal, empty if there is none."""

    status: tuple[Status, ...]
    refusal: str


@dataclass(frozen=True)
class Levels:
    """How many distinct values each variable takes, and how many distinct runs there are."""

    counts: tuple[int, ...]
    runs: int
    snapped: tuple[Array, ...]

    @classmethod
    def of(cls, logs: tuple[Array, ...]) -> Levels:
        """Take values within 1 % as one."""
        groups = [levels(log) for log in logs]
        snapped = tuple(
            (np.bincount(group, log) / np.bincount(group))[group]
            for log, group in zip(logs, groups, strict=True)
        )
        together = np.zeros(len(logs[0]), dtype=np.intp)
        for group in groups:
            together = together * (group.max() + 1) + group
        counts = tuple(int(group.max()) + 1 for group in groups)
        return cls(counts, len(np.unique(together)), snapped)


def diagnose(design: Design, solution: Solutions) -> Verdict:
    """Judge one solution (k = 1) of a design."""
    coordinates = solution.coordinates[0]
    seen = Levels.of(design.logs)
    two = design.form.variables == ("n", "d")
    gone = vanished(design, coordinates)
    free = decided(design, coordinates)
    refusal = _refusal(design, coordinates, free, seen)
    doubts = (
        (Status.NOT_CONVERGED, not solution.converged[0]),
        (Status.VANISHED_TERM, bool(gone)),
        (Status.AT_BOUND, bool(at_bound(design, coordinates, gone))),
        (Status.NOT_SEPARATED, two and _left_over(*design.logs[:2]) < _NEARLY_TIED),
        (Status.FEW_SIZES, two and seen.counts[0] < 3),
        (Status.FEW_TOKENS, two and seen.counts[-1] < 3),
        (Status.WIDE_EXPONENT, not refusal and _wide(design, coordinates, free)),
        (Status.FEW_RUNS, seen.runs < design.size + FEWEST_SPARE),
    )
    return Verdict(tuple(code for code, doubted in doubts if doubted), refusal)


def vanished(design: Design, coordinates: Array) -> tuple[str, ...]:
    """Return the coefficients whose term contributes nothing to any run."""
    terms = _log_terms(design, coordinates)
    weights = dict(zip(design.scales, coordinates, strict=False))
    parts = {name: weights.get(name, 1.0) * np.exp(term) for name, term in terms.items()}
    total = np.maximum(sum(parts.values()), np.finfo(float).tiny)
    return tuple(name for name in design.scales if np.max(parts[name] / total) < _VANISHED)


def effect_vanished(design: Design, coordinates: Array) -> bool:
    """Say whether a term that varies between the runs has vanished, not only the constant floor."""
    terms = _log_terms(design, coordinates)
    return any(np.ptp(terms[name]) > 0 for name in vanished(design, coordinates))


def _log_terms(design: Design, coordinates: Array) -> dict[str, Array]:
    terms, _ = design.logarithms(coordinates[None, len(design.scales) :])
    return {name: term[0] for name, term in zip(design.form.scales, terms, strict=True)}


def at_bound(design: Design, coordinates: Array, gone: tuple[str, ...]) -> tuple[str, ...]:
    """Return the exponents at an end of their range, but for those of terms that vanished."""
    low, high = design.bounds
    theta = coordinates[len(design.scales) :]
    _, slopes = design.logarithms(theta[None])
    found = []
    for i, name in enumerate(design.exponents):
        acts = any(e == i and design.form.scales[j] not in gone for j, e in slopes)
        at = len(design.scales) + i
        if acts and not low[at] < coordinates[at] < high[at]:
            found.append(name)
    return tuple(found)


def decided(design: Design, coordinates: Array) -> NDArray[np.bool_]:
    """Return which coordinates the data decide: not held by a bound, nor of a vanished term."""
    gone = vanished(design, coordinates)
    low, high = design.bounds
    free = (coordinates > low) & (coordinates < high)
    kept = [name not in gone for name in design.scales]
    free[: len(design.scales)] &= np.array(kept, dtype=bool)
    _, slopes = design.logarithms(coordinates[None, len(design.scales) :])
    for i in range(len(design.exponents)):
        acting = [j for j, exponent in slopes if exponent == i]
        if acting and all(design.form.scales[j] in gone for j in acting):
            free[len(design.scales) + i] = False
    return free


def _refusal(design: Design, coordinates: Array, free: NDArray[np.bool_], seen: Levels) -> str:
    if len(design.log_loss) > 1 and np.ptp(design.log_loss) < EQUAL_LOSSES:
        return "every run has the same loss, so there is nothing to fit; check the loss column"
    if seen.runs > 1 and _unseen(design, coordinates, seen):
        return _missing(design, seen)
    snapped = replace(design, logs=seen.snapped)
    independent = rank(_jacobian(snapped, coordinates)[free])
    wanted = int(free.sum())
    if seen.runs < design.size or independent < wanted:
        return _missing(design, seen)
    if len(design.logs) == 2 and _left_over(*design.logs) < _TIED:
        first, second = design.form.variables
        return (
            f"{second} follows {first} in every run, so their effects cannot be told apart; "
            f"vary {_NOUNS.get(second, second)} at fixed {first}, for example one of the "
            f"smaller sizes again with 4 times and with a quarter of its tokens"
        )
    return ""


def _unseen(design: Design, coordinates: Array, seen: Levels) -> bool:
    """Whether all runs share one value of a variable on which a fitted term depends.

    Where a law has an outer exponent the rank may not show it: the formula alone then tells the
    coefficients apart, and the runs do not.
    """
    terms = _log_terms(design, coordinates)
    for place, count in enumerate(seen.counts):
        if count > 1:
            continue
        moved = tuple(log + float(i == place) for i, log in enumerate(design.logs))
        there = _log_terms(replace(design, logs=moved), coordinates)
        if any(not np.allclose(terms[name], there[name]) for name in design.scales):
            return True
    return False


def rank(jacobian: Array) -> int:
    """Return how many of the rows of a Jacobian (q, m) are independent, whatever their scale."""
    size = np.sqrt((jacobian * jacobian).sum(axis=1))
    flat = size < _RANK * max(1.0, float(size.max(initial=0.0)))
    singular = np.linalg.svd(jacobian[~flat] / size[~flat, None], compute_uv=False)
    return int((singular > _RANK * singular.max(initial=0.0)).sum())


def _missing(design: Design, seen: Levels) -> str:
    """What is missing when the coefficients outnumber what the runs can tell."""
    names = design.form.variables
    for name, log, count in zip(names, design.logs, seen.counts, strict=True):
        if count == 1 and seen.runs > 1:
            value = float(np.exp(np.mean(log))) * (1.0 + 1e-12)  # 1.00M, not 1000K
            noun = _NOUNS.get(name, "values")
            return (
                f"all runs have the same {name} ({format_number(value)}), so its effect cannot be "
                f"seen; add runs at two or more other {noun}, for example "
                f"{format_number(value / 4)} and {format_number(value * 4)}"
            )
    nouns = [_NOUNS.get(name, "values") for name in names]
    counted = " and ".join(f"{k} {noun}" for k, noun in zip(seen.counts, nouns, strict=True))
    needed = "three or more" if len(names) > 1 else f"at least {design.size}"
    if seen.runs >= design.size and min(seen.counts) >= 3:
        return (
            f"its {design.size} coefficients cannot be told apart by these runs: the losses do not "
            f"bend enough; add runs over a wider range of {' and '.join(nouns)}"
        )
    return (
        f"{seen.runs} distinct run{'s' * (seen.runs != 1)} ({counted}) cannot fix "
        f"{design.size} coefficients; add runs, at {needed} different "
        f"{f' and {needed} '.join(nouns)}"
    )


def _jacobian(design: Design, coordinates: Array) -> Array:
    inside: Array = _on_logs(design, coordinates)[1][0]
    return inside


def _on_logs(design: Design, coordinates: Array) -> tuple[Array, Array]:
    """Residuals of the log loss (1, m) and their Jacobian (1, q, m), whatever was fitted."""
    on_logs = design if design.residual == "log" else replace(design, residual="log")
    return on_logs.evaluate(coordinates[None], design.log_loss[None])


def _wide(design: Design, coordinates: Array, free: NDArray[np.bool_]) -> bool:
    """Whether the standard error of an exponent, by the Jacobian, is over half its value."""
    residuals, jacobian = _on_logs(design, coordinates)
    spare = len(design.log_loss) - int(free.sum())
    if spare < 1:
        return False
    columns = jacobian[0][free]
    size = np.sqrt((columns * columns).sum(axis=1))
    inverse = np.linalg.pinv((columns / size[:, None]) @ (columns / size[:, None]).T, rcond=1e-14)
    spread = robust_scale(residuals, spare)
    error = np.full(len(coordinates), 0.0)
    error[free] = spread * np.sqrt(np.maximum(np.diag(inverse), 0.0)) / size
    first = len(design.scales)
    values = np.abs(coordinates[first:])
    values[[name in design.places for name in design.exponents]] = 1.0  # a place's is a logarithm
    return bool(np.any(error[first:] > 0.5 * values))


def _left_over(first: Array, second: Array) -> float:
    """The share of the variance of one logarithm that a straight line in the other leaves over."""
    deviations = first - first.mean(), second - second.mean()
    (aa, ab), (_, bb) = np.cov(*deviations, bias=True)
    if aa <= 0 or bb <= 0:
        return 1.0
    return float(1.0 - ab * ab / (aa * bb))
