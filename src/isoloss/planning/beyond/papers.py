"""Repeated text, few bits and experts, by the laws of the papers that have them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from isoloss.errors import InputError
from isoloss.laws import Chinchilla, DataConstrained, PublishedLaw, allocate, published
from isoloss.laws.allocation import held_law
from isoloss.laws.forms import Array, Coefficient
from isoloss.planning.beyond.binding import Choice, Constrained
from isoloss.planning.beyond.experts import allocate_experts
from isoloss.planning.beyond.precision import NOTE, Bits, allocate_bits
from isoloss.planning.beyond.repetition import (
    RIVALS,
    Repetition,
    allocate_repeated,
    checked_stock,
    worth_of_epochs,
    worth_of_next_epoch,
)
from isoloss.planning.estimate import Estimate, sure
from isoloss.planning.plans.answer import OWN_TEXT, Plan, beyond
from isoloss.units import format_number, percent

if TYPE_CHECKING:
    from isoloss.trust import FittedLaw

Bounds = tuple[float, float]

_FULL = 16.0
_HARDLY = 0.05
_ALIKE = 0.01
_HALF = ("bf16", "fp16")
_RIVALS = "ranges over the constants that fit the paper's runs as well"
_LEFT_OVER = "the budget reads less text than there is: nothing is seen twice"
_USED_UP = "the text is used up by then: one more token is worth under 5 % of a new one"
_SIX = "the paper's law counts compute as 6 n d, the plan otherwise"
_NOT_HALF = "the paper's FLOPs are those of 16 bits, the budget's those of {}: convert it first"
_NOTHING_LEFT = "with the offsets of the same table nothing is left of a model in {:g} bits"
_TOTAL = (
    "n is all parameters but the embedding, 43 times those that a token uses; held against a dense "
    "model of the same study, its n without the embedding"
)
_EDGE = "the granularity is the least or the greatest of those tried"


def repeated(plan: Plan, unique: float, fitted: FittedLaw | None, level: float) -> Constrained:
    """Answer with `allocate_repeated`, by Muennighoff's law or by a fit of that form."""
    known = published.MUENNIGHOFF_2023
    law = known if fitted is None else fitted
    found = allocate_repeated(law, plan.flops, checked_stock(unique, "unique_tokens"))
    form = cast("DataConstrained", held_law(law))
    best = allocate(Chinchilla(form.E, form.A, form.B, form.alpha, form.beta), plan.flops)
    said = _said(form, found)
    if fitted is None:
        source, convention = known.name, str(known.n_convention)
        bounds, are = _rival_bounds(form, found), _RIVALS
        notes = [*_range_notes(known, float(found.n), float(found.d)), OWN_TEXT]
    else:
        source, convention = f"fit of {len(fitted.residuals)} runs", fitted.n_convention
        bounds, notes = _drawn_bounds(fitted, plan.flops, unique, level), []
        are = f"{percent(level)} intervals" if bounds else ""
    if float(found.epochs) < 1:
        notes.insert(0, _LEFT_OVER)
    if float(said["next_epoch"]) < _HARDLY:
        notes.insert(0, _USED_UP)

    def estimate(name: str) -> Estimate:
        low, high = bounds.get(name, (None, None))
        return Estimate(low, float(said[name]), high)

    return Constrained(
        constraint="unique_tokens",
        question=f"{format_number(unique)} tokens of text, read again where that is best",
        source=source,
        law=type(form).__name__,
        flops=plan.flops,
        n_convention=convention,
        n=estimate("n"),
        d=estimate("d"),
        loss=estimate("loss"),
        free=Choice(float(best.n), float(best.d), float(best.loss)),
        free_is="text enough",
        more={name: estimate(name) for name in ("epochs", "worth", "next_epoch")},
        bounds=are,
        notes=(found.note, *notes, *_counting(plan)),
    )


def in_bits(plan: Plan, bits: float | Literal["best"]) -> tuple[Constrained, ...]:
    """Answer with `allocate_bits`, by both forms of Kumar's law."""
    held = None if bits == "best" else bits
    offsets, plain = published.KUMAR_2024_OFFSETS, published.KUMAR_2024
    try:
        found = [(offsets, allocate_bits(offsets, plan.flops, bits=held))]
        missing: tuple[str, ...] = ()
    except InputError:
        if held is None or not held > 0:
            raise
        found, missing = [], (_NOTHING_LEFT.format(held),)
    found.append((plain, allocate_bits(plain, plan.flops, bits=held)))
    return tuple(_trained_in(plan, law, each, held, missing) for law, each in found)


