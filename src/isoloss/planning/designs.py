"""Sweeps for a budget: which runs to train, so that a law can be fitted to them.

IsoFLOP curves (several sizes at each of several budgets), a grid (every size on every number of
tokens), a ladder (sizes at fixed multiples of the law's best tokens); Kaplan's is in
`kaplan_studies`. Each is centred on a law, spends a total budget, and consists of runs that can be
trained: real shapes, whole batches, whole steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoloss.errors import InputError
from isoloss.laws import PublishedLaw, allocate, published
from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND
from isoloss.laws.forms import Array, Law
from isoloss.planning.recipe import PlannedRun, Recipe, Wanted, scaled_to, spread
from isoloss.runs import RunSpec
from isoloss.units import PF_DAY, format_number

Centre = Law | HoldsLaw | LossOfND | published.Kaplan2020

TOKENS_PER_PARAM = (1.0, 1000.0)
"""Beyond these no run of a design lies, unless it is asked to."""

_BUDGETS = 97
_BELOW, _ABOVE = 1e-7, 10.0
_LEAST = 1e7
_ALIKE = ("total", "active", "non_embedding_plus_head")


@dataclass(frozen=True)
class Design:
    """A sweep for a budget.

    kind: isoflop, grid, ladder or kaplan. budget: FLOPs asked for; flops: of all runs as they will
    be. runs: in the order of their groups. centre: the law that places them. n_convention,
    c_convention: how parameters and FLOPs are counted. notes: what to know before training them.
    """

    kind: str
    budget: float
    flops: float
    centre: str
    n_convention: str
    c_convention: str
    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[RunSpec, ...]:
        """The runs a sweep file can hold: all but those that repeat a part of the text."""
        return tuple(run.spec for run in self.runs if run.unique_tokens is None)

    @property
    def flagged(self) -> tuple[PlannedRun, ...]:
        """The runs that are more than 2 % off what was wanted."""
        return tuple(run for run in self.runs if run.flagged)

    def hours(self, flops_per_second: float) -> float:
        """Return the hours all runs take at so many FLOPs per second, none idle between them."""
        if not (math.isfinite(flops_per_second) and flops_per_second > 0):
            raise InputError(f"flops_per_second is {flops_per_second}; give a positive number")
        return self.flops / flops_per_second / 3600


def isoflop_design(
    flops: float,
    *,
    law: Centre = published.BESIROGLU_2024,
    recipe: Recipe | None = None,
    budgets: int = 5,
    sizes: int = 7,
    span: float = 100.0,
    width: float = 4.0,
    tokens_per_param: tuple[float, float] = TOKENS_PER_PARAM,
) -> Design:
    """Design IsoFLOP curves: `sizes` models at each of `budgets` budgets, for `flops` in all.

    Budgets rise geometrically by `span` from first to last; at each the sizes go evenly in ln n
    from 1/width to width times the law's best size there.
    flops: of the whole sweep. law: of (n, d), anything holding one (of draws, their median), or
    KAPLAN_2020. recipe: what the runs share. tokens_per_param: sizes with fewer or more are moved
    to the nearest that has them.
    Returns Design. Raises InputError for a wrong call, or where no size is left.
    Source: Hoffmann et al. 2022, section 3.2; centred, as Czech et al. 2026 show that a curve off
    centre, or drifting with the budget, biases what is fitted to it.
    """
    recipe = recipe or Recipe()
    _whole(budgets=budgets, sizes=sizes)
    _checked(flops, span=span, width=width)
    least, most = _range(tokens_per_param)
    levels = spread(1 / span, 1.0, budgets)
    levels = levels * (flops / (sizes * levels.sum()))
    line = Frontier(law, recipe, flops)
    wanted: list[Wanted] = []
    notes: list[str] = []
    for number, level in enumerate(levels.tolist(), start=1):
        best = line.n(level)
        smallest, largest = line.sizes_for(level, least, most)
        low, high = max(best / width, smallest), min(best * width, largest)
        if not low < high:
            raise InputError(
                f"no size spends {level:.3g} FLOPs on {least:g} to {most:g} tokens per parameter: "
                "widen tokens_per_param= (--tokens-per-param), or give a larger budget"
            )
        if not smallest <= best <= largest:
            notes.append(
                f"isoflop-{number} is cut before its minimum, {format_number(best)} parameters: "
                "widen tokens_per_param= (--tokens-per-param)"
            )
        ns = spread(low, high, sizes).tolist()
        wanted += [Wanted(f"isoflop-{number}", n, flops=level) for n in ns]
    notes += line.notes(levels.tolist())
    return made("isoflop", flops, line.name, recipe, wanted, notes)


def ladder_design(
    flops: float,
    *,
    law: Centre = published.BESIROGLU_2024,
    recipe: Recipe | None = None,
    sizes: int = 6,
    span: float = 100.0,
    multiples: Sequence[float] = (1.0,),
    tokens_per_param: tuple[float, float] = TOKENS_PER_PARAM,
) -> Design:
    """Design a ladder: sizes at the law's best tokens, or multiples of these, for `flops` in all.

    Sizes rise geometrically by `span` from first to last; each is trained on m d(n), where d(n) are
    the tokens with which n is the law's best size and m one of `multiples`.
    flops, law, recipe: as in `isoflop_design`. multiples: such as 0.5, 1, 2, 5 to see beyond the
    optimum too. tokens_per_param: runs with fewer or more are given the nearest that is allowed.
    Returns Design. Raises InputError for a wrong call, or a budget too small.
    Source: the habit of sweeps at a fixed ratio of tokens to parameters, such as Gadre et al. 2024
    with several. With one multiple n and d rise together: no law of (n, d) can be fitted to it.
    """
    recipe = recipe or Recipe()
    _whole(sizes=sizes)
    _checked(flops, span=span, **{f"multiples[{k}]": m for k, m in enumerate(multiples)})
    least, most = _range(tokens_per_param)
    line = Frontier(law, recipe, flops)

    def rungs(top: float) -> list[Wanted]:
        found = []
        for n in spread(top / span, top, sizes).tolist():
            for m in multiples:
                d = min(max(m * line.d(n), least * n), most * n)
                found.append(Wanted(f"ladder-{m:g}x", n, d=d))
        return found

    top = scaled_to(flops, lambda n: line.price(rungs(n)), *line.span)
    wanted = sorted(rungs(top), key=lambda one: one.group)
    notes = line.notes([line.price([one]) for one in wanted])
    if len(set(multiples)) == 1:
        notes.append("n and d rise together: fit a law of one variable, or add multiples")
    return made("ladder", flops, line.name, recipe, wanted, notes)


def grid_design(
    flops: float,
    *,
    law: Centre = published.BESIROGLU_2024,
    recipe: Recipe | None = None,
    sizes: int = 5,
    tokens: int = 5,
    span: float = 16.0,
    tokens_span: float = 16.0,
    tokens_per_param: tuple[float, float] = TOKENS_PER_PARAM,
) -> Design:
    """Design a grid: every one of `sizes` on every one of `tokens`, for `flops` in all.

    Both rise geometrically, by `span` and `tokens_span` from first to last, around the law's best
    size and tokens for some budget, the one that makes the whole cost `flops`.
    flops, law, recipe: as in `isoflop_design`. tokens_per_param: cells beyond it are left out.
    Returns Design. Raises InputError for a wrong call, or a budget too small.
    Source: Kaplan et al. 2020, section 4, and Muennighoff et al. 2023 train such grids.
    """
    recipe = recipe or Recipe()
    _whole(sizes=sizes, tokens=tokens)
    _checked(flops, span=span, tokens_span=tokens_span)
    least, most = _range(tokens_per_param)
    line = Frontier(law, recipe, flops)

    def cells(level: float) -> list[Wanted]:
        n, d = line.n(level), line.d(line.n(level))
        ns = spread(n / math.sqrt(span), n * math.sqrt(span), sizes).tolist()
        ds = spread(d / math.sqrt(tokens_span), d * math.sqrt(tokens_span), tokens).tolist()
        return [
            Wanted(f"grid-{row}", size, d=count)
            for row, size in enumerate(ns, start=1)
            for count in ds
            if least <= count / size <= most
        ]

    wanted = cells(scaled_to(flops, lambda c: line.price(cells(c)), *line.budgets))
    if not wanted:
        raise InputError(
            "no cell of the grid lies within tokens_per_param= (--tokens-per-param): widen it"
        )
    notes = line.notes([line.price([one]) for one in wanted])
    if len(wanted) < sizes * tokens:
        notes.append(
            f"{sizes * tokens - len(wanted)} cells of the grid lie beyond {least:g} to {most:g} "
            "tokens per parameter and are left out"
        )
    return made("grid", flops, line.name, recipe, wanted, notes)


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
        self._cost = recipe.cost(max(1e3, 0.1 * float(ends[0])), max(1e5, 10 * float(ends[1])))
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
            # As `plan_kaplan`: at the critical batch, so half of the compute counts.
            return np.asarray(self._law.allocation.n(levels / 2 / PF_DAY))
        best = np.asarray(allocate(self._law, levels, cost=cost).n)
        return np.asarray(np.median(best, axis=0) if best.ndim > 1 else best)


def made(
    kind: str,
    flops: float,
    centre: str,
    recipe: Recipe,
    wanted: Sequence[Wanted],
    notes: Sequence[str],
) -> Design:
    """Return the design of the runs wanted; a run that another already is, is left out."""
    runs: list[PlannedRun] = []
    seen: set[tuple[str, int | None]] = set()
    for one in wanted:
        run = recipe.realise(one)
        key = (run.spec.run_id, run.unique_tokens)
        if key not in seen:
            seen.add(key)
            runs.append(run)
    said = list(notes)
    if len(runs) < len(wanted):
        said.append(
            f"{len(wanted) - len(runs)} runs would be copies of others, for no shape lies between "
            "their sizes, and are left out"
        )
    off = sum(run.flagged for run in runs)
    if off:
        said.append(
            f"{off} of {len(runs)} runs are more than 2 % off what was wanted: no shape, or no "
            "whole number of steps, is nearer"
        )
    return Design(
        kind=kind,
        budget=float(flops),
        flops=sum(run.flops for run in runs),
        centre=centre,
        n_convention=recipe.n_convention,
        c_convention=recipe.c_convention,
        runs=tuple(runs),
        notes=(*said, *recipe.notes(runs)),
    )


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


def _whole(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or value != int(value) or not 1 <= value <= 1000:
            raise InputError(f"{name} is {value!r}; give a whole number from 1 to 1000")


def _checked(flops: float, **factors: float) -> None:
    if isinstance(flops, bool) or not (math.isfinite(flops) and flops >= 1e9):
        raise InputError(f"flops is {flops!r}; give the FLOPs of the whole sweep, such as 1e19")
    for name, value in factors.items():
        least = 0.0 if name.startswith("multiples") else 1.0
        if not (math.isfinite(value) and least < value <= 1e9):
            raise InputError(f"{name} is {value!r}; give a number above {least:g}")


def _range(tokens_per_param: tuple[float, float]) -> tuple[float, float]:
    low, high = tokens_per_param
    if not (0 < low < high and math.isfinite(low)):
        raise InputError(f"tokens_per_param is {low:g} to {high:g}; give two rising numbers")
    return float(low), float(high)
