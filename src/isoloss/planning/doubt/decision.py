"""Which size to choose when the law is uncertain: the one whose mistakes should cost least.

Every draw of a law has its own best size, and says what any other size would cost: the compute it
needs for the loss of that draw's optimum, over the compute of the optimum. The expectation of that
excess over the draws is what a choice of size costs, and the sizes that most draws hold cheap are
as good as the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws import Cost, Law, allocate
from isoloss.laws.forms import Array
from isoloss.laws.required import compute_at_size
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.trust import Draws

MOST_EXCESS = 10.0
"""A draw in which a size never reaches the loss counts as this excess, as does any greater one."""

MOST_DRAWS = 1000
"""The expectation is over this many draws; more would hardly move it."""

NEAR = 0.05
"""A size is near-optimal if it reaches the optimum's loss with at most this more compute."""

PROBABILITY = 0.8
"""With draws, a size is near-optimal if at least this share of them says so."""

_SIZES = 193
_BEYOND = 8.0
_TAILS = 0.02


@dataclass(frozen=True, eq=False)
class Bet:
    """The size of least expected excess compute, over draws of a law.

    n: parameters. excess: the expectation at n, a fraction of the budget. sizes, expected: (m,) the
    expectation along sizes, which is what leaving n costs.
    """

    n: float
    excess: float
    sizes: Array
    expected: Array

    def at(self, n: float) -> float:
        """Return the expected excess of another size, between those of the nearest sizes."""
        return float(np.interp(np.log(n), np.log(self.sizes), self.expected))


def best_bet(draws: Draws, flops: float, *, cost: Cost | None = None) -> Bet:
    """Find the size whose expected excess compute over the draws is least.

    minimise over n: mean over k of min(c_k(n, loss_k) / flops - 1, 10), loss_k the least loss of
    draw k at the budget and c_k(n, loss) the compute with which n parameters reach it in that draw.
    draws: from `bootstrap`. flops: the budget. cost: n -> FLOPs per token, default 6 n.
    Returns Bet. Raises InputError where no draw has an optimum.
    Source: the excess is Kaplan et al. 2020, Eq. B.16, of any law; its expectation is ours. Draws
    beyond 1,000 are left out of the expectation, which they hardly move.
    """
    best = allocate(draws, flops, cost=cost)
    optima = np.asarray(best.n)
    return bet_on(draws, best.loss, np.full_like(optima, flops), optima, cost=cost)


def bet_on(
    draws: Draws,
    losses: ArrayLike,
    least: ArrayLike,
    optima: ArrayLike,
    *,
    cost: Cost | None = None,
    beside: Cost | None = None,
) -> Bet:
    """Find the size whose expected excess is least, where each draw has a loss of its own to reach.

    minimise over n: mean over k of min((c_k(n, losses_k) + beside(n)) / least_k - 1, 10), as in
    `best_bet`. losses, least, optima: (k,) the loss that draw k asks for, the fewest FLOPs with
    which any size has it, beside(n) with them, and that size. cost: as in `best_bet`. beside: n ->
    FLOPs that a size takes beyond its training, none by default.
    Returns Bet.
    """
    low, high = np.quantile(np.asarray(optima), [_TAILS, 1.0 - _TAILS])
    sizes = np.geomspace(max(low / _BEYOND, 1.0), high * _BEYOND, _SIZES)

    def expected(sizes: Array) -> Array:
        return _expected(draws.law, sizes, np.asarray(losses), np.asarray(least), cost, beside)

    along = expected(sizes)
    at = int(np.clip(along.argmin(), 1, _SIZES - 2))
    # The least of a smooth curve lies between points of a grid: the parabola through three.
    before, here, after = along[at - 1 : at + 2]
    bend = before - 2.0 * here + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    step = np.log(sizes[1] / sizes[0])
    n = float(sizes[at] * np.exp(step * np.clip(shift, -1.0, 1.0)))
    return Bet(n, float(expected(np.array([n]))[0]), sizes, along)


def agreed_sizes(lows: ArrayLike, highs: ArrayLike) -> tuple[tuple[float, float] | None, list[str]]:
    """Return the sizes that most draws hold near-optimal, around the size that most of all do.

    Each lies in at least `PROBABILITY` of the draws' own ranges. lows, highs: ends of the ranges,
    a number or (k,) for k draws.
    Returns the least and the greatest, None where there is none, and a note that says so.
    """
    low, high = np.sort(np.atleast_1d(np.asarray(lows))), np.sort(np.atleast_1d(np.asarray(highs)))
    edges = np.unique(np.concatenate([low, high]))
    begun = np.searchsorted(low, edges, side="right")
    # The share holds at each edge (even places) and changes on the way to the next (odd places).
    share = np.empty(2 * len(edges))
    share[0::2] = (begun - np.searchsorted(high, edges, side="left")) / len(low)
    share[1::2] = (begun - np.searchsorted(high, edges, side="right")) / len(low)
    top = int(share.argmax())
    if share[top] < PROBABILITY:
        return None, [
            f"no size is within {NEAR:.0%} of the best in {PROBABILITY:.0%} of the draws; "
            f"n = {format_number(float(edges[top // 2]))} is in {share[top]:.0%}: add runs"
        ]
    short = np.flatnonzero(share < PROBABILITY)
    first = int(short[short < top].max(initial=-1)) + 1
    last = int(short[short > top].min()) - 1
    return (float(edges[first // 2]), float(edges[last // 2])), []


def _expected(
    law: Law, sizes: Array, losses: Array, least: Array, cost: Cost | None, beside: Cost | None
) -> Array:
    """The mean excess of each size (m,) over the draws, each capped."""
    if len(losses) > MOST_DRAWS:
        law = type(law)(**{k: np.asarray(v)[:MOST_DRAWS] for k, v in law.coefficients().items()})
        losses, least = losses[:MOST_DRAWS], least[:MOST_DRAWS]
    needed = compute_at_size(law, sizes, losses, cost=cost)
    if beside is not None:
        needed = needed + np.asarray(beside(sizes))
    excess: Array = np.clip(needed / least[:, None] - 1.0, 0.0, MOST_EXCESS).mean(axis=0)
    return excess
