"""What Kaplan et al. 2020 would train with a budget."""

from __future__ import annotations

from isoloss.laws import published
from isoloss.planning.answer import (
    ELSEWHERE,
    EXCESS,
    OWN_TEXT,
    Plan,
    beyond,
    budget_notes,
    checked,
    sure,
)
from isoloss.units import PF_DAY


def plan_kaplan(flops: float) -> Plan:
    """Plan as Kaplan et al. 2020 would: trained at the critical batch, not to convergence.

    C_min = C / (1 + B / B_crit) at B = B_crit, so C_min = C / 2; n = 1.3e9 C_min ** 0.73
    (Table 6, C_min in PF-days), d = C / (6 n), loss = (3.1e8 / C_min) ** 0.050 (Table 5).
    flops: training FLOPs C, 6 n d with n non-embedding. Returns Plan, without intervals.
    Raises InputError for a bad budget.
    Source: Kaplan et al. 2020, Table 6 and Eq. 5.5; at 1e21 it is the 4.68e9 parameters that
    Hoffmann et al. 2022, D.4, quote. The range is Eq. B.16. Eq. 1.5 is left out: it describes
    overfitting, and its minimum under a budget is not this allocation.
    """
    budget = checked(flops)
    fits = published.KAPLAN_2020
    c_min = budget / 2 / PF_DAY
    n = float(fits.allocation.n(c_min))
    d = budget / (6 * n)
    low, high = fits.near_optimal(EXCESS)
    notes = [
        "compute at the critical batch (C_min = C/2) by Table 6; one epoch, not to convergence",
        f"the paper gives no interval; {OWN_TEXT}",
        *beyond("n", n, fits.allocation.n.n_range),
        *beyond("d", d, fits.allocation.n.d_range),
    ]
    return Plan(
        source=fits.name,
        law="Table 6",
        flops=budget,
        n=sure(n),
        d=sure(d),
        loss=sure(float(fits.loss_c_min(c_min))),
        tokens_per_param=sure(d / n),
        near_optimal=(low * n, high * n),
        n_convention="non_embedding",
        c_convention="6nd",
        elsewhere=tuple((r * n, fits.compute_ratio(r) - 1.0) for r in ELSEWHERE),
        citation=fits.citation,
        notes=tuple(notes + budget_notes(budget)),
    )
