"""Where a design lies: the best size and tokens of every budget, by a law and for real shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoloss.laws import PublishedLaw, allocate, published
from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND
from isoloss.laws.forms import Array, Law
from isoloss.planning.designs.recipe import Recipe, Wanted

Centre = Law | HoldsLaw | LossOfND | published.Kaplan2020

_BUDGETS = 97
_BELOW, _ABOVE = 1e-7, 10.0
_LEAST = 1e7
_LARGEST = 1e15
_ALIKE = ("total", "active", "non_embedding_plus_head")


class Frontier:
    """The best size of every budget by a law, at what the recipe's shapes cost.

    law: as in `isoflop_design`. recipe: what is trained. flops: of the whole sweep, which sets the
    range of budgets looked at.
    """

    def __init__(self, law: Centre, recipe: Recipe, flops: float) -> None:
        self._law, self._recipe = law, recipe
        low = max(_LEAST, _BELOW * flops)
        levels = np.geomspace(min(low, flops / 10), _ABOVE * flops, _BUDGETS)
        # Where the law would put them at 6 n d: the range of sizes whose cost must be known.
        ends = self._best(levels[[0, -1]], None)
        least, most = max(1e3, 0.1 * float(ends[0])), max(1e5, 10 * float(ends[1]))
        self._cost = recipe.family.cost(
            least, min(most, _LARGEST), recipe.n_convention, recipe.c_convention
        )
        best = self._best(levels, self._cost)
        self._c, self._n = np.log(levels), np.log(np.maximum.accumulate(best))

    @property
    def name(self) -> str:
        """The law's name, or its form."""
        if isinstance(self._law, PublishedLaw | published.Kaplan2020):
            return self._law.name
        held = getattr(self._law, "law", self._law)
        return "given function" if not isinstance(held, Law) else type(held).__name__

    @property
    def budgets(self) -> tuple[float, float]:
        """The least and the largest budget it knows, FLOPs."""
        return float(np.exp(self._c[0])), float(np.exp(self._c[-1]))

    @property
    def span(self) -> tuple[float, float]:
        """The best sizes of these, parameters."""
        return float(np.exp(self._n[0])), float(np.exp(self._n[-1]))

    def n(self, flops: float) -> float:
        """Return the best size for a budget."""
        return math.exp(_line(math.log(flops), self._c, self._n))

    def d(self, n: float) -> float:
        """Return the tokens with which n is the best size."""
        return math.exp(_line(math.log(n), self._n, self._c)) / self.per_token(n)

    def per_token(self, n: float) -> float:
        """Return the FLOPs per token of a model of n parameters."""
        return float(np.asarray(self._cost(np.asarray(n))))

    def price(self, wanted: Sequence[Wanted]) -> float:
        """Return the FLOPs of runs before they have shapes."""
        return sum(
            one.flops if one.flops is not None else self.per_token(one.n) * (one.d or 0.0)
            for one in wanted
        )

    def sizes_for(self, flops: float, least: float, most: float) -> tuple[float, float]:
        """Return the sizes that spend a budget on `most` and on `least` tokens per parameter."""
        log_n = np.linspace(math.log(10.0), math.log(1e15), 4001)
        ns = np.exp(log_n)
        ratio = math.log(flops) - np.log(np.asarray(self._cost(ns)) * ns)
        ends = (-_line(-math.log(x), -ratio, -log_n) for x in (most, least))
        smallest, largest = (math.exp(end) for end in ends)
        return smallest, largest

    def notes(self, levels: Sequence[float]) -> list[str]:
        """Say where the law was not measured, and where its counts are not the recipe's."""
        if isinstance(self._law, published.Kaplan2020):
            counts, said = "non_embedding", list[str]()
        elif isinstance(self._law, PublishedLaw):
            counts = self._law.n_convention
            said = _beyond(min(levels), max(levels), self._law.c_range)
        else:
            return []
        mine = self._recipe.n_convention
        if counts != mine and not {counts, mine} <= set(_ALIKE):
            said.append(f"{self.name} counts parameters as {counts}, the design as {mine}")
        return [f"centred by {self.name}: {line}" for line in said]

    def _best(self, levels: Array, cost: Cost | None) -> Array:
        if isinstance(self._law, published.Kaplan2020):
            return self._law.best_size(levels)
        best = np.asarray(allocate(self._law, levels, cost=cost).n)
        return np.asarray(np.median(best, axis=0) if best.ndim > 1 else best)


def _line(at: float, x: Array, y: Array) -> float:
    """y at a place, straight between points and beyond them; x rises."""
    k = int(np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2))
    rise = x[k + 1] - x[k]
    return float(y[k] + (at - x[k]) * (y[k + 1] - y[k]) / rise) if rise > 0 else float(y[k])


def _beyond(low: float, high: float, measured: tuple[float, float] | None) -> list[str]:
    """A note if budgets lie outside those measured."""
    if measured is None or (measured[0] <= low and high <= measured[1]):
        return []
    return [
        f"measured from {measured[0]:.3g} to {measured[1]:.3g} FLOPs, and asked for {low:.3g} to "
        f"{high:.3g}: where the curves turn is an extrapolation"
    ]
