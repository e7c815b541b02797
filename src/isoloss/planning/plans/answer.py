"""What a plan is, and what it says of the numbers in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from isoloss.counting import Family
from isoloss.errors import Status
from isoloss.planning.budget import Budget, Machine
from isoloss.planning.estimate import Estimate
from isoloss.planning.training.training import Training
from isoloss.units import PF_DAY, format_number

WORSE = 0.005
"""Beside the near-optimal sizes: those whose loss is at most this fraction above the least."""

ELSEWHERE = (0.25, 0.5, 2.0, 4.0)
"""The sizes, over the one recommended, whose cost a plan states."""

OWN_TEXT = "the loss is on the paper's own text and tokens"

_MOST_FLOPS = 1e28
_RATIOS = (0.1, 1e4)


@dataclass(frozen=True)
class Plan:
    """What to train with a budget.

    source: where it comes from, law: the form of the law. flops: what is spent; where a loss was
    asked for, what the plan takes for it, and `compute` has its interval. budget: as it was given.
    n: parameters, d: tokens, loss: nats per token, tokens_per_param: d / n; each `mid` belongs to
    one plan (n.mid and d.mid cost `flops`), low and high are an interval at `level`.
    near_optimal: the sizes within 5 % of the best compute for that loss; None if the draws agree
    on no size. near_loss: those whose loss at the budget is within 0.5 % of the least.
    expected_excess: the compute that n.mid is expected to waste, as a fraction of the budget; None
    without draws. elsewhere: other sizes and what they waste, (n, fraction) each; infinite where
    a size cannot reach the loss. n_convention, c_convention: how n and flops are counted ("cost":
    by the cost given). elsewhere is empty where a cap holds n. training: shape, batch, steps, rate
    and memory. loss_unit: "nats", unless the runs behind a fit say another.
    notes: what to know before trusting it. status: codes of the fit behind it, and `extrapolated`
    where the budget is more than 30 times the compute of its largest run.
    """

    source: str
    law: str
    flops: float
    n: Estimate
    d: Estimate
    loss: Estimate
    tokens_per_param: Estimate
    near_optimal: tuple[float, float] | None
    n_convention: str
    c_convention: str
    budget: Budget
    compute: Estimate
    near_loss: tuple[float, float] | None = None
    expected_excess: float | None = None
    elsewhere: tuple[tuple[float, float], ...] = ()
    level: float | None = None
    training: Training | None = None
    loss_unit: str = "nats"
    citation: str = ""
    notes: tuple[str, ...] = ()
    status: tuple[Status, ...] = ()

    @property
    def pf_days(self) -> Estimate:
        """The compute in PF-days."""
        return self.compute.scaled(lambda flops: flops / PF_DAY)

    @property
    def gpu_hours(self) -> Estimate | None:
        """Device-hours, None without hardware."""
        return self._by_machine(Machine.gpu_hours)

    @property
    def hours(self) -> Estimate | None:
        """Wall time in hours, None where the number of devices is not known."""
        return self._by_machine(Machine.hours)

    @property
    def dollars(self) -> Estimate | None:
        """The price, None where none was given."""
        return self._by_machine(Machine.dollars)

    def _by_machine(self, of: Callable[[Machine, float], float | None]) -> Estimate | None:
        """What the machine says of the compute and of its ends, None where it does not know."""
        machine, (low, mid, high) = self.budget.machine, self.compute
        at = None if machine is None else of(machine, mid)
        if machine is None or at is None:
            return None
        ends = (None if end is None else of(machine, end) for end in (low, high))
        return Estimate(next(ends), at, next(ends))


def beyond(name: str, value: float, measured: tuple[float, float] | None) -> list[str]:
    """A note if value lies outside the measured range."""
    what = {"n": "parameters", "d": "tokens", "c": "FLOPs"}[name]
    if measured is None or measured[0] <= value <= measured[1] or not math.isfinite(value):
        return []
    if value > measured[1]:
        place = f"{value / measured[1]:.3g} times the most measured, {format_number(measured[1])}"
    else:
        place = f"1/{measured[0] / value:.3g} of the least measured, {format_number(measured[0])}"
    return [f"{format_number(value)} {what} is {place}: an extrapolation"]


def budget_notes(budget: float) -> list[str]:
    """A note if a budget, in FLOPs, looks as if its unit were wrong."""
    if budget > _MOST_FLOPS:
        return [f"{budget:.3g} FLOPs is far beyond any run yet trained: check the unit"]
    return []


def unit_notes(ratio: float, loss: float, family: Family) -> list[str]:
    """Notes where an answer looks as if a unit were wrong, or the law beyond sense.

    ratio: tokens per parameter. loss: nats per token. family: whose vocabulary is guessed among.
    """
    notes = []
    if math.isfinite(ratio) and not _RATIOS[0] <= ratio <= _RATIOS[1]:
        notes.append(
            f"{format_number(ratio)} tokens per parameter is far from any usual run: check the "
            "units, and the caps"
        )
    guessing = math.log(family.vocab)
    if math.isfinite(loss) and loss > guessing:
        notes.append(
            f"a loss of {loss:.3g} is above guessing among {family.vocab:,} tokens, "
            f"{guessing:.3g} nats: the law does not hold here"
        )
    return notes
