"""Measured exponents beside the papers', like beside like.

Two kinds of exponent are never put side by side. A pure power law falls for ever; its exponents
(Kaplan et al. 2020) are small, for they hide a floor in their slope. A reducible loss falls to a
floor E that is fitted too; its exponents (Hoffmann et al. 2022, Besiroglu et al. 2024) are several
times larger. Kaplan's come from different tables, and each row names its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isoloss.figures import law_of
from isoloss.laws import Chinchilla, Law, published
from isoloss.planning import Estimate
from isoloss.reporting.evidence import Evidence, Missing
from isoloss.reporting.wording import ALPHA, BETA
from isoloss.trust import Draws, Interval

KAPLAN = published.KAPLAN_2020
_BESIROGLU_SE = {ALPHA: 0.02, BETA: 0.02}
# Hoffmann et al. 2022, Table 2, by approach: (a, b).
_HOFFMANN_TABLE_2 = {1: (0.50, 0.50), 2: (0.49, 0.51)}


@dataclass(frozen=True)
class Exponent:
    """One measured exponent, or why there is none, and the same in each paper ("" if it has none).

    how: what was fitted to what.
    """

    name: str
    how: str
    measured: Estimate | Missing
    papers: tuple[str, ...]


def pure_exponents(evidence: Evidence) -> tuple[Exponent, ...]:
    """Exponents of power laws without a floor, beside Kaplan's; papers: (Kaplan,)."""
    joint, compute = KAPLAN.loss_nd.coefficients(), KAPLAN.loss_c.coefficients()
    lowest = KAPLAN.loss_c_min.coefficients()
    return (
        Exponent(
            f"{ALPHA}_N",
            "L(N, D), his Eq. 1.5",
            _of(evidence.kaplan, lambda law: law.coefficients()["alpha_n"]),
            (f"{joint['alpha_n']:.3f} (Table 2)",),
        ),
        Exponent(
            f"{ALPHA}_D",
            "L(N, D), his Eq. 1.5",
            _of(evidence.kaplan, lambda law: law.coefficients()["alpha_d"]),
            (f"{joint['alpha_d']:.3f} (Table 2)",),
        ),
        Exponent(
            f"{ALPHA}_C",
            "L(C), lowest losses",
            _of(evidence.compute, lambda law: law.coefficients()["alpha"]),
            (f"{compute['alpha']:.3f} (fixed batch), {lowest['alpha']:.3f} (C_min)",),
        ),
    )


def reducible_exponents(evidence: Evidence) -> tuple[Exponent, ...]:
    """Exponents of the loss above its floor and of the optimum; papers: (Hoffmann, Besiroglu)."""
    draws = evidence.main.draws
    if not issubclass(evidence.form, Chinchilla):
        reason = f"{evidence.form.__name__} has no floor E; fit Chinchilla for these"
        draws = Missing(reason)
    rows = [
        Exponent(name, "approach 3, the law", _of(draws, find), _papers(name, find))
        for name, find in _EXPONENTS.items()
    ]
    for approach, found in ((1, _envelope_exponents(evidence)), (2, _isoflop_exponents(evidence))):
        how = {1: "approach 1, envelope", 2: "approach 2, IsoFLOP"}
        for name, estimate, printed in zip("ab", found, _HOFFMANN_TABLE_2[approach], strict=True):
            rows.append(Exponent(name, how[approach], estimate, (f"{printed:.2f}", "")))
    return tuple(rows)


def _a(law: Law) -> Any:
    found = law.coefficients()
    return found["beta"] / (found["alpha"] + found["beta"])


_EXPONENTS: dict[str, Callable[[Law], Any]] = {
    ALPHA: lambda law: law.coefficients()["alpha"],
    BETA: lambda law: law.coefficients()["beta"],
    f"a = {BETA}/({ALPHA}+{BETA})": _a,
    f"b = {ALPHA}/({ALPHA}+{BETA})": lambda law: 1 - _a(law),
}


def _papers(name: str, find: Callable[[Law], Any]) -> tuple[str, str]:
    hoffmann, besiroglu = (
        f"{float(find(law_of(paper))):.3f}"
        for paper in (published.HOFFMANN_2022, published.BESIROGLU_2024)
    )
    if name in _BESIROGLU_SE:
        besiroglu += f" (se {_BESIROGLU_SE[name]:.2f})"
    return hoffmann, besiroglu


def _of(draws: Draws | Missing, find: Callable[[Law], Any]) -> Estimate | Missing:
    """The median of the draws and their interval."""
    if isinstance(draws, Missing):
        return draws
    return _estimate(draws.interval(find, 0.9))


def _envelope_exponents(evidence: Evidence) -> tuple[Estimate | Missing, Estimate | Missing]:
    """Without intervals: neighbouring points of an envelope are one run, not many."""
    trends = evidence.envelope_trends
    if isinstance(trends, Missing):
        return trends, trends
    of_n, of_d = (Estimate(None, trend.exponent, None) for trend in trends)
    return of_n, of_d


def _isoflop_exponents(evidence: Evidence) -> tuple[Estimate | Missing, Estimate | Missing]:
    """Approach 2 as `approaches` has it, in its own intervals."""
    if isinstance(evidence.approaches, Missing):
        return evidence.approaches, evidence.approaches
    found = evidence.approaches.named("2")
    if found.a is None or found.b is None:
        return Missing(found.refusal), Missing(found.refusal)
    return _estimate(found.a), _estimate(found.b)


def _estimate(found: Interval) -> Estimate:
    low, mid, high = (float(end) for end in found)
    return Estimate(None, mid, None) if math.isnan(low) else Estimate(low, mid, high)
