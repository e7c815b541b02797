"""What a plan becomes where something else binds than the compute of training.

Serving, tokens per parameter and size are asked of the plan's own law, and held against the plan.
Repeated text, few bits and experts are no variables of that law: they are asked of the law of the
paper that has them, at the plan's budget, and held against the same law without the constraint.
Each answer says whose law it is; what it says of another's text is its change, not its loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from isoloss.counting import Family
from isoloss.errors import InputError
from isoloss.laws import Cost, published
from isoloss.planning.beyond.binding import Binding, Constrained
from isoloss.planning.beyond.own_law import OwnLaw, PlansLaw
from isoloss.planning.beyond.papers import in_bits, of_experts, repeated
from isoloss.planning.plans.answer import Plan, unit_notes
from isoloss.units import format_number

NEEDS_LAW = ("served", "size_ratio", "tokens_per_param")
"""The constraints that are asked of the plan's own law."""


def constrained(
    law: PlansLaw | published.Kaplan2020,
    plan: Plan,
    *,
    cost: Cost | None = None,
    level: float = 0.9,
    **binding: Unpack[Binding],
) -> tuple[Constrained, ...]:
    """Say what a plan becomes under each further constraint, one at a time.

    served: argmin_n cost(n) d + cost(n) / 3 * served, law(n, d) = the plan's loss; with draws the n
    of least expected excess, as in `plan`. size_ratio: the d at which size_ratio times the plan's n
    has its loss. tokens_per_param: the budget's n and d = m n. The others: `allocate_repeated`,
    `allocate_bits`, `allocate_experts` at the plan's budget, counted as 6 n d.
    law, plan: from `plan(law)`; with draws there are intervals, at the plan's level. cost: that of
    the plan. level: of the intervals of a `unique_law`.
    Returns the answers in the order of `Binding`; published.KAPLAN_2020, whose Table 6 is no law of
    (n, d), has none to those of `NEEDS_LAW`.
    Raises InputError for a constraint that there is not, or that its law cannot meet.
    Source: see `lifetime`, `overheads`, `repetition`, `precision` and `experts`. Left out: the
    law's misfit beyond the runs, but in the loss at tokens_per_param, which is a forecast.
    """
    unknown = sorted(set(binding) - Binding.__optional_keys__)
    if unknown:
        raise InputError(f"there is no constraint {unknown[0]!r}; see Binding for those there are")
    found: list[Constrained] = []
    if not isinstance(law, published.Kaplan2020):
        own = OwnLaw(law, plan, cost)
        if (served := binding.get("served")) is not None:
            found.append(own.served(served))
        if (size_ratio := binding.get("size_ratio")) is not None:
            found.append(own.at_size(size_ratio))
        if (ratio := binding.get("tokens_per_param")) is not None:
            found.append(own.at_ratio(ratio))
    unique, fitted = binding.get("unique_tokens"), binding.get("unique_law")
    bits, experts = binding.get("bits"), binding.get("experts")
    if unique is None and fitted is not None:
        raise InputError("unique_law needs unique_tokens, the text that there is")
    if unique is not None:
        found.append(repeated(plan, unique, fitted, level))
    if bits is not None:
        found += in_bits(plan, bits)
    if experts:
        found.append(of_experts(plan))
    return tuple(_doubted(one, plan) for one in found)


def _doubted(one: Constrained, plan: Plan) -> Constrained:
    """The answer with its doubts; the n of experts counts what no token uses."""
    if one.constraint == "experts":
        return one
    caps = (plan.budget.max_params, "parameters"), (plan.budget.max_tokens, "tokens")
    over = [
        f"the cap of {format_number(cap)} {what} is not kept here"
        for (cap, what), value in zip(caps, (one.n.mid, one.d.mid), strict=True)
        if cap is not None and value > cap * (1 + 1e-9)
    ]
    doubts = over + unit_notes(one.d.mid / one.n.mid, one.loss.mid, Family())
    return replace(one, notes=(*one.notes, *doubts))
