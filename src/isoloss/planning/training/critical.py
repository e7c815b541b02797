"""What a critical batch that you measured says of a plan: its batch, and what another costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from isoloss.laws import CriticalBatch
from isoloss.planning.estimate import Estimate, sure
from isoloss.planning.training.rules import OWN_CRITICAL, RuleAnswer
from isoloss.planning.training.setup import Place, Setup
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.fitting import CriticalBatchFit


def own_critical_batch(
    places: tuple[Place, ...], loss: Estimate | None, unit: str, setup: Setup
) -> tuple[RuleAnswer, ...]:
    """The critical batch at the loss of a plan, as uncertain as both are; none where none is given.

    Either end is away from the middle by the doubt of the law there and by what the law makes of
    that of the loss, in quadrature of logs, for the two come from runs of their own.
    loss: of the plan, with its ends; unit: what it is in, for the law is of nats.
    """
    given = setup.critical_batch
    if given is None or loss is None:
        return ()
    low, mid, high = _at(given, loss)
    refused = ""
    if unit != "nats":
        refused = f"it is of a loss in nats, and the plan's is in {unit}"
    elif mid > places[0].d:
        refused = (
            f"it is {format_number(mid)} tokens at a loss of {loss.mid:.3g}, more than the whole "
            f"run, {format_number(places[0].d)}"
        )
    if refused:
        return (RuleAnswer(OWN_CRITICAL, "critical_batch", None, "tokens", math.nan, refused),)
    taken = np.array([place.d for place in places])[:, None] / np.array([low, mid, high])
    found = RuleAnswer(
        OWN_CRITICAL,
        "critical_batch",
        _spanned(low, mid, high),
        "tokens",
        1.0,
        steps=_spanned(float(taken.min()), float(taken[0, 1]), float(taken.max())),
        at=(mid,) * len(places),
    )
    return (found,)


def critical_notes(
    followed: RuleAnswer | None, loss: Estimate | None, setup: Setup, *, kaplan: bool
) -> list[str]:
    """What to know of a plan by a critical batch: what it pays, and how far the law is carried.

    followed: the rule that the batch is by. kaplan: his own plan, which has paid already.
    """
    given, notes = setup.critical_batch, []
    if given is None or loss is None or followed is None or followed.source != OWN_CRITICAL:
        return []
    if not isinstance(given, CriticalBatch):
        notes += [f"of the fit of the critical batch: {doubt.value}" for doubt in given.status]
    if setup.batch is None and not kaplan:
        notes.append(
            "at the critical batch a loss takes twice the least tokens and twice the least steps; "
            "the loss of the plan is that of the batches that the law's own runs had"
        )
    if not isinstance(given, CriticalBatch):
        low, high = float(given.target.min()), float(given.target.max())
        if not low <= loss.mid <= high:
            notes.append(
                f"the critical batch is carried to a loss of {loss.mid:.3g}, from losses of "
                f"{low:.3g} to {high:.3g} that it was fitted at"
            )
    return notes


def _at(given: CriticalBatch | CriticalBatchFit, loss: Estimate) -> tuple[float, float, float]:
    """The critical batch at a loss, with the ends that the law and the loss give it."""
    law = given if isinstance(given, CriticalBatch) else given.law
    assert law is not None  # a setup refuses a fit without one
    mid = float(law(loss.mid))
    doubt = 0.0
    if not isinstance(given, CriticalBatch):
        doubt = math.log(float(given.at(loss.mid).high) / mid)  # as far down as up, in logs
    # It falls as the loss rises, so its low end is at the loss's high one.
    down, up = (
        math.exp(math.hypot(doubt, 0.0 if end is None else math.log(float(law(end)) / mid)))
        for end in (loss.high, loss.low)
    )
    return mid / down, mid, mid * up


def _spanned(low: float, mid: float, high: float) -> Estimate:
    return sure(mid) if low == high else Estimate(low, mid, high)
