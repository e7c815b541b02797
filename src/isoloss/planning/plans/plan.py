"""What to train with a budget: parameters, tokens, the loss to expect, and how sure that is.

`plan` answers from a published law, a law, a fit, or the draws of a fit; only draws carry doubt,
so only they give intervals, and elsewhere `low` and `high` are None. `published_plans` needs no
data: what Kaplan, Hoffmann and Besiroglu would each do. The optimum is flat, so a plan also names
the range of sizes that reach the same loss for at most 5 % more compute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from isoloss.errors import InputError, Status
from isoloss.laws import KaplanND, Law, PublishedLaw, allocate, as_law, near_optimal, published
from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND, per_token
from isoloss.laws.required import compute_at_size
from isoloss.planning.budget import Budget, OtherAmounts, budget
from isoloss.planning.doubt.decision import NEAR, agreed_sizes, best_bet
from isoloss.planning.doubt.misfit import best_size
from isoloss.planning.estimate import Estimate, sure
from isoloss.planning.plans.answer import (
    ELSEWHERE,
    OWN_TEXT,
    WORSE,
    Plan,
    beyond,
    budget_notes,
    unit_notes,
)
from isoloss.planning.plans.kaplan import kaplan_plan
from isoloss.planning.plans.limits import Limits, limits
from isoloss.planning.training.setup import Setup
from isoloss.planning.training.training import training
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.fitting import CriticalBatchFit, Fit
    from isoloss.laws import CriticalBatch
    from isoloss.runs import Runs
    from isoloss.trust import Draws

FAR = 30.0
"""A budget beyond this many times the compute of the largest run is `extrapolated`."""


_MANIFOLD = 10.0
"""A larger excess is said as a multiple."""

_NEVER = 40.0
"""The power of ten of FLOPs that stands for a loss never reached."""


_HOW = {
    "forecast model": "by the forecast model, which allows for misfit of the law beyond the runs",
    "plain": "with parameters and noise as uncertain as they are, the law's own misfit left out",
}


def plan(
    law_or_draws: Draws | Fit | Law | HoldsLaw | LossOfND | published.Kaplan2020,
    *,
    flops: float | None = None,
    cost: Cost | None = None,
    level: float = 0.9,
    setup: Setup | None = None,
    critical_batch: CriticalBatch | CriticalBatchFit | None = None,
    **amounts: Unpack[OtherAmounts],
) -> Plan:
    """Plan one training run for a budget, or for a loss.

    n, d = argmin law(n, d) subject to cost(n) * d = flops. With draws: n.mid is the size of least
    expected excess compute (`decision.best_bet`), its ends are quantiles of the draws' own optima,
    the law's misfit allowed for (`misfit.best_size`), d and d / n follow from n, the loss is that
    of a new run at n.mid and d.mid, and a size is near-optimal if at least 80 % of the draws put it
    within 5 % of their best. It may differ from the fit's own optimum, for draws vary about a
    sharper estimate than the published one.
    law_or_draws: Draws (the full answer), a Fit, a law, a PublishedLaw, or published.KAPLAN_2020.
    flops: training FLOPs; amounts: the other forms of a budget, a target loss and caps on n and d
    (`OtherAmounts`). cost: n -> training FLOPs per token, rising, default 6 n. level: of intervals.
    setup: how it is to be trained, by default modern shapes of a vocabulary of 32,000.
    critical_batch: that you measured, in place of the setup's.
    Returns Plan. Raises InputError for a bad or contradictory budget, or what is no law;
    UnidentifiedError where the runs behind a fit do not identify the answer.
    Source: Hoffmann et al. 2022, Eq. 4, for the optimum; Kaplan et al. 2020, section B.4, for the
    range; see `training` for batch, steps, rate and memory.
    """
    spend, setup = budget({"flops": flops, **amounts}), setup or Setup()
    if critical_batch is not None:
        setup = replace(setup, critical_batch=critical_batch)
    if not 0 < level < 1:
        raise InputError(f"level is {level}; give a share between 0 and 1, such as 0.9")
    if isinstance(law_or_draws, published.Kaplan2020):
        if cost is not None:
            raise InputError("Kaplan's allocation counts 6 n per token: leave out cost")
        return kaplan_plan(spend, setup)
    found = _allocated(law_or_draws, spend, cost, level)
    doubts = unit_notes(found.tokens_per_param.mid, found.loss.mid, setup.family)
    how = training(
        found.n,
        found.d,
        found.n_convention,
        setup,
        loss=found.loss,
        loss_unit=found.loss_unit,
        machine=spend.machine,
    )
    return replace(found, training=how, notes=(*found.notes, *doubts))


def _allocated(
    law_or_draws: Draws | Fit | Law | HoldsLaw | LossOfND,
    spend: Budget,
    cost: Cost | None,
    level: float,
) -> Plan:
    """The plan but for how to train it."""
    if isinstance(law_or_draws, PublishedLaw):
        return _plan_published(law_or_draws, spend, cost)
    if not isinstance(law_or_draws, Law):
        # Imported here so that planning from published laws loads no fitter.
        from isoloss.fitting import Fit
        from isoloss.trust import Draws

        if isinstance(law_or_draws, Draws):
            found = _plan_draws(law_or_draws, spend, cost, level)
            return replace(found, status=_status(law_or_draws.fit, found.flops))
        if isinstance(law_or_draws, Fit):
            found = _plan_fit(law_or_draws, spend, cost)
            return replace(found, status=_status(law_or_draws, found.flops))
    law = as_law(law_or_draws)
    if isinstance(law, Law) and any(np.ndim(value) for value in law.coefficients().values()):
        raise InputError("the law holds many draws: plan from the Draws they came from")
    form = type(law).__name__ if isinstance(law, Law) else "function"
    found = _plan_point(law, spend, cost, source="given law", form=form)
    return replace(found, notes=(*_law_notes(law), *found.notes))


def _plan_published(law: PublishedLaw, spend: Budget, cost: Cost | None) -> Plan:
    if any(law is fit for fit in published.KAPLAN_2020.fits.values()):
        raise InputError(
            "Kaplan's allocation is Table 6, not the minimum of one of his other fits: "
            "plan with published.KAPLAN_2020"
        )
    found = _plan_point(
        law,
        spend,
        cost,
        source=law.name,
        form=type(law.law).__name__,
        n_convention=law.n_convention,
        citation=law.citation,
    )
    notes = [
        f"published without a joint interval of the coefficients, so none is given; {OWN_TEXT}",
        *beyond("n", found.n.mid, law.n_range),
        *beyond("d", found.d.mid, law.d_range),
        *beyond("c", found.flops, law.c_range),
    ]
    return replace(found, notes=(*notes, *found.notes))


def _plan_fit(fit: Fit, spend: Budget, cost: Cost | None) -> Plan:
    fit.check()
    found = _plan_point(
        fit,
        spend,
        cost,
        source=f"fit of {len(fit.runs)} runs",
        form=type(fit.law).__name__,
        n_convention=fit.runs.n_convention,
    )
    notes = (
        "a fit alone gives no interval: plan from bootstrap(fit) for one",
        *_law_notes(fit.law),
        *_fit_notes(fit, found.n.mid, found.d.mid, found.flops, cost),
    )
    return replace(found, loss_unit=fit.runs.loss_unit, notes=(*notes, *found.notes))


def _plan_point(
    law: Law | HoldsLaw | LossOfND,
    spend: Budget,
    cost: Cost | None,
    *,
    source: str,
    form: str,
    n_convention: str = "unknown",
    citation: str = "",
) -> Plan:
    """The plan of one law, without doubt."""
    held = limits(spend, law, cost)
    best = allocate(law, held.flops, cost=cost)
    n = held.hold(float(best.n))
    d = _tokens(held.flops, n, cost)
    loss = float(np.asarray(as_law(law)(np.asarray(n), np.asarray(d))))
    low, high = near_optimal(law, held.flops, excess=NEAR, cost=cost)
    least, most = near_optimal(law, held.flops, excess=0.0, worse=WORSE, cost=cost)
    sizes = n * np.array(ELSEWHERE)
    wasted = compute_at_size(law, sizes, float(best.loss), cost=cost) / held.flops - 1.0
    notes, capped = list(held.notes), n != float(best.n)
    if capped and not held.notes and spend.loss is None:
        needed = float(compute_at_size(law, n, float(best.loss), cost=cost))
        notes.append(_capped_note(n, float(best.n), needed / held.flops - 1.0))
    return Plan(
        source=source,
        law=form,
        flops=held.flops,
        budget=spend,
        compute=sure(held.flops),
        n=sure(n),
        d=sure(d),
        loss=sure(loss),
        tokens_per_param=sure(d / n),
        near_optimal=held.within((float(low), float(high))),
        n_convention=n_convention,
        c_convention="6nd" if cost is None else "cost",
        near_loss=held.within((float(least), float(most))),
        elsewhere=() if capped else tuple(zip(sizes.tolist(), wasted.tolist(), strict=True)),
        citation=citation,
        notes=(*notes, *spend.notes, *budget_notes(held.flops)),
    )


def _plan_draws(draws: Draws, spend: Budget, cost: Cost | None, level: float) -> Plan:
    fit = draws.fit
    fit.check()
    held = limits(spend, draws, cost)
    flops = held.flops
    each = allocate(draws, flops, cost=cost)
    sizes = np.asarray(each.n)
    bet = best_bet(draws, flops, cost=cost)
    mid = held.hold(bet.n)
    range_ = best_size(draws, flops, level=level, cost=cost)
    low, high = (held.hold(end or range_.mid) for end in (range_.low, range_.high))
    # d and d / n fall where n rises, so their ends follow from n's, and their middles fit mid.
    d_low, d_mid, d_high = (_tokens(flops, x, cost) for x in (high, mid, low))
    loss = draws.predict(mid, d_mid, level=level, kind="run")
    near, notes = agreed_sizes(*near_optimal(draws, flops, excess=NEAR, cost=cost))
    near_loss, _ = agreed_sizes(*near_optimal(draws, flops, excess=0.0, worse=WORSE, cost=cost))
    notes += held.notes
    if mid != bet.n and not held.notes and spend.loss is None:
        notes.append(_capped_note(mid, bet.n, bet.at(mid)))
    lost = int(np.count_nonzero(each.at_edge))
    if lost:
        notes.append(
            f"{lost} of {sizes.size} draws have no optimum inside one parameter and one token; "
            "they stand in the intervals at the end they run to"
        )
    notes += _loss_notes(draws, spend, mid, d_mid, float(loss.mid))
    if near is not None and not near[0] <= bet.n <= near[1]:
        notes.append(
            "the size recommended lies outside the sizes that are as good: few draws agree on "
            "those, and the others would waste more there"
        )
    plain = float(allocate(fit, flops, cost=cost).n)
    if not low <= held.hold(plain) <= high:
        notes.append(
            f"the fit's own optimum, {format_number(plain)} parameters, lies outside the interval "
            "of its draws: doubt both"
        )
    if not low <= mid <= high:
        notes.append(
            "the size recommended, of least expected waste, lies outside the interval of the best "
            "size: the draws hardly agree on one"
        )
    return Plan(
        source=f"{sizes.size:,} draws of a fit of {len(fit.runs)} runs",
        law=type(fit.law).__name__,
        flops=flops,
        budget=spend,
        compute=_compute(draws, held, level),
        n=Estimate(low, mid, high),
        d=Estimate(d_low, d_mid, d_high),
        loss=Estimate(float(loss.low), float(loss.mid), float(loss.high)),
        tokens_per_param=Estimate(d_low / high, d_mid / mid, d_high / low),
        near_optimal=held.within(near),
        n_convention=fit.runs.n_convention,
        c_convention="6nd" if cost is None else "cost",
        near_loss=held.within(near_loss),
        expected_excess=bet.at(mid) if mid != bet.n else bet.excess,
        elsewhere=() if mid != bet.n else tuple((r * mid, bet.at(r * mid)) for r in ELSEWHERE),
        loss_unit=fit.runs.loss_unit,
        level=level,
        notes=(
            f"the loss is that of one new run, {_HOW[draws.forecast_method()]}",
            *notes,
            *_law_notes(fit.law),
            *_fit_notes(fit, mid, d_mid, flops, cost),
            *spend.notes,
            *budget_notes(flops),
        ),
    )


def _loss_notes(draws: Draws, spend: Budget, n: float, d: float, forecast: float) -> list[str]:
    """Where the forecast is not what was asked for, or worse than what there is already."""
    notes, own = [], float(np.asarray(draws.fit.law(n, d)))
    if spend.loss is not None and abs(forecast / spend.loss - 1) > WORSE:
        notes.append(
            f"the compute is what the law itself takes to a loss of {spend.loss:g}; a new run "
            f"there is expected at {forecast:.3f}, misfit allowed for"
        )
    seen = float(np.asarray(draws.fit.runs.loss).min())
    if forecast > seen > own:
        notes.append(
            f"the forecast is above the lowest loss measured, {seen:.3f}, and the law's own, "
            f"{own:.3f}, below it: the runs say nothing of so much compute"
        )
    return notes


def _compute(draws: Draws, held: Limits, level: float) -> Estimate:
    """What a target loss takes, uncertain as the draws are; a budget is as it is."""
    if held.needed is None:
        return sure(held.flops)
    # Logarithms, capped: a draw in which the loss is never reached stands at the far end.
    logs = np.minimum(np.log10(held.needed), _NEVER)
    low, _, high = (float(x) for x in draws.interval(lambda _: logs, level=level))
    return Estimate(10.0**low, held.flops, np.inf if high >= _NEVER else 10.0**high)


def _capped_note(n: float, best: float, excess: float) -> str:
    side = "max_params" if n < best else "max_tokens"
    more = f"{100 * excess:.2g} % more compute"
    if excess > _MANIFOLD:
        more = f"{1 + excess:.3g} times the compute" if np.isfinite(excess) else "endless compute"
    return (
        f"{side} holds n at {format_number(n)}, which takes {more} to the loss that "
        f"{format_number(best)}, the best size, would reach"
    )


def _tokens(budget: float, n: float, cost: Cost | None) -> float:
    """The tokens that the budget pays for at n."""
    return budget / float(per_token(np.asarray(n), cost))


def _law_notes(law: object) -> tuple[str, ...]:
    if not isinstance(law, KaplanND):
        return ()
    return ("KaplanND describes overfitting; Kaplan's own allocation is plan_kaplan",)


def _status(fit: Fit, budget: float) -> tuple[Status, ...]:
    far = budget > FAR * float(fit.runs.c.max())
    return (*fit.status, Status.EXTRAPOLATED) if far else fit.status


def _fit_notes(fit: Fit, n: float, d: float, budget: float, cost: Cost | None) -> list[str]:
    """What the fit and its runs say about how far to believe the plan."""
    runs: Runs = fit.runs
    notes = [status.value for status in _status(fit, budget)]
    if runs.loss_unit != "nats":
        notes.append(f"the loss is in {runs.loss_unit}, as the runs give it")
    if cost is None and runs.c_convention not in ("6nd", "unknown"):
        notes.append(
            f"the runs count compute as {runs.c_convention}, this plan as 6 n d: "
            "pass cost= to count alike"
        )
    for name, value in (("n", n), ("d", d), ("c", budget)):
        seen = np.asarray(getattr(runs, name))
        notes += beyond(name, value, (float(seen.min()), float(seen.max())))
    return notes
