"""How the model of a plan is built and trained, as options and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from isoloss.cli.options import Number, Whole
from isoloss.cli.output import estimate, table
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.laws import Cost
    from isoloss.planning import Plan, RuleAnswer, Setup, Training

_TRAINED = Group("How it is built and trained")


@dataclass(frozen=True)
class Trained:
    """What the model looks like, and what sets its batch and rate."""

    style: Annotated[
        Literal["modern", "gpt2"], Parameter(group=_TRAINED, help="What the model looks like.")
    ] = "modern"
    vocab: Annotated[Whole, Parameter(group=_TRAINED, help="Its vocabulary; 256: bytes.")] = 32_000
    context: Annotated[Whole, Parameter(group=_TRAINED, help="Tokens of its context.")] = 2_048
    cost: Annotated[
        Literal["6nd", "exact"] | None,
        Parameter(
            group=_TRAINED,
            help="FLOPs per token: 6 n, or all of such a shape, with attention and head; as the "
            "runs count it without.",
        ),
    ] = None
    tuned: Annotated[
        Path | None,
        Parameter(group=_TRAINED, help="A sweep of rates (and batches) of yours, as for tune."),
    ] = None
    batch: Annotated[
        Number | None, Parameter(group=_TRAINED, help="Tokens per step, where it is decided.")
    ] = None
    critical_batch: Annotated[
        str | None,
        Parameter(
            group=_TRAINED,
            help="b_star=2e8,alpha_b=0.21, or runs of several batches to fit it to, or such a "
            "fit: its batch is followed.",
        ),
    ] = None
    force_rules: Annotated[
        bool,
        Parameter(
            group=_TRAINED,
            show_default=False,
            help="Ask rules of batch and rate outside the range they were measured in, too.",
        ),
    ] = False

    def setup(self, *, level: float, seed: int) -> Setup:
        """The same as the library's Setup."""
        from isoloss.counting import Family
        from isoloss.planning import Setup

        tuned = None
        if self.tuned is not None:
            from isoloss.fitting import tune
            from isoloss.runs import read_runs

            tuned = tune(read_runs(self.tuned), level=level, seed=seed).check()
        critical = None
        if self.critical_batch is not None:
            from isoloss.cli.critical_batch import law_or_runs

            critical = law_or_runs(self.critical_batch, level=level)
        family = Family(self.vocab, self.context, self.style)
        return Setup(family, tuned, self.batch, self.force_rules, critical)


def cost_of(setup: Setup, convention: str) -> Cost:
    """The exact FLOPs per token of the setup's family, n counted by a convention."""
    from isoloss.counting import COUNT_CONVENTIONS

    known = next((each for each in COUNT_CONVENTIONS if each == convention), None)
    return setup.family.cost(convention=known or "total")


def training_rows(plans: Sequence[Plan]) -> list[tuple[str, list[str]]]:
    """Rows of the table of plans; those that no plan can fill are left out."""
    each = [plan.training for plan in plans]
    how = [one for one in each if one is not None]
    if len(how) < len(each):
        return []
    rows = [
        ("shape: layers x width", [_shape(one) for one in how]),
        ("batch, tokens", [estimate(one.batch) for one in how]),
        ("steps", [estimate(one.steps) for one in how]),
        ("  tokens, steps / least", [_paid(one) for one in how]),
        ("learning rate", [estimate(one.lr, "{:.2e}") for one in how]),
        ("weight decay", [estimate(one.weight_decay) for one in how]),
        ("training state, GB", [estimate(one.memory, scale=1e9) for one in how]),
        ("  and a sequence's", [format_number(one.activations / 1e9) for one in how]),
        ("a checkpoint, GB", [estimate(one.checkpoint, scale=1e9) for one in how]),
        ("devices, at least", ["-" if one.devices is None else str(one.devices) for one in how]),
    ]
    return [(name, cells) for name, cells in rows if set(cells) != {"-"}]


def rules_table(training: Training) -> object:
    """Every rule for rate and batch, where it was measured, and what the batch costs."""
    sources = dict.fromkeys((one.source, one.gives == "critical_batch") for one in training.rules)
    rows = []
    for source, critical in sources:
        answers = [
            one
            for one in training.rules
            if one.source == source and (one.gives == "critical_batch") == critical
        ]
        told = critical and "critical" not in source
        rows.append((f"{source}, critical" if told else source, *_rule(answers)))
    named = f"{format_number(training.shape.n)} parameters"
    return table(
        "rule", ">rate", ">batch", ">steps", "where it is refused, or what the batch costs",
        rows=rows,
        title=f"Rules for rate and batch, at {named}; batches in tokens",
    )  # fmt: skip


def training_notes(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    """Pairs of a plan's source and a note on its training."""
    return [
        (plan.source, note)
        for plan in plans
        if plan.training is not None
        for note in plan.training.notes
    ]


def _paid(training: Training) -> str:
    """What the batch, if it is yours, costs beside the first critical batch that is known."""
    from isoloss.planning.training.rules import OWN_CRITICAL

    known = [one for one in training.rules if one.over_tokens and one.over_steps]
    if training.batch_by not in ("as given", OWN_CRITICAL):
        return "-"
    known = [one for one in known if one.source == OWN_CRITICAL] or known
    return "; ".join(f"{one.source}: {one.over_tokens:.2f}, {one.over_steps:.2f}" for one in known)


def _shape(training: Training) -> str:
    shape = training.shape.shape
    heads = "1 head" if shape.n_heads == 1 else f"{shape.n_heads} heads"
    return f"{shape.n_layer} x {shape.d_model}, {heads}"


def _rule(answers: Sequence[RuleAnswer]) -> tuple[str, ...]:
    """One row: a source's rate and batch, which share the range they were measured in."""
    rate = next((one.value for one in answers if one.gives == "lr"), None)
    batch = next((one for one in answers if one.gives != "lr"), None)
    remarks = [
        f"the plan's: {one.over_tokens:.2f} x E_min, {format_number(one.least_tokens)} tokens, "
        f"and {one.over_steps:.2f} x S_min, {format_number(one.least_steps)} steps"
        for one in answers
        if one.over_tokens and one.over_steps and one.least_tokens and one.least_steps
    ]
    remarks += dict.fromkeys(one.refused for one in answers if one.refused)
    return (
        estimate(rate, "{:.2e}"),
        estimate(batch.value if batch else None),
        estimate(batch.steps if batch else None),
        "; ".join(remarks),
    )
