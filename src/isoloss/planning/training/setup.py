"""How the model of a plan is to be built, and the models that its interval spans."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isoloss.counting import Family, NConvention, Nearby, Shape
from isoloss.errors import InputError
from isoloss.laws import CriticalBatch
from isoloss.planning.estimate import Estimate

if TYPE_CHECKING:
    from isoloss.fitting import CriticalBatchFit, Tuning

MOST_PARAMS = 1e15
"""More parameters than any model has."""


@dataclass(frozen=True, eq=False)
class Setup:
    """How the model of a plan is to be built and trained.

    family: of the shapes. tuned: what `tune` found in a sweep of yours, to stand beside the
    published rules. batch: tokens per step, where it is decided. force: ask rules outside the range
    they were measured in too. critical_batch: its law, as you measured it, or the fit of that, with
    its doubt at its own level: the batch to follow where no sweep of yours has a best one.
    """

    family: Family = field(default_factory=Family)
    tuned: Tuning | None = None
    batch: float | None = None
    force: bool = False
    critical_batch: CriticalBatch | CriticalBatchFit | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.family, Family):
            raise InputError(f"family is {self.family!r}; give a Family, such as Family(vocab=256)")
        self._check_critical_batch()
        if self.batch is None:
            return
        if isinstance(self.batch, bool) or not isinstance(self.batch, int | float):
            raise InputError(f"batch is {self.batch!r}; give tokens per step, such as 2**19")
        if not (math.isfinite(self.batch) and self.batch >= self.family.n_ctx):
            raise InputError(
                f"batch is {self.batch:g} tokens per step, and a sequence has {self.family.n_ctx}: "
                "give tokens, not sequences"
            )

    def _check_critical_batch(self) -> None:
        given = self.critical_batch
        if given is None:
            return
        law = given if isinstance(given, CriticalBatch) else self._fitted(given)
        if not law.alpha_b > 0:
            raise InputError(
                f"the critical batch grows with the loss (alpha_b {law.alpha_b:.3g}), and a plan "
                "follows one that falls: fit it to targets further apart"
            )

    @staticmethod
    def _fitted(given: object) -> CriticalBatch:
        """The law of a fit."""
        from isoloss.fitting import CriticalBatchFit  # slow, and a plan from papers has none

        if not isinstance(given, CriticalBatchFit):
            raise InputError(
                f"critical_batch is {given!r}; give a CriticalBatch(b_star, alpha_b), or what "
                "critical_batch() fitted"
            )
        if given.law is None:
            raise InputError(
                "the critical batch was fitted at one target loss, which shows no trend to plan "
                "by: fit it at two or more"
            )
        return given.law


@dataclass(frozen=True)
class Place:
    """A model of the plan: at its middle, or at an end of its interval."""

    n: float
    d: float
    found: Nearby

    @property
    def shape(self) -> Shape:
        return self.found.shape


def places_of(
    n: Estimate, d: Estimate, convention: NConvention, family: Family
) -> tuple[Place, ...]:
    """The middle, then the two ends if there are any."""
    if n.mid > MOST_PARAMS:
        raise InputError(
            f"the best size comes to {n.mid:.3g} parameters, more than there is: give a higher "
            "loss or a smaller budget"
        )
    pairs = [(n.mid, d.mid)]
    if n.low is not None and n.high is not None and d.low is not None and d.high is not None:
        pairs += [(n.low, d.high), (n.high, d.low)]
    return tuple(
        Place(each, tokens, family.near(min(max(each, 1.0), MOST_PARAMS), convention))
        for each, tokens in pairs
    )
