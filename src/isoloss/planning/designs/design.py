"""What a sweep for a budget is, and how the runs wanted become the runs of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from isoloss.counting.nearby import CLOSE
from isoloss.errors import InputError
from isoloss.planning.designs.recipe import PlannedRun, Recipe, Wanted
from isoloss.runs import RunSpec

_TOO_FAR = 1.5
_LEAST_FLOPS, _MOST_FLOPS = 1e9, 1e28


@dataclass(frozen=True)
class Design:
    """A sweep for a budget.

    kind: isoflop, grid, ladder or kaplan. budget: FLOPs asked for; flops: of all runs as they will
    be. runs: in the order of their groups. centre: the law that places them. n_convention,
    c_convention: how parameters and FLOPs are counted. notes: what to know before training them.
    """

    kind: str
    budget: float
    flops: float
    centre: str
    n_convention: str
    c_convention: str
    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[RunSpec, ...]:
        """The runs as a sweep file has them."""
        return tuple(run.spec for run in self.runs)

    @property
    def flagged(self) -> tuple[PlannedRun, ...]:
        """The runs that are more than 2 % off what was wanted."""
        return tuple(run for run in self.runs if run.flagged)

    def hours(self, flops_per_second: float) -> float:
        """Return the hours all runs take at so many FLOPs per second, none idle between them."""
        if not (math.isfinite(flops_per_second) and flops_per_second > 0):
            raise InputError(f"flops_per_second is {flops_per_second}; give a positive number")
        return self.flops / flops_per_second / 3600


def made(
    kind: str,
    flops: float,
    centre: str,
    recipe: Recipe,
    wanted: Sequence[Wanted],
    notes: Sequence[str],
) -> Design:
    """Return the design of the runs wanted, without copies and without what no shape comes near.

    Raises InputError where nothing is left.
    """
    realised = [recipe.realise(one) for one in wanted]
    near = [run for run in realised if 1 / _TOO_FAR < run.n / run.n_asked < _TOO_FAR]
    runs = list({run.spec.run_id: run for run in near}.values())
    if not runs:
        raise InputError(
            f"no shape is small enough for {flops:.3g} FLOPs with a vocabulary of "
            f"{recipe.family.vocab}: give a larger budget, or a smaller vocab= (--vocab)"
        )
    total = sum(run.flops for run in runs)
    said = [*notes, *_shortfalls(len(realised), near, runs)]
    if abs(total / flops - 1) > CLOSE:
        said.append(f"the runs cost {total:.3g} FLOPs, {total / flops:.0%} of what was asked")
    return Design(
        kind=kind,
        budget=float(flops),
        flops=total,
        centre=centre,
        n_convention=recipe.n_convention,
        c_convention=recipe.c_convention,
        runs=tuple(runs),
        notes=(*said, *recipe.notes(runs)),
    )


def _shortfalls(asked: int, near: Sequence[PlannedRun], runs: Sequence[PlannedRun]) -> list[str]:
    """Say which runs could not be had, or not as they were wanted."""
    off = sum(run.flagged for run in runs)
    counts = {
        "are left out, for no shape is within a half of their size: a smaller vocabulary has "
        "smaller shapes": asked - len(near),
        "would be copies of others, for no shape lies between their sizes, and are left out": len(
            near
        )
        - len(runs),
        "are more than 2 % off what was wanted: no shape, or no whole number of steps, is "
        "nearer": off,
    }
    return [f"{count} of {asked} runs {what}" for what, count in counts.items() if count]


def check_budget(flops: float) -> None:
    """Refuse what cannot be the FLOPs of a sweep."""
    if isinstance(flops, bool) or not _LEAST_FLOPS <= flops <= _MOST_FLOPS:
        raise InputError(f"flops is {flops!r}; give the FLOPs of the whole sweep, such as 1e19")
