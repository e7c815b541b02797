"""What the rules for rate and batch say of the model of a plan.

What the papers say was measured on small models, so a rule is refused outside the range it was
measured in, unless it is forced; all of them stand side by side, with what your own sweep found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from isoloss.counting import COUNT_CONVENTIONS, NConvention, count_params
from isoloss.laws.kaplan import trade_off
from isoloss.laws.published_tuning import (
    POWER_LINES_CITATION,
    POWER_LINES_RANGE,
    RULE_PAIRS,
    TUNING_RULES,
    carried_batch,
)
from isoloss.laws.tuning_rules import Gives, TuningRule
from isoloss.planning.estimate import Estimate, estimate_of
from isoloss.planning.training.setup import Place, Setup
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.fitting import Tuning, TuningLaw

OWN = "your sweep"
"""What a plan calls the rules that `tune` found."""
OWN_CRITICAL = "your critical batch"
_ORDER = (OWN, OWN_CRITICAL, *RULE_PAIRS)
_POWER_LINES = "Power Lines"
_BATCH_NEEDED = "it carries a batch of yours to more tokens: give a tuned sweep of batches"


@dataclass(frozen=True)
class RuleAnswer:
    """What one rule says of the model.

    source: the paper, or "your sweep". gives: "lr", "batch" or "critical_batch"; value: a rate, or
    tokens; None where the rule is refused, and `refused` says why. unit: "tokens", or "" of a rate.
    far: how many times outside the range measured the model lies; 1 inside. steps: the
    plan's tokens over that batch, None for a rate.
    over_tokens, over_steps: of a critical batch, what training at the plan's batch takes over the
    least tokens and the least steps to the same loss; least_tokens, least_steps: those. at: the
    values at the places of the plan.
    """

    source: str
    gives: Gives
    value: Estimate | None
    unit: str
    far: float
    refused: str = ""
    citation: str = ""
    steps: Estimate | None = None
    over_tokens: float | None = None
    over_steps: float | None = None
    least_tokens: float | None = None
    least_steps: float | None = None
    at: tuple[float, ...] = field(default=(), repr=False)


def rule_answers(
    places: tuple[Place, ...], convention: NConvention, setup: Setup
) -> tuple[RuleAnswer, ...]:
    """What every rule says; refused outside its range, unless it is forced."""
    published = [_published(rule, places, convention) for rule in TUNING_RULES]
    answers = [*_own(places, setup.tuned), *published, _power_lines(places, setup.tuned)]
    return tuple(
        one if setup.force or not one.refused else replace(one, value=None, steps=None)
        for one in answers
    )


def _published(rule: TuningRule, places: tuple[Place, ...], convention: NConvention) -> RuleAnswer:
    given = [rule.measures(place.shape, place.d, convention) for place in places]
    values = [float(rule(**one) if rule.gives == "lr" else rule.tokens(**one)) for one in given]
    far, refused = rule.outside(**given[0])
    known = all(math.isfinite(value) for value in values)
    return RuleAnswer(
        rule.source,
        rule.gives,
        estimate_of(values) if known else None,
        "" if rule.gives == "lr" else "tokens",
        far,
        refused if known else f"it gives no rate at {format_number(given[0]['n'])} parameters",
        rule.citation,
        None if rule.gives == "lr" else steps_of(places, values),
        at=tuple(values) if known else (),
    )


def _own(places: tuple[Place, ...], tuned: Tuning | None) -> list[RuleAnswer]:
    """What the sweep's own laws say, as uncertain as they and the plan's interval are."""
    laws = [] if tuned is None else [law for law in (tuned.lr_law, tuned.batch_law) if law]
    return [_of_law(law, places, tuned) for law in laws if tuned is not None]


def _of_law(law: TuningLaw, places: tuple[Place, ...], tuned: Tuning) -> RuleAnswer:
    sizes = [_counted(place, tuned.runs.n_convention) for place in places]
    spans = np.array([law.interval(n=n, d=place.d) for n, place in zip(sizes, places, strict=True)])
    far, said = 1.0, []
    for name, value, what in (("n", sizes[0], "parameters"), ("d", places[0].d, "tokens")):
        low, high = law.ranges[name]
        if not low / 1.01 <= value <= high * 1.01:
            far = max(far, value / high, low / value)
            said.append(
                f"{format_number(value)} {what}, tuned from {format_number(low)} to "
                f"{format_number(high)}"
            )
    low, mid, high = float(spans[:, 0].min()), float(spans[0, 1]), float(spans[:, 2].max())
    steps = None
    if law.setting == "batch":
        taken = np.array([place.d for place in places])[:, None] / spans
        steps = Estimate(float(taken.min()), float(taken[0, 1]), float(taken.max()))
    return RuleAnswer(
        OWN,
        "lr" if law.setting == "lr" else "batch",
        Estimate(low, mid, high),
        "" if law.setting == "lr" else "tokens",
        far,
        "; ".join(said),
        steps=steps,
        at=tuple(float(each) for each in spans[:, 1]),
    )


def _power_lines(places: tuple[Place, ...], tuned: Tuning | None) -> RuleAnswer:
    """The batch of the sweep's largest models, carried to the plan's tokens."""
    known = [] if tuned is None else [one for one in tuned.usable if math.isfinite(one.batch[1])]
    if not known:
        return RuleAnswer(
            _POWER_LINES, "batch", None, "tokens", math.nan, _BATCH_NEEDED, POWER_LINES_CITATION
        )
    largest = max(known, key=lambda one: one.d)
    values = [float(carried_batch(largest.batch[1], largest.d, place.d)) for place in places]
    n, (low, high) = float(count_params(places[0].shape, "total")), POWER_LINES_RANGE
    ends = f"{format_number(low)} to {format_number(high)}"
    inside = low <= n <= high
    return RuleAnswer(
        _POWER_LINES,
        "batch",
        estimate_of(values),
        "tokens",
        max(1.0, n / high, low / n),
        "" if inside else f"{format_number(n)} parameters, measured from {ends}",
        POWER_LINES_CITATION,
        steps_of(places, values),
        at=tuple(values),
    )


def _counted(place: Place, convention: str) -> float:
    if convention in COUNT_CONVENTIONS:
        return float(count_params(place.shape, convention))
    return place.n


def followed(
    answers: tuple[RuleAnswer, ...], gives: Literal["lr", "batch"], *, kaplan: bool
) -> RuleAnswer | None:
    """The rule to follow: of those least far from where they were measured, the first in order.

    kaplan: his own plan, which follows his rules first, and for the batch a critical one: yours, or
    his.
    """
    wanted = {(OWN_CRITICAL, "critical_batch")}
    wanted |= {("Kaplan", "critical_batch")} if kaplan else set()
    wanted |= {(source, gives) for source in _ORDER}
    order = (OWN_CRITICAL, "Kaplan", *_ORDER) if kaplan else _ORDER
    usable = [
        one
        for one in answers
        if one.value is not None
        and (one.source, one.gives) in wanted
        and (gives == "batch") == (one.gives != "lr")
    ]
    return min(usable, key=lambda one: (one.far, order.index(one.source)), default=None)


def against(answer: RuleAnswer, batch: float, tokens: float) -> RuleAnswer:
    """Say of a critical batch what training at `batch` tokens takes beside it; others are as is.

    E_min = tokens / (1 + batch / b_crit), S_min = (tokens / batch) / (1 + b_crit / batch).
    Source: Kaplan et al. 2020, Eqs 5.4 and 5.5.
    """
    if answer.gives != "critical_batch" or answer.value is None:
        return answer
    cost = trade_off(batch, answer.value.mid)
    over_tokens, over_steps = float(cost.tokens), float(cost.steps)
    return replace(
        answer,
        over_tokens=over_tokens,
        over_steps=over_steps,
        least_tokens=tokens / over_tokens,
        least_steps=tokens / batch / over_steps,
    )


def rule_notes(lr: RuleAnswer | None, batch: RuleAnswer | None, setup: Setup) -> list[str]:
    """What to know of the rules followed, or that there are none."""
    notes, given = [], setup.batch is not None
    missing = [what for what, known in (("rate", lr), ("batch", batch or given)) if not known]
    if missing:
        notes.append(
            f"no rule for the {' and the '.join(missing)} was measured at such a model, so none is "
            "followed: tune a sweep of your own, or ask them all the same with force=True "
            "(--force-rules)"
        )
    for what, one in (("rate", lr), ("batch", None if given else batch)):
        if one is not None and one.refused:
            notes.append(
                f"the {what} is {one.source}'s, {one.far:.2g} times outside the range it was "
                "measured in: a guess"
            )
    if lr is not None and given:
        notes.append("the rate is the best one for the batch of its own rule, not for the given")
    elif lr is not None and batch is not None and lr.source != batch.source:
        whose = "your critical one" if batch.source == OWN_CRITICAL else f"{batch.source}'s"
        notes.append(f"the rate is {lr.source}'s and the batch {whose}: not tuned together")
    return notes


def steps_of(places: tuple[Place, ...], batches: list[float]) -> Estimate:
    """Return the steps that the tokens of each place take at its batch, in tokens."""
    taken = [place.d / batch for place, batch in zip(places, batches, strict=True)]
    return estimate_of(taken)
