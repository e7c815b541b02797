"""What Kaplan et al. 2020 would train with a budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from isoloss.errors import InputError
from isoloss.laws import PowerLaw, published
from isoloss.planning.budget import Budget, OtherAmounts, budget
from isoloss.planning.doubt.decision import NEAR
from isoloss.planning.estimate import sure
from isoloss.planning.plans.answer import (
    ELSEWHERE,
    OWN_TEXT,
    Plan,
    beyond,
    budget_notes,
    unit_notes,
)
from isoloss.planning.training.setup import Setup
from isoloss.planning.training.training import training
from isoloss.units import PF_DAY


def plan_kaplan(
    flops: float | None = None, *, setup: Setup | None = None, **amounts: Unpack[OtherAmounts]
) -> Plan:
    """Plan as Kaplan et al. 2020 would: trained at the critical batch, not to convergence.

    C_min = C / (1 + B / B_crit) at B = B_crit, so C_min = C / 2; n = 1.3e9 C_min ** 0.73
    (Table 6, C_min in PF-days), d = C / (6 n), loss = (3.1e8 / C_min) ** 0.050 (Table 5).
    flops: training FLOPs C, 6 n d with n non-embedding, or the other amounts of `budget`; a target
    loss takes C = 2 C_min with C_min from Table 5. setup: as in `plan`.
    Returns Plan, without intervals.
    Raises InputError for a bad budget, or caps on n or d, which the tables do not know.
    Source: Kaplan et al. 2020, Table 6 and Eq. 5.5; at 1e21 it is the 4.68e9 parameters that
    Hoffmann et al. 2022, D.4, quote. The range is Eq. B.16. Eq. 1.5 is left out: it describes
    overfitting, and its minimum under a budget is not this allocation.
    """
    return kaplan_plan(budget({"flops": flops, **amounts}), setup or Setup())


def kaplan_plan(spend: Budget, setup: Setup) -> Plan:
    """Return the same of a budget that is read already."""
    if spend.max_params or spend.max_tokens:
        raise InputError("Kaplan's plan takes no caps on n or d: plan from a law of (n, d)")
    fits = published.KAPLAN_2020
    total = _total(spend)
    n = float(fits.best_size(total))
    d = total / (6 * n)
    low, high = fits.near_optimal(NEAR)
    notes = [
        "compute at the critical batch (C_min = C/2) by Table 6; one epoch, not to convergence",
        f"the paper gives no interval; {OWN_TEXT}",
        *beyond("n", n, fits.allocation.n.n_range),
        *beyond("d", d, fits.allocation.n.d_range),
    ]
    found = Plan(
        source=fits.name,
        law="Table 6",
        flops=total,
        budget=spend,
        compute=sure(total),
        n=sure(n),
        d=sure(d),
        loss=sure(float(fits.loss_c_min(published.least_compute(total)))),
        tokens_per_param=sure(d / n),
        near_optimal=(low * n, high * n),
        n_convention="non_embedding",
        c_convention="6nd",
        elsewhere=tuple((r * n, fits.compute_ratio(r) - 1.0) for r in ELSEWHERE),
        citation=fits.citation,
        notes=tuple(notes + budget_notes(total) + list(spend.notes)),
    )
    doubts = unit_notes(found.tokens_per_param.mid, found.loss.mid, setup.family)
    how = training(
        found.n,
        found.d,
        found.n_convention,
        setup,
        loss=found.loss,
        machine=spend.machine,
        kaplan=True,
    )
    return replace(found, training=how, notes=(*found.notes, *doubts))


def _total(spend: Budget) -> float:
    """The FLOPs to spend: the budget, or twice the least compute of a loss, within the budget."""
    if spend.loss is None:
        assert spend.flops is not None
        return spend.flops
    trend = published.KAPLAN_2020.loss_c_min.law
    assert isinstance(trend, PowerLaw)
    needed = float(2.0 * float(trend.xc) * spend.loss ** (-1.0 / float(trend.alpha)) * PF_DAY)
    if spend.flops is not None and needed > spend.flops:
        raise InputError(
            f"a loss of {spend.loss:g} takes {needed:.3g} FLOPs, more than the {spend.flops:.3g} "
            f"that {spend.bound_by} allows: give a higher loss or a larger budget"
        )
    return needed
