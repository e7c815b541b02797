"""What there is to spend, as options: `isoloss plan` and what else plans."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

from cyclopts import ArgumentCollection, Group, Parameter

from isoloss.cli.options import Count, Number

if TYPE_CHECKING:
    from isoloss.planning import Amounts


def _some(arguments: ArgumentCollection) -> None:
    if not arguments.filter_by(value_set=True):
        raise ValueError("say what there is to spend, such as --flops 1e21 or --loss 2.2")


BUDGET = Group("What to answer (one or more)", validator=_some)
_WITH = Group("What it is spent on, and what must not be exceeded")


@dataclass(frozen=True)
class Spending:
    """A budget in whatever form, or a target loss, and what goes with it."""

    flops: Annotated[
        Number | None, Parameter(group=BUDGET, help="Training FLOPs, such as 1e21.")
    ] = None
    pf_days: Annotated[
        Number | None, Parameter(group=BUDGET, help="Training compute in PF-days.")
    ] = None
    booking: Annotated[
        str | None, Parameter(group=BUDGET, help="Accelerators and a time: 64xH100:72h.")
    ] = None
    gpu_hours: Annotated[
        Number | None, Parameter(group=BUDGET, help="Hours of one device of --hardware.")
    ] = None
    dollars: Annotated[
        Number | None, Parameter(group=BUDGET, help="Dollars, at --price for a device-hour.")
    ] = None
    deadline: Annotated[
        Number | None, Parameter(group=BUDGET, help="Hours of wall time, on --count devices.")
    ] = None
    loss: Annotated[
        Number | None, Parameter(group=BUDGET, help="The loss to reach, nats per token.")
    ] = None
    hardware: Annotated[
        str | None,
        Parameter(group=_WITH, help="The accelerator: H100, TPU v5p; see isoloss laws --hardware."),
    ] = None
    count: Annotated[Count | None, Parameter(group=_WITH, help="How many devices.")] = None
    utilisation: Annotated[
        Number | None, Parameter(group=_WITH, help="Share of the peak reached; 0.4 without it.")
    ] = None
    precision: Annotated[
        str | None, Parameter(group=_WITH, help="Of the matrix products; bf16 without it.")
    ] = None
    price: Annotated[
        Number | None, Parameter(group=_WITH, help="Dollars for one hour of one device.")
    ] = None
    max_tokens: Annotated[
        Number | None, Parameter(group=_WITH, help="The tokens of text that there are.")
    ] = None
    max_params: Annotated[
        Number | None, Parameter(group=_WITH, help="The parameters that can be served.")
    ] = None
    serving_memory: Annotated[
        Number | None,
        Parameter(group=_WITH, help="Bytes for the weights when served, 2 each, such as 80G."),
    ] = None

    def amounts(self) -> Amounts:
        """What was given, as `isoloss.planning.plan` takes it."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]
