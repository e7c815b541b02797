"""The published laws' plans for one budget, side by side, and by how much they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

from isoloss.laws import published
from isoloss.planning.budget import OtherAmounts, budget
from isoloss.planning.plans.answer import Plan
from isoloss.planning.plans.kaplan import kaplan_plan
from isoloss.planning.plans.plan import plan
from isoloss.planning.training.setup import Setup
from isoloss.units import format_number

TWOFOLD = 2.0
"""Plans whose best sizes differ by more than this factor are said to disagree."""

_NO_KAPLAN = "Kaplan's tables know no caps on n or d: there is no plan of his"


def published_plans(
    flops: float | None = None, *, setup: Setup | None = None, **amounts: Unpack[OtherAmounts]
) -> tuple[Plan, ...]:
    """Plan a budget by each published law: Kaplan 2020, Hoffmann 2022, Besiroglu 2024.

    flops, setup, amounts: as in `plan`; Kaplan's tables know no caps on n or d, and are left out
    there.
    Their n are counted differently: read `n_convention` beside each.
    Raises InputError for a bad budget. Source: see `laws.published`.
    """
    spend = budget({"flops": flops, **amounts})
    laws = (published.HOFFMANN_2022, published.BESIROGLU_2024)
    plans = tuple(plan(law, flops=flops, setup=setup, **amounts) for law in laws)
    if spend.max_tokens or spend.max_params:
        return tuple(replace(one, notes=(*one.notes, _NO_KAPLAN)) for one in plans)
    return kaplan_plan(spend, setup or Setup()), *plans


def disagreement(plans: Sequence[Plan]) -> str:
    """Say by how much the best sizes of several plans differ, where it is more than twofold.

    Returns a sentence without a full stop, empty where they agree.
    """
    ranked = sorted(plans, key=lambda one: one.n.mid)
    if len(ranked) < 2 or ranked[-1].n.mid <= TWOFOLD * ranked[0].n.mid:
        return ""
    least, most = ranked[0], ranked[-1]
    counted = "" if least.n_convention == most.n_convention else ", which count n differently"
    return (
        f"the best sizes differ {most.n.mid / least.n.mid:.2g} times, from "
        f"{format_number(least.n.mid)} by {least.source} to {format_number(most.n.mid)} by "
        f"{most.source}{counted}: the law is the doubt"
    )
