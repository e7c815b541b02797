"""What else binds a plan, as options, and the answers as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Group, Parameter, Token

from isoloss.cli.options import Number
from isoloss.cli.output import estimate, table
from isoloss.errors import InputError
from isoloss.units import format_number, parse_number

if TYPE_CHECKING:
    from rich.table import Table

    from isoloss.laws import Cost
    from isoloss.laws.published import Kaplan2020
    from isoloss.planning import Binding, Constrained, Estimate, Plan
    from isoloss.planning.beyond.own_law import PlansLaw

_ABREAST = 3  # laws in a table that fits 80 columns
_ELSE = Group("What else binds (Hoffmann and Kaplan do not know it)")


def _bits(type_: Any, tokens: Sequence[Token]) -> float | Literal["best"]:
    return "best" if tokens[0].value == "best" else parse_number(tokens[0].value)


@dataclass(frozen=True)
class Constraints:
    """What a law of size and tokens leaves out, each answered beside the plan."""

    served: Annotated[
        Number | None,
        Parameter(group=_ELSE, help="Tokens served over the model's life: the cheapest model."),
    ] = None
    size_ratio: Annotated[
        Number | None,
        Parameter(group=_ELSE, help="Another size, over the best: what it takes to the same loss."),
    ] = None
    tokens_per_param: Annotated[
        Number | None,
        Parameter(group=_ELSE, help="Another ratio than the best: what the budget loses by it."),
    ] = None
    unique_tokens: Annotated[
        Number | None,
        Parameter(group=_ELSE, help="The text there is, which may be repeated: size and epochs."),
    ] = None
    unique_law: Annotated[
        Path | None,
        Parameter(
            group=_ELSE, help="For these, a fit of --form data-constrained, not Muennighoff's."
        ),
    ] = None
    bits: Annotated[
        float | Literal["best"] | None,
        Parameter(group=_ELSE, converter=_bits, help="Bits to train in, a number or best."),
    ] = None
    experts: Annotated[
        bool,
        Parameter(group=_ELSE, show_default=False, help="A mixture of fine-grained experts."),
    ] = False

    @property
    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v for k, v in named.items() if v is not None and v is not False}

    def binding(self) -> Binding:
        """The same, as `isoloss.planning.constrained` takes them."""
        asked = self.given
        if self.unique_law is not None:
            from isoloss.laws import DataConstrained
            from isoloss.trust import read_fit

            asked["unique_law"] = read = read_fit(self.unique_law)
            if not isinstance(read.law, DataConstrained):
                raise InputError(
                    f"{self.unique_law}: a fit of {type(read.law).__name__}, which knows no "
                    "repeats; --unique-law takes one of --form data-constrained"
                )
        return asked  # type: ignore[return-value]


class Made(NamedTuple):
    """A plan, and the law and the cost per token that it was made with."""

    plan: Plan
    law: PlansLaw | Kaplan2020
    cost: Cost | None = None


def of_papers(plans: Iterable[Plan]) -> tuple[Made, ...]:
    """Return plans of `published_plans` with the laws that they were made with."""
    from isoloss.laws import published

    named = {law.name: law for law in (published.KAPLAN_2020, *published.PLANNED_WITH)}
    return tuple(Made(plan, named[plan.source]) for plan in plans)


def answers(
    constraints: Constraints, plans: Sequence[Made], *, level: float = 0.9
) -> tuple[tuple[Constrained, ...], tuple[str, ...]]:
    """Answer every constraint for every plan, and say which are left without an answer.

    level: of the intervals of a fit in --unique-law, those of a plan are at its own.
    Returns the answers, those to one constraint together and each once, and notes.
    Raises InputError as `constrained`, or where nothing at all is answered.
    """
    if not constraints.given:
        return (), ()
    from isoloss.laws.published import Kaplan2020
    from isoloss.planning.beyond.constraints import NEEDS_LAW, constrained

    binding = constraints.binding()
    found: list[Constrained] = []
    for plan, law, cost in plans:
        for answer in constrained(law, plan, cost=cost, level=level, **binding):
            if answer not in found:
                found.append(answer)
    unanswered = [f"--{name.replace('_', '-')}" for name in NEEDS_LAW if name in binding]
    notes: tuple[str, ...] = ()
    if unanswered and any(isinstance(law, Kaplan2020) for _, law, _ in plans):
        named = ", ".join(unanswered)
        said = f"Kaplan 2020: Table 6 is no law of (n, d), so nothing is said of {named}"
        if not found:
            raise InputError(f"{said}; plan with --law hoffmann, or with --runs")
        notes = (said,)
    order = list(binding)
    return tuple(sorted(found, key=lambda each: order.index(each.constraint))), notes


def sections(found: Iterable[Constrained]) -> list[Table | str]:
    """Return a table for every constraint, a column for each law, and its notes below it."""
    parts: list[Table | str] = []
    asked: dict[tuple[str, str], list[Constrained]] = {}
    for each in found:
        asked.setdefault((each.constraint, each.question), []).append(each)
    for (_, question), same in asked.items():
        bounds = next((each.bounds for each in same if each.bounds), "")
        doubt = f"; in brackets: {bounds}" if bounds else ""
        for first in range(0, len(same), _ABREAST):
            some = same[first : first + _ABREAST]
            parts.append(
                table(
                    "",
                    *(one.source for one in some),
                    rows=_rows(some, show_flops=len({one.flops for one in same}) > 1),
                    title=None if first else f"{question}{doubt}",
                )
            )
        parts += [*(f"{note}." for note in _notes(same)), ""]
    return parts


def _rows(some: Sequence[Constrained], *, show_flops: bool) -> list[tuple[str, ...]]:
    held = f"  {some[0].free_is}"
    rows: list[tuple[str, list[str]]] = [
        ("parameters n", [_estimate(one.n) for one in some]),
        (held, [format_number(one.free.n) for one in some]),
        ("  counted as", [one.n_convention for one in some]),
        ("tokens d", [_estimate(one.d) for one in some]),
        (held, [format_number(one.free.d) for one in some]),
        ("tokens per parameter", [format_number(one.d.mid / one.n.mid) for one in some]),
        ("loss, nats per token", [_estimate(one.loss, "{:.3f}") for one in some]),
        (held, [f"{one.free.loss:.3f}" for one in some]),
        *(
            (label, [_estimate(one.more[name], form) for one in some])
            for name, (label, form) in _MORE.items()
            if name in some[0].more
        ),
        ("law", [one.law for one in some]),
    ]
    if show_flops:
        rows.insert(0, ("budget in FLOPs", [format_number(one.flops) for one in some]))
    return [(name, *cells) for name, cells in rows]


_MORE: dict[str, tuple[str, str | None]] = {
    "training_flops": ("FLOPs of training", None),
    "serving_flops": ("FLOPs of serving", None),
    "saving": ("saved of both", "{:.0%}"),
    "excess_loss": ("loss above the plan's", "{:+.4f}"),
    "excess_compute": ("compute for its loss", "{:+.0%}"),
    "epochs": ("epochs", None),
    "worth": ("worth of a token seen", "{:.0%}"),
    "next_epoch": ("  of one more", "{:.0%}"),
    "bits": ("bits", "{:.1f}"),
    "kept": ("parameters that count", "{:.0%}"),
    "n_active": ("parameters in use", None),
    "granularity": ("granularity", "{:g}"),
}
"""How the further numbers are called and written."""


def _estimate(value: Estimate, form: str | None = None) -> str:
    """A number with its interval; what is infinite is never reached."""
    return re.sub(r"[+-]?inf%?", "never", estimate(value, form))


def _notes(same: Sequence[Constrained]) -> list[str]:
    """Each note once, with the sources it holds for where it does not hold for all."""
    holders: dict[str, list[str]] = {}
    for each in same:
        for note in each.notes:
            holders.setdefault(note, []).append(each.source)
    return [
        note if len(sources) == len(same) else f"{', '.join(sources)}: {note}"
        for note, sources in holders.items()
    ]
