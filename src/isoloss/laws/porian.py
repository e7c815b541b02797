"""Porian et al. 2024: what becomes of the exponent of the best size as Kaplan's set-up is mended.

They trained as Kaplan et al. 2020 did, on two texts, and changed one thing after another. The fits
n = coefficient * c ** exponent are those of their released data: medians of a thousand noisy copies
of the losses, weighted, with 95 % intervals. n counts the head but not the input embeddings, and
c = 6 n d, unless a step says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from isoloss.laws.relations import PowerRelation

PORIAN_CITATION = (
    "Porian et al. (2024), Resolving Discrepancies in Compute-Optimal Scaling of Language Models, "
    "arXiv:2406.19146"
)


@dataclass(frozen=True)
class MeasuredExponent:
    """One set-up and the exponent of the best size in compute that was measured with it.

    step: its name. changed: what is different from the set-up before. exponent, low, high: with the
    interval its source gives, here of 95 %. coefficient: parameters at one FLOP, None where it was
    not released to us.
    """

    step: str
    changed: str
    exponent: float
    low: float
    high: float
    coefficient: float | None = None

    @property
    def n_of_c(self) -> PowerRelation | None:
        """The best size in compute, FLOPs; None without a coefficient."""
        if self.coefficient is None:
            return None
        return PowerRelation(self.coefficient, self.exponent)


_STEPS = (
    ("Kaplan's set-up", "head left out of n and c, long warm-up, one long cosine for all budgets"),
    ("head counted", "the last layer's parameters and FLOPs counted"),
    ("warm-up shortened", "warm-up for as many tokens as parameters, not for 1.6e9"),
    ("cosine matched", "a run of its own for every budget, its cosine ending there"),
    ("optimizer tuned", "rate, batch and beta2 tuned for every size, rate constant, no decay"),
)


def _walk(*fits: tuple[float, ...]) -> tuple[MeasuredExponent, ...]:
    return tuple(MeasuredExponent(*step, *fit) for step, fit in zip(_STEPS, fits, strict=True))


PORIAN_REFINEDWEB = _walk(
    (0.83530, 0.8235, 0.8460, 4.2320e-8),
    (0.70647, 0.6915, 0.7169, 1.2702e-5),
    (0.60204, 0.5914, 0.6173, 1.43092e-3),
    (0.57149, 0.5598, 0.5885, 4.76929e-3),
    (0.496895, 0.4907, 0.5045, 0.118926),
)
"""The five set-ups on RefinedWeb."""

PORIAN_OPENWEBTEXT2 = _walk(
    (0.8635, 0.8186, 0.8974),
    (0.6985, 0.6644, 0.7245),
    (0.6032, 0.5702, 0.6287),
    (0.5743, 0.5423, 0.6056),
    (0.5185, 0.4931, 0.5414),
)
"""The five set-ups on OpenWebText2."""

PORIAN_VARIANTS = (
    MeasuredExponent(
        "attention counted too", "as `head counted`", 0.71706, 0.7029, 0.7273, 8.61669e-6
    ),
    MeasuredExponent(
        "  warm-up shortened", "as above, attention counted", 0.62225, 0.6072, 0.6320, 6.69793e-4
    ),
    MeasuredExponent(
        "  cosine matched", "as above, attention counted", 0.57719, 0.5620, 0.5925, 4.35163e-3
    ),
    MeasuredExponent(
        "  optimizer tuned", "as above, attention counted", 0.50527, 0.4962, 0.5123, 0.0923529
    ),
    MeasuredExponent(
        "tuned, Kaplan's count",
        "optimizer tuned, long warm-up, constant rate, head not counted",
        0.71149,
        0.7026,
        0.7214,
        8.95197e-6,
    ),
)
"""Other set-ups on RefinedWeb: attention counted in n and c; all tuned, but as Kaplan counts."""
