"""What a plan's own law says where serving, another size or another ratio of tokens binds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from isoloss.errors import InputError
from isoloss.laws import Cost, Law, PublishedLaw, as_law
from isoloss.laws.allocation import HoldsLaw, LossOfND, per_token
from isoloss.laws.forms import Array, positive
from isoloss.laws.required import tokens_for_loss
from isoloss.planning.beyond.binding import Choice, Constrained
from isoloss.planning.beyond.lifetime import least_lifetime
from isoloss.planning.beyond.overheads import overtraining
from isoloss.planning.doubt.decision import bet_on
from isoloss.planning.estimate import Estimate, sure
from isoloss.planning.plans.answer import Plan, beyond
from isoloss.units import format_number, percent

if TYPE_CHECKING:
    from isoloss.trust import Draws

PlansLaw = Law | HoldsLaw | LossOfND
"""What a plan was made from."""

_THIRD = 1.0 / 3.0  # of a training token's FLOPs, the forward pass
_BEYOND_RATIO = 1.5
_PLAN = "the plan"
_SERVED_NOTE = (
    "a token served counts as a forward pass, a third of one trained on; written one after another "
    "it keeps a machine far longer: least_dollars, in Python"
)
_DRAWS_NOTE = (
    "the intervals here are those of the draws, but for a loss: what the law gets wrong beyond its "
    "runs is not in them"
)


@dataclass(frozen=True)
class OwnLaw:
    """The plan's own law, and what it says beside the plan; quantities are numbers or (k,)."""

    law: PlansLaw
    plan: Plan
    cost: Cost | None

    @property
    def draws(self) -> Draws | None:
        return cast("Draws", self.law) if hasattr(self.law, "predict") else None

    @property
    def free(self) -> Choice:
        return Choice(self.plan.n.mid, self.plan.d.mid, self.plan.loss.mid)

    @property
    def loss(self) -> Array:
        """What the law says of the plan's model; the forecast of the plan is for one new run."""
        return np.asarray(as_law(self.law)(np.asarray(self.free.n), np.asarray(self.free.d)))

    def served(self, tokens: float) -> Constrained:
        def serving(n: Array) -> Array:
            return per_token(np.asarray(n, dtype=np.float64), self.cost) * _THIRD

        def beside(n: Array) -> Array:
            return serving(n) * tokens

        life = least_lifetime(self.law, self.loss, tokens, cost=self.cost, serving=serving)
        n = self.estimate(life.n)
        if self.draws is not None:
            totals = np.asarray(life.training) + np.asarray(life.serving)
            bet = bet_on(self.draws, self.loss, totals, life.n, cost=self.cost, beside=beside)
            n = n._replace(mid=bet.n)
        d, training = self.trained(n.mid)
        at, there = float(beside(np.asarray(n.mid))), float(beside(np.asarray(self.free.n)))
        saving = 1.0 - (training + at) / (self.plan.flops + there)
        return self.answer(
            "served",
            f"As good as the plan, cheapest to train and to serve {format_number(tokens)} tokens",
            n,
            d,
            {"training_flops": training, "serving_flops": at, "saving": saving},
            notes=(_SERVED_NOTE,),
        )

    def at_size(self, size_ratio: float) -> Constrained:
        n = float(positive(size_ratio, "size_ratio")) * self.free.n
        if n < 1:
            raise InputError(f"size_ratio is {size_ratio:g}, which leaves less than one parameter")
        d, training = self.trained(n)
        return self.answer(
            "size_ratio",
            f"{size_ratio:g} times the size, trained to the same loss",
            sure(n),
            d,
            {"training_flops": training, "excess_compute": training / self.plan.flops - 1.0},
        )

    def at_ratio(self, ratio: float) -> Constrained:
        positive(ratio, "tokens_per_param")
        against = self.free.d / self.free.n
        found = overtraining(self.law, self.plan.flops, ratio, against=against, cost=self.cost)
        n, d = (float(np.ravel(x)[0]) for x in (found.n, found.d))
        if min(n, d) < 1:
            raise InputError(f"tokens_per_param is {ratio:g}, at which the budget trains nothing")
        loss = self.estimate(found.loss)
        if self.draws is not None:
            run = self.draws.predict(n, d, level=self.plan.level or 0.9, kind="run")
            loss = Estimate(float(run.low), float(run.mid), float(run.high))
        return self.answer(
            "tokens_per_param",
            f"The budget spent at {format_number(ratio)} tokens per parameter",
            sure(n),
            np.asarray(d),
            {"excess_loss": found.excess_loss, "excess_compute": found.excess_compute},
            loss,
        )

    def trained(self, n: float) -> tuple[Array, Array]:
        """The tokens on which a size has the plan's loss, and their FLOPs; infinite if never."""
        d = tokens_for_loss(self.law, n, self.loss)
        return d, np.asarray(per_token(np.asarray(n), self.cost) * d)

    def answer(
        self,
        constraint: str,
        question: str,
        n: Estimate,
        d: Array,
        more: Mapping[str, object],
        loss: Estimate | None = None,
        notes: tuple[str, ...] = (),
    ) -> Constrained:
        tokens, level = self.estimate(d), self.plan.level
        return Constrained(
            constraint=constraint,
            question=question,
            source=self.plan.source,
            law=self.plan.law,
            flops=self.plan.flops,
            n_convention=self.plan.n_convention,
            n=n,
            d=tokens,
            loss=loss or self.plan.loss,
            free=self.free,
            free_is=_PLAN,
            more={name: self.estimate(value) for name, value in more.items()},
            bounds="" if level is None else f"{percent(level)} intervals",
            notes=(
                *self.never(n.mid, d),
                *self.measured(n.mid, tokens.mid),
                *((_DRAWS_NOTE,) if self.draws is not None else ()),
                *notes,
            ),
        )

    def estimate(self, values: object) -> Estimate:
        """A number, or the interval of what the draws say."""
        array = np.asarray(values, dtype=np.float64)
        if self.draws is None or not array.ndim:
            return sure(float(np.ravel(array)[0]))
        found = self.draws.interval(lambda _: array, level=self.plan.level or 0.9)
        return Estimate(*(float(end) for end in found))

    def never(self, n: float, d: Array) -> list[str]:
        share = float(np.mean(np.isinf(d)))
        if not share:
            return []
        where = "" if self.draws is None else f"in {share:.0%} of the draws "
        return [f"{where}{format_number(n)} parameters reach that loss on no number of tokens"]

    def measured(self, n: float, d: float) -> list[str]:
        """What lies outside the range of the paper, or of the runs."""
        if isinstance(self.law, PublishedLaw):
            return beyond("n", n, self.law.n_range) + beyond("d", d, self.law.d_range)
        runs = getattr(self.law, "runs", getattr(getattr(self.law, "fit", None), "runs", None))
        if runs is None or not np.isfinite(d):
            return []
        ends = {"n": runs.n, "d": runs.d}
        spans = {name: (float(x.min()), float(x.max())) for name, x in ends.items()}
        most = float(np.max(runs.d / runs.n))
        steep = d / n > _BEYOND_RATIO * most
        ratio = (
            f"{format_number(d / n)} tokens per parameter is {d / n / most:.3g} times the most of "
            "the runs, and laws bend there: an extrapolation"
        )
        return [
            *beyond("n", n, spans["n"]),
            *beyond("d", d, spans["d"]),
            *([ratio] if steep else []),
        ]
