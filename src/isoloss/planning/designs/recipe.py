"""What the runs of one design share, and how a wanted size and budget become a run of whole steps.

A design asks for n parameters on d tokens, or for c FLOPs; a run has a shape, a batch of whole
contexts and whole steps. `Recipe.realise` closes the gap and says how much of it is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from isoloss.counting import (
    CConvention,
    Family,
    NConvention,
    Shape,
    count_params,
    flops_per_token,
)
from isoloss.counting.nearby import CLOSE
from isoloss.errors import InputError
from isoloss.laws.forms import Array
from isoloss.laws.published_tuning import PORIAN_BATCH, PORIAN_LR
from isoloss.laws.search import turning
from isoloss.laws.tuning_rules import TuningRule
from isoloss.runs import RunSpec, Schedule
from isoloss.units import format_number

FEWEST_STEPS = 100
"""The batch is lowered to leave so many steps, where a context still fits in it."""

PATIENCE = 5
"""Points without a new lowest loss after which a run on a part of the text stops."""


@dataclass(frozen=True)
class Wanted:
    """A run before it has a shape: n parameters, on d tokens or for so many FLOPs.

    batch: tokens per step, None for the recipe's rule. unique_tokens: of text that is seen as often
    as it takes, until stopping is right; None for text that is not repeated.
    """

    group: str
    n: float
    d: float | None = None
    flops: float | None = None
    batch: float | None = None
    unique_tokens: float | None = None


@dataclass(frozen=True)
class PlannedRun:
    """A run of a design, as it will really be.

    spec: the run. n: parameters, flops: of the whole run, both counted as the design counts; d:
    tokens seen, batch * steps. n_asked, d_asked, flops_asked, batch_asked: what the design wanted,
    None where it wanted none. off: the largest relative distance from these, with its sign.
    unique_tokens: of the part of the text that it sees, None for all of it.
    """

    group: str
    spec: RunSpec
    n: int
    d: int
    batch: int
    steps: int
    flops: float
    n_asked: float
    d_asked: float | None
    flops_asked: float | None
    batch_asked: float | None
    off: float
    unique_tokens: int | None = None

    @property
    def flagged(self) -> bool:
        """Whether the run is more than 2 % off what was wanted."""
        return abs(self.off) > CLOSE


@dataclass(frozen=True)
class Recipe:
    """What all runs of a design share.

    family: of the models. n_convention, c_convention: how parameters and FLOPs are counted. lr,
    batch: a number (batch in tokens), or a rule for each model; Porian's are for sweeps of 5
    million to 0.9 billion parameters. schedule, corpus, seed: as in `RunSpec`.
    """

    family: Family = field(default_factory=Family)
    n_convention: NConvention = "non_embedding_plus_head"
    c_convention: CConvention = "exact"
    lr: float | TuningRule = PORIAN_LR
    batch: int | TuningRule = PORIAN_BATCH
    schedule: Schedule = field(default_factory=Schedule)
    corpus: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, gives in (("lr", "lr"), ("batch", "batch")):
            value = getattr(self, name)
            if isinstance(value, TuningRule):
                if value.gives != gives:
                    raise InputError(f"{name} is {value.name!r}, a rule for the {value.gives}")
            elif isinstance(value, bool) or not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value!r}; give a positive number, or a rule")

    def run(
        self, shape: Shape, tokens: float, group: str = "", *, batch: float | None = None
    ) -> RunSpec:
        """Return the run of a shape on about so many tokens, in whole batches of whole contexts.

        batch: tokens per step, the recipe's own rule if None. At least one context per step, and
        one step.
        """
        size = self._batch(shape, tokens) if batch is None else batch
        rows = max(1, round(min(size, tokens / FEWEST_STEPS) / shape.n_ctx))
        whole = rows * shape.n_ctx
        return RunSpec(
            shape=shape,
            tokens=whole_steps(tokens, whole) * whole,
            batch=whole,
            lr=self._lr(shape, tokens),
            schedule=self.schedule,
            seed=self.seed,
            corpus=self.corpus,
            group=group,
        )

    def realise(self, wanted: Wanted) -> PlannedRun:
        """Return the run that comes nearest to what is wanted.

        Where FLOPs are wanted the tokens follow from the shape found, so that an n that is a little
        off moves the tokens and not the budget.
        """
        found = self.family.near(wanted.n, self.n_convention)
        per_token = flops_per_token(found.shape, self.c_convention)
        tokens = wanted.d
        if tokens is None:
            assert wanted.flops is not None
            tokens = wanted.flops / per_token
        spec = self.run(found.shape, tokens, wanted.group, batch=wanted.batch)
        if wanted.unique_tokens is not None:
            part = max(round(wanted.unique_tokens), spec.batch)
            spec = replace(spec, unique_tokens=part, patience=PATIENCE)
        d, flops = spec.tokens_seen, per_token * spec.tokens_seen
        offs = [found.off]
        offs += [] if wanted.d is None else [d / wanted.d - 1]
        offs += [] if wanted.flops is None else [flops / wanted.flops - 1]
        offs += [] if wanted.batch is None else [spec.batch / wanted.batch - 1]
        return PlannedRun(
            group=wanted.group,
            spec=spec,
            n=found.n,
            d=d,
            batch=spec.batch,
            steps=spec.steps,
            flops=flops,
            n_asked=wanted.n,
            d_asked=wanted.d,
            flops_asked=wanted.flops,
            batch_asked=wanted.batch,
            off=max(offs, key=abs),
            unique_tokens=spec.unique_tokens or None,
        )

    def notes(self, runs: Sequence[PlannedRun]) -> list[str]:
        """Say which rules the runs follow, and of how many they were not measured."""
        said = []
        for rule, what in ((self.lr, "rates"), (self.batch, "batches")):
            given = what == "batches" and all(run.batch_asked is not None for run in runs)
            if given or not isinstance(rule, TuningRule):
                continue
            inside = [bool(rule.inside(**self._given(rule, r.spec.shape, r.d))) for r in runs]
            line = f"{what}: {rule.name} ({rule.where})"
            if not all(inside):
                line += (
                    f", not measured at {inside.count(False)} of the {len(runs)} runs: tune a few "
                    f"first, or give {'lr= (--lr)' if what == 'rates' else 'batch= (--batch)'}"
                )
            said.append(line)
        if not isinstance(self.batch, TuningRule):
            free = [run for run in runs if run.batch_asked is None]
            other = sum(abs(run.batch / self.batch - 1) > CLOSE for run in free)
            if other:
                said.append(
                    f"the batch is not {format_number(self.batch)} tokens in {other} of the "
                    f"{len(runs)} runs: whole sequences, and at least {FEWEST_STEPS} steps"
                )
        return said

    def counted(self, convention: NConvention) -> Recipe:
        """Return the same recipe with parameters counted otherwise."""
        return replace(self, n_convention=convention)

    def _lr(self, shape: Shape, tokens: float) -> float:
        if not isinstance(self.lr, TuningRule):
            return float(self.lr)
        rate = float(self.lr(**self._given(self.lr, shape, tokens)))
        if not (math.isfinite(rate) and rate > 0):
            size = format_number(count_params(shape, self.n_convention))
            raise InputError(f"{self.lr.name} gives no rate for {size} parameters; give lr= (--lr)")
        return float(f"{rate:.3g}")

    def _batch(self, shape: Shape, tokens: float) -> float:
        if not isinstance(self.batch, TuningRule):
            return float(self.batch)
        return float(self.batch.tokens(**self._given(self.batch, shape, tokens)))

    def _given(self, rule: TuningRule, shape: Shape, tokens: float) -> dict[str, float]:
        return rule.measures(shape, tokens, self.n_convention)


def whole_steps(tokens: float, batch: int) -> int:
    """Return the whole number of batches nearest to so many tokens, at least one."""
    return max(1, round(tokens / batch))


def scaled_to(total: float, cost_of: Callable[[float], float], low: float, high: float) -> float:
    """Return the scale between low and high at which a design costs `total`, by bisection of ln x.

    cost_of: FLOPs at a scale, rising. The scale returned never costs more.
    Raises InputError where even the lowest costs more.
    """
    if cost_of(low) > total:
        raise InputError(
            f"{total:.3g} FLOPs are too few for this design: take fewer runs or a smaller span"
        )
    ends = math.log(low), math.log(high)
    return math.exp(turning(lambda log_x: cost_of(math.exp(log_x)) > total, *ends)[0])


def spread(low: float, high: float, count: int) -> Array:
    """Return `count` sizes from low to high, evenly in their logarithm; the middle for one."""
    if count == 1:
        return np.array([math.sqrt(low * high)])
    return np.geomspace(low, high, count)