def of_experts(plan: Plan) -> Constrained:
    """Answer with `allocate_experts`, by Krajewski's law."""
    law = published.KRAJEWSKI_2024
    found = allocate_experts(law, plan.flops)
    dense = allocate(published.KRAJEWSKI_2024_DENSE, plan.flops)
    return Constrained(
        constraint="experts",
        question="A mixture of fine-grained experts",
        source=law.name,
        law=type(law.law).__name__,
        flops=plan.flops,
        n_convention=law.n_convention,
        n=sure(found.n),
        d=sure(found.d),
        loss=sure(found.loss),
        free=Choice(float(dense.n), float(dense.d), float(dense.loss)),
        free_is="a dense model",
        more={"n_active": sure(found.n_active), "granularity": sure(found.granularity)},
        notes=(_TOTAL, *((_EDGE,) if found.at_edge else ()), OWN_TEXT, *_counting(plan)),
    )


def _said(form: DataConstrained, found: Repetition) -> dict[str, Coefficient | Array]:
    """What to train, and what repeats are worth: numbers, or one for each draw."""
    seen = np.maximum(found.epochs, 1.0)
    return {
        "n": found.n,
        "d": found.d,
        "loss": found.loss,
        "epochs": found.epochs,
        "worth": worth_of_epochs(form, seen),
        "next_epoch": worth_of_next_epoch(form, seen),
    }


def _rival_bounds(form: DataConstrained, found: Repetition) -> dict[str, Bounds]:
    """Over the constants that fit as well: their own choices, and what they say of this one."""
    assert found.n_range is not None
    assert found.epochs_range is not None
    assert found.loss_range is not None
    fewest, most = found.epochs_range
    said = [_said(replace(form, Rd=rd, Rn=rn), found) for rd, rn in RIVALS]
    worth = {
        name: [float(each[name]) for each in (_said(form, found), *said)]
        for name in ("worth", "next_epoch")
    }
    return {
        "n": found.n_range,
        "d": (fewest * found.unique, most * found.unique),
        "loss": found.loss_range,
        "epochs": found.epochs_range,
        **{name: (min(values), max(values)) for name, values in worth.items()},
    }


def _drawn_bounds(
    fitted: FittedLaw, flops: float, unique: float, level: float
) -> dict[str, Bounds]:
    """The intervals of the resampled coefficients, none where the file holds none."""
    if not fitted.sample:
        return {}
    from isoloss.trust.quantiles import interval

    drawn = cast("DataConstrained", type(fitted.law)(**fitted.sample))
    found = allocate_repeated(drawn, flops, unique)
    spare = max(len(fitted.residuals) - len(fitted.sample), 1)
    bounds = {}
    for name, values in _said(drawn, found).items():
        low, _, high = interval(np.asarray(values), level, spare)
        bounds[name] = (float(low), float(high))
    return bounds


def _trained_in(
    plan: Plan, law: PublishedLaw, found: Bits, held: float | None, missing: tuple[str, ...]
) -> Constrained:
    full = allocate_bits(law, plan.flops, bits=_FULL)
    machine = plan.budget.machine
    counted = "" if machine is None or machine.precision in _HALF else machine.precision
    return Constrained(
        constraint="bits",
        question=f"Trained in {'the best number of' if held is None else f'{held:g}'} bits",
        source=law.name,
        law=type(law.law).__name__,
        flops=plan.flops,
        n_convention=law.n_convention,
        n=sure(found.n),
        d=sure(found.d),
        loss=sure(found.loss),
        free=Choice(full.n, full.d, full.loss),
        free_is="16 bits",
        more={"bits": sure(found.bits), "kept": sure(found.kept)},
        notes=(
            *((NOTE,) if held is None else ()),
            *missing,
            *((_NOT_HALF.format(counted),) if counted else ()),
            *_range_notes(law, found.n, found.d),
            OWN_TEXT,
            *_counting(plan),
        ),
    )


def _counting(plan: Plan) -> tuple[str, ...]:
    alike = abs(plan.flops / (6.0 * plan.n.mid * plan.d.mid) - 1.0) < _ALIKE
    return () if alike else (_SIX,)


def _range_notes(law: PublishedLaw, n: float, d: float) -> list[str]:
    return beyond("n", n, law.n_range) + beyond("d", d, law.d_range)
