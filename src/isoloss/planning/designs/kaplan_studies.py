"""The runs of Kaplan et al. 2020 for a budget: sizes to convergence, parts of the text, batches.

Three separate studies, each of one variable, where Hoffmann's designs vary size and tokens
together. How long each run must be follows from Kaplan's own fits, so it is as far from the truth
as these are on another text.
"""

from __future__ import annotations

import math

import numpy as np

from isoloss.errors import InputError
from isoloss.laws import CriticalBatch, KaplanNS, published
from isoloss.planning.designs.design import Design, check_budget, made
from isoloss.planning.designs.frontier import Frontier
from isoloss.planning.designs.recipe import Recipe, Wanted, scaled_to, spread

CONVERGED = 0.02
"""How far above its converged loss a run counts as converged: Kaplan's usual 2 %."""

_LEAST_SIZE = 1e3


def kaplan_design(
    flops: float,
    *,
    recipe: Recipe | None = None,
    sizes: int = 6,
    span: float = 100.0,
    excess: float = CONVERGED,
    subsets: int = 5,
    subset_step: float = 4.0,
    batches: int = 5,
    batch_span: float = 16.0,
) -> Design:
    """Design Kaplan's three studies, for `flops` in all.

    sizes: n from n_top/span to n_top, each to 1 + excess times its converged loss, at the critical
    batch of that loss: 2 s_min b_crit tokens, s_min = Sc (excess (Nc/n)^alpha_n)^(-1/alpha_s).
    subsets: n_top on 5e3 n_top^0.74 tokens of text and on parts of them, each `subset_step` times
    smaller, seen again until the earliest step at which stopping is right.
    batches: the second smallest and the second largest size, at batches that rise by batch_span
    around b_crit, each to the loss at which efficient training would stop, some 10 % above the
    converged one: e_min (1 + batch / b_crit) tokens.
    flops: of the whole. recipe: what the runs share; n is counted without embeddings, as Kaplan
    does. subsets and batches may be 0.
    Returns Design. Raises InputError for a wrong call, or a budget too small.
    Source: Kaplan et al. 2020, Eqs 1.6, 4.4, 5.1 to 5.7, B.5 and B.11, with the constants of
    Tables 2 and 3. Left out: repeats of the smallest runs, and that the paper trained all at one
    batch of 2^19 tokens and corrected for it.
    """
    recipe = (recipe or Recipe()).counted("non_embedding")
    _check(sizes=sizes, subsets=subsets, batches=batches)
    for name, value, least in (
        ("span", span, 1.0),
        ("subset_step", subset_step, 1.0),
        ("batch_span", batch_span, 1.0),
        ("excess", excess, 0.0),
    ):
        if not (math.isfinite(value) and value > least):
            raise InputError(f"{name} is {value!r}; give a number above {least:g}")
    check_budget(flops)
    line = Frontier(published.KAPLAN_2020, recipe, flops)

    def studies(top: float) -> list[Wanted]:
        ns = spread(top / span, top, sizes).tolist()
        scanned = [ns[min(1, sizes - 1)], ns[max(0, sizes - 2)]] if batches else []
        return [
            *(_converged(n, excess) for n in ns),
            *(_subset(top, subset_step**-k) for k in range(subsets)),
            *(
                one
                for place, n in enumerate(dict.fromkeys(scanned), start=1)
                for one in _scan(n, batches, batch_span, f"batch-{place}")
            ),
        ]

    top = scaled_to(flops, lambda n: line.price(studies(n)), _LEAST_SIZE, max(line.span))
    wanted = studies(top)
    notes = line.notes([line.price([one]) for one in wanted])
    low, high = published.KAPLAN_2020.loss_ns.n_range or (0.0, math.inf)
    if top / span < low or top > high:
        notes.append(f"Kaplan measured {low:.3g} to {high:.3g} parameters, which these runs leave")
    notes.append(
        "lengths and batches are those Kaplan's fits ask for on WebText2, with tokens of some four "
        "characters: elsewhere watch that the large runs have levelled off"
    )
    if subsets:
        notes.append(
            f"{subsets} runs see a part of the text again and again and stop early: their losses "
            "are on half of the held-out text, and do not compare with those of the others"
        )
    return made("kaplan", flops, published.KAPLAN_2020.name, recipe, wanted, notes)


def _laws() -> tuple[KaplanNS, CriticalBatch]:
    steps, batch = published.KAPLAN_2020.loss_ns.law, published.KAPLAN_2020.critical_batch.law
    assert isinstance(steps, KaplanNS)
    assert isinstance(batch, CriticalBatch)
    return steps, batch


def _toward(n: float, excess: float) -> tuple[float, float]:
    """Least steps and critical batch of n parameters at 1 + excess times the converged loss."""
    steps, batch = _laws()
    converged = (float(steps.Nc) / n) ** float(steps.alpha_n)
    least = float(steps.Sc) * (excess * converged) ** (-1 / float(steps.alpha_s))
    return least, float(batch((1 + excess) * converged))


def _converged(n: float, excess: float) -> Wanted:
    steps, batch = _toward(n, excess)
    return Wanted("sizes", n, d=2 * steps * batch, batch=batch)


def _subset(n: float, share: float) -> Wanted:
    """A part of the text that would just do for n parameters, seen until stopping is right."""
    unique = share * float(published.KAPLAN_2020.data_threshold(n))
    overfit = published.KAPLAN_2020.loss_nd
    loss = float(overfit(n, unique))
    gap = loss - float(overfit(n, np.inf))
    steps, batch = _laws()
    stop = float(steps.Sc) * gap ** (-1 / float(steps.alpha_s))
    critical = float(batch(loss))
    d = max(2 * stop * critical, unique)
    return Wanted("data", n, d=d, batch=critical, unique_tokens=unique)


def _scan(n: float, batches: int, batch_span: float, group: str) -> list[Wanted]:
    steps, _ = _laws()
    least, critical = _toward(n, float(steps.alpha_n) / float(steps.alpha_s))
    side = math.sqrt(batch_span)
    return [
        Wanted(group, n, d=least * critical * (1 + size / critical), batch=size)
        for size in spread(critical / side, critical * side, batches).tolist()
    ]


def _check(**counts: int) -> None:
    for name, value in counts.items():
        least = 1 if name == "sizes" else 0
        if isinstance(value, bool) or value != int(value) or not least <= value <= 100:
            raise InputError(f"{name} is {value!r}; give a whole number from {least} to 100")
