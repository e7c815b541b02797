"""What a sweep over tokens costs, run by run or as one long run with a cool-down for each.

A run whose learning rate falls over its whole length serves one number of tokens. Held constant, it
can be left at any point and cooled: the trunk is shared, and only the cool-downs are paid for anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.allocation import Cost, per_token
from isoloss.laws.forms import positive

COOLDOWN = 0.2
"""The share of a run spent on cooling, in the sweeps of Hagele et al. 2024."""


@dataclass(frozen=True)
class SweepCost:
    """What a sweep over sizes and tokens costs, in FLOPs.

    independent: every run from the start. shared: one trunk for each size, and a cool-down for each
    number of tokens. ratio: shared over independent.
    """

    independent: float
    shared: float

    @property
    def ratio(self) -> float:
        return self.shared / self.independent


def sweep_cost(
    n: ArrayLike,
    tokens: ArrayLike | Sequence[ArrayLike],
    *,
    cooldown: float = COOLDOWN,
    cost: Cost | None = None,
) -> SweepCost:
    """Return the cost of a sweep run by run, and with a trunk and cool-downs.

    Of a size with tokens d_1 < ... < d_m, f the share of a run that cools:
    independent = cost(n) * sum d_i, shared = cost(n) * ((1 - f) * d_m + f * sum d_i).
    n: parameters, a number or (k,). tokens: the counts of one size, for a number n, else one
    sequence for each of the k sizes, of any length. cooldown: f, above 0 and at most 1. cost: n ->
    FLOPs per token, default 6 n.
    Returns SweepCost. Raises InputError for sizes and tokens that do not match, or no numbers.
    Source: Hagele et al. 2024, and the notebook beside their code. Left out: that the sweep
    needs its own learning rate, about half of the best for a cosine.
    """
    if not 0 < cooldown <= 1:
        raise InputError(f"cooldown is {cooldown}; give the share of a run that cools, such as 0.2")
    sizes = positive(n, "n")
    counts = cast("Sequence[ArrayLike]", tokens if sizes.ndim else [tokens])
    if sizes.ndim > 1 or len(counts) != sizes.size:
        raise InputError(
            f"there are {sizes.size} sizes and tokens for {len(counts)}: give one sequence of "
            "token counts for each size"
        )
    prices = per_token(sizes, cost)
    independent = shared = 0.0
    for price, given in zip(np.ravel(prices), counts, strict=True):
        seen = np.unique(positive(given, "tokens"))
        if not seen.size:
            raise InputError("a size has no token counts: give at least one")
        independent += float(price * seen.sum())
        shared += float(price * ((1.0 - cooldown) * seen[-1] + cooldown * seen.sum()))
    return SweepCost(independent, shared)
