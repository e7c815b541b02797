"""Sweeps for a budget: which runs to train, so that a law can be fitted to them.

IsoFLOP curves (several sizes at each of several budgets), a grid (every size on every number of
tokens), a ladder (sizes at fixed multiples of the law's best tokens); Kaplan's is in
`kaplan_studies`. Each is centred on a law, spends a total budget, and consists of runs that can be
trained: real shapes, whole batches, whole steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoloss.errors import InputError, argument
from isoloss.laws import published
from isoloss.planning.designs.design import Design, check_budget, made
from isoloss.planning.designs.frontier import Centre, Frontier
from isoloss.planning.designs.recipe import Recipe, Wanted, scaled_to, spread
from isoloss.units import format_number

TOKENS_PER_PARAM = (1.0, 1000.0)
"""Beyond these no run of a design lies, unless it is asked to."""


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


def _few(given: int, least: int, name: str, lost: str) -> list[str]:
    """Say what so few of something leave unknown."""
    if given >= least:
        return []
    return [f"{argument(name)} is {given}: {lost}; give {least} or more"]


def _whole(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or value != int(value) or not 1 <= value <= 1000:
            raise InputError(f"{argument(name)} is {value!r}; give a whole number from 1 to 1000")


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
