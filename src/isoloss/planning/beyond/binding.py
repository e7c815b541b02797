"""What may bind beside the compute of training, and what an answer to it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

from isoloss.planning.estimate import Estimate

if TYPE_CHECKING:
    from isoloss.trust import FittedLaw


class Binding(TypedDict, total=False):
    """What may bind, each left out or None where it does not.

    served: tokens served over the model's life. size_ratio: another size, over the plan's.
    tokens_per_param: another ratio of tokens to parameters. unique_tokens: of text there is, to be
    repeated; unique_law: what a DataConstrained fit says of it, instead of Muennighoff's law.
    bits: of training, or "best". experts: a mixture of fine-grained experts.
    """

    served: float | None
    size_ratio: float | None
    tokens_per_param: float | None
    unique_tokens: float | None
    unique_law: FittedLaw | None
    bits: float | Literal["best"] | None
    experts: bool


class Choice(NamedTuple):
    """A model: n parameters, d tokens, and its loss in nats."""

    n: float
    d: float
    loss: float


@dataclass(frozen=True)
class Constrained:
    """What to train under a constraint, and what changes by it.

    constraint: a key of `Binding`; question: the same in words. source: whose law answers, law: its
    form. flops: the plan's budget. n: parameters, counted as n_convention, d: tokens, loss: nats.
    free: the choice held against, and what it is. more: what else there is to say, by name:
    training_flops, serving_flops, saving (a share of both); excess_compute (a share of the budget,
    that the loss of the plan takes more), excess_loss; epochs, worth (of a token seen over a new
    one), next_epoch (the same of one more); bits, kept (a share of n); n_active, granularity.
    bounds: what low and high of an estimate are, empty where there are none. Infinite is what never
    reaches the loss. notes: what to know before trusting it.
    """

    constraint: str
    question: str
    source: str
    law: str
    flops: float
    n_convention: str
    n: Estimate
    d: Estimate
    loss: Estimate
    free: Choice
    free_is: str
    more: Mapping[str, Estimate] = field(default_factory=dict)
    bounds: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "more", MappingProxyType(dict(self.more)))
