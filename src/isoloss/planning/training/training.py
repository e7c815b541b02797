"""How to train the model of a plan: its shape, batch, steps, rate, memory and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from isoloss.counting import (
    COUNT_CONVENTIONS,
    NConvention,
    Nearby,
    Shape,
    activation_bytes,
    checkpoint_bytes,
    training_memory,
)
from isoloss.errors import InputError
from isoloss.laws.published_tuning import POWER_LINES_RANGE, weight_decay
from isoloss.planning.budget import Machine
from isoloss.planning.estimate import Estimate, estimate_of, sure
from isoloss.planning.training.critical import critical_notes, own_critical_batch
from isoloss.planning.training.rules import (
    RuleAnswer,
    against,
    followed,
    rule_answers,
    rule_notes,
    steps_of,
)
from isoloss.planning.training.setup import Place, Setup, places_of
from isoloss.units import format_number

_UNKNOWN: NConvention = "total"
_USUAL_DECAY = 0.5


@dataclass(frozen=True)
class Training:
    """How to train the model of a plan.

    shape: a model near n, and how far off it is. batch: tokens per step, steps, lr: peak rate,
    weight_decay: AdamW's by Power Lines, for that batch and rate; None where no rule was measured
    at such a model. lr_by, batch_by: whose rule. rules: all of them. memory: bytes of weights,
    gradients and optimizer; activations: those of one sequence in a forward pass besides.
    checkpoint: bytes on disk of one that training can go on from; weights: of the weights alone.
    devices: the fewest of the hardware given that hold all of it shared out, a sequence each; None
    if not known.
    """

    shape: Nearby
    batch: Estimate | None
    steps: Estimate | None
    lr: Estimate | None
    weight_decay: Estimate | None
    lr_by: str
    batch_by: str
    rules: tuple[RuleAnswer, ...]
    memory: Estimate
    activations: int
    checkpoint: Estimate
    weights: Estimate
    devices: int | None
    notes: tuple[str, ...] = ()


def training(
    n: Estimate,
    d: Estimate,
    convention: str,
    setup: Setup,
    *,
    loss: Estimate | None = None,
    loss_unit: str = "nats",
    machine: Machine | None = None,
    kaplan: bool = False,
) -> Training:
    """Say how to train n parameters on d tokens.

    steps = d / batch; batch and rate each by the first of your own sweep, your critical batch (the
    batch alone), Step Law, DeepSeek, Porian and Kaplan (the rate alone) that was measured at such a
    model; if forced and there is none, by the one that is least far from it.
    n, d: as the plan has them, with the ends of one interval: d is low where n is high.
    convention: how n is counted; "total" is taken where it is not known. setup: see `Setup`.
    loss: of the plan, which your critical batch goes by. machine: to count devices of. kaplan:
    follow Kaplan's rules first, as his own plan does.
    Returns Training. Raises InputError for a setup that no shape can have.
    Source: the rules' own (`laws.published_tuning`); Bergsma et al. 2025 for the weight decay. Left
    out: warm-up, beta2 and schedule.
    """
    counted = next((known for known in COUNT_CONVENTIONS if known == convention), _UNKNOWN)
    places = places_of(n, d, counted, setup.family)
    here, context = places[0], setup.family.n_ctx
    answers = rule_answers(places, counted, setup)
    answers = (*own_critical_batch(places, loss, loss_unit, setup), *answers)
    lr = followed(answers, "lr", kaplan=kaplan)
    batched = followed(answers, "batch", kaplan=kaplan)
    batch, steps = (batched.value, batched.steps) if batched else (None, None)
    if setup.batch is not None:
        if setup.batch > d.mid:
            raise InputError(
                f"batch is {setup.batch:.3g} tokens and the whole run {d.mid:.3g}: give the tokens "
                "of one step"
            )
        batch, steps = sure(setup.batch), steps_of(places, [setup.batch] * len(places))
    rate = lr.value if lr else None
    batches = batched.at if batched else ()
    if setup.batch is not None:
        batches = (setup.batch,) * len(places)
    decay = _decay(lr.at if lr else (), batches, places, force=setup.force)
    states = _each(places, lambda shape: training_memory(shape).total)
    one_sequence = activation_bytes(here.shape, context)
    return Training(
        shape=here.found,
        batch=batch,
        steps=steps,
        lr=rate,
        weight_decay=decay,
        lr_by=lr.source if lr else "",
        batch_by="as given" if setup.batch is not None else batched.source if batched else "",
        rules=answers
        if batch is None
        else tuple(against(one, batch.mid, d.mid) for one in answers),
        memory=states,
        activations=one_sequence,
        checkpoint=_each(places, checkpoint_bytes),
        weights=_each(places, lambda shape: checkpoint_bytes(shape, resumable=False)),
        devices=_devices(states.mid, one_sequence, machine),
        notes=(
            *_shape_notes(here, states.mid, one_sequence, machine),
            *rule_notes(lr, batched, setup),
            *_decay_notes(decay),
            *critical_notes(batched, loss, setup, kaplan=kaplan),
        ),
    )


def _each(places: tuple[Place, ...], value: Callable[[Shape], float]) -> Estimate:
    return estimate_of([float(value(place.shape)) for place in places])


def _decay(
    rates: tuple[float, ...],
    batches: tuple[float, ...],
    places: tuple[Place, ...],
    *,
    force: bool,
) -> Estimate | None:
    """The weight decay at each place, with the rate and the batch there."""
    low, high = POWER_LINES_RANGE
    if not rates or not batches or not (force or low <= places[0].n <= high):
        return None
    each = zip(rates, batches, places, strict=True)
    return estimate_of([float(weight_decay(lr, batch, at.n, at.d)) for lr, batch, at in each])


def _decay_notes(decay: Estimate | None) -> list[str]:
    if decay is None or decay.mid <= _USUAL_DECAY:
        return []
    return [
        f"a weight decay of {decay.mid:.3g} is beyond any usual one: the rate, the batch and the "
        "timescale are of papers that do not go together here"
    ]


def _devices(states: float, one_sequence: int, machine: Machine | None) -> int | None:
    """The fewest devices that hold the states shared out, and a sequence each."""
    if machine is None:
        return None
    room = machine.hardware.memory - one_sequence
    return None if room <= 0 else math.ceil(states / room)


def _shape_notes(
    here: Place, states: float, one_sequence: int, machine: Machine | None
) -> list[str]:
    notes = []
    if not here.found.close:
        notes.append(
            f"no shape of this vocabulary and style lies within 2 % of {format_number(here.n)} "
            f"parameters: the nearest is {here.found.off:+.0%} off"
        )
    if machine is not None:
        fewest, name = _devices(states, one_sequence, machine), machine.hardware.name
        if fewest is None:
            notes.append(
                f"the activations of one sequence, {one_sequence / 1e9:.3g} GB, do not fit on one "
                f"{name}: recompute them, or split the model"
            )
        elif machine.count is not None and machine.count < fewest:
            notes.append(
                f"weights, gradients and optimizer do not fit on {machine.count} {name}: share "
                f"them out over {fewest} at least"
            )
    return notes
