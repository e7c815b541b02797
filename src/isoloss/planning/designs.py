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

from isoloss.errors import InputError, argument
from isoloss.laws import published
from isoloss.planning.centre import Centre, Frontier
from isoloss.planning.recipe import CLOSE, PlannedRun, Recipe, Wanted, scaled_to, spread
from isoloss.runs import RunSpec
from isoloss.units import format_number

TOKENS_PER_PARAM = (1.0, 1000.0)
"""Beyond these no run of a design lies, unless it is asked to."""

_TOO_FAR = 1.5
_LEAST_FLOPS, _MOST_FLOPS = 1e9, 1e28


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
    notes += _few(sizes, 3, "sizes", "a curve shows its lowest point only between others")
    notes += _few(budgets, 3, "budgets", "how the best size moves with the budget is not seen")
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
        notes.append(
            "n and d rise together: fit a law of one variable, or add multiples= "
            "(--multiples 0.5,1,2)"
        )
    notes += _few(sizes, 3, "sizes", "no law with a floor can be fitted")
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
    notes += _few(sizes, 3, "sizes", "no law of (n, d) can be fitted")
    notes += _few(tokens, 3, "tokens", "no law of (n, d) can be fitted")
    if len(wanted) < sizes * tokens:
        notes.append(
            f"{sizes * tokens - len(wanted)} cells of the grid lie beyond {least:g} to {most:g} "
            "tokens per parameter and are left out"
        )
    return made("grid", flops, line.name, recipe, wanted, notes)


def made(
    kind: str,
    flops: float,
    centre: str,
    recipe: Recipe,
    wanted: Sequence[Wanted],
    notes: Sequence[str],
) -> Design:
    """Return the design of the runs wanted, without copies and without what no shape comes near.

    Raises InputError where nothing is left.
    """
    realised = [recipe.realise(one) for one in wanted]
    near = [run for run in realised if 1 / _TOO_FAR < run.n / run.n_asked < _TOO_FAR]
    runs = list({(run.spec.run_id, run.unique_tokens): run for run in near}.values())
    if not runs:
        raise InputError(
            f"no shape is small enough for {flops:.3g} FLOPs with a vocabulary of "
            f"{recipe.family.vocab}: give a larger budget, or a smaller vocab= (--vocab)"
        )
    total = sum(run.flops for run in runs)
    said = [*notes, *_shortfalls(len(realised), near, runs)]
    if abs(total / flops - 1) > CLOSE:
        said.append(f"the runs cost {total:.3g} FLOPs, {total / flops:.0%} of what was asked")
    return Design(
        kind=kind,
        budget=float(flops),
        flops=total,
        centre=centre,
        n_convention=recipe.n_convention,
        c_convention=recipe.c_convention,
        runs=tuple(runs),
        notes=(*said, *recipe.notes(runs)),
    )


def _shortfalls(asked: int, near: Sequence[PlannedRun], runs: Sequence[PlannedRun]) -> list[str]:
    """Say which runs could not be had, or not as they were wanted."""
    off = sum(run.flagged for run in runs)
    counts = {
        "are left out, for no shape is within a half of their size: a smaller vocabulary has "
        "smaller shapes": asked - len(near),
        "would be copies of others, for no shape lies between their sizes, and are left out": len(
            near
        )
        - len(runs),
        "are more than 2 % off what was wanted: no shape, or no whole number of steps, is "
        "nearer": off,
    }
    return [f"{count} of {asked} runs {what}" for what, count in counts.items() if count]


def _few(given: int, least: int, name: str, lost: str) -> list[str]:
    """Say what so few of something leave unknown."""
    if given >= least:
        return []
    return [f"{argument(name)} is {given}: {lost}; give {least} or more"]


def _whole(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or value != int(value) or not 1 <= value <= 1000:
            raise InputError(f"{argument(name)} is {value!r}; give a whole number from 1 to 1000")


def check_budget(flops: float) -> None:
    """Refuse what cannot be the FLOPs of a sweep."""
    if isinstance(flops, bool) or not _LEAST_FLOPS <= flops <= _MOST_FLOPS:
        raise InputError(f"flops is {flops!r}; give the FLOPs of the whole sweep, such as 1e19")


def _checked(flops: float, **factors: float) -> None:
    check_budget(flops)
    for name, value in factors.items():
        least = 0.0 if name.startswith("multiples") else 1.0
        if not (math.isfinite(value) and least < value <= 1e9):
            raise InputError(f"{name} is {value!r}; give a number above {least:g}")


def _range(tokens_per_param: tuple[float, float]) -> tuple[float, float]:
    low, high = tokens_per_param
    if not (0 < low < high and math.isfinite(low)):
        raise InputError(
            f"{argument('tokens_per_param')} is {low:g} to {high:g}; give two rising numbers"
        )
    return float(low), float(high)
