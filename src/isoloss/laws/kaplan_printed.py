"""Kaplan's printed numbers against each other: where they agree, and where they do not.

His tables come from separate fits, and the text rounds some and derives others. Nothing here is a
correction: each record computes one printed number from others of the same paper, as
`published.KAPLAN_2020` holds them, and says how far their rounding may move the result. What is
left over is what mixing the rows of his tables costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from isoloss.laws.forms import PowerLaw
from isoloss.laws.kaplan import Crossing, KaplanFrontier, contradiction
from isoloss.laws.printed import Printed, rounding
from isoloss.laws.provenance import PublishedLaw
from isoloss.laws.published import KAPLAN_2020 as KAPLAN
from isoloss.laws.published_tuning import KAPLAN_LR
from isoloss.laws.relations import CriticalBatch, KaplanNS, PowerRelation
from isoloss.laws.tuning_rules import LogLinear
from isoloss.units import PF_DAY

KAPLAN_BATCH = 2.0**19
"""Tokens: 512 sequences of 1,024."""

KAPLAN_FIXED_BATCH = PowerRelation(1.6e9, 0.88)
"""Kaplan's best size in compute (PF-days) at his fixed batch, as Fig. 14 (left) is labelled."""

_SEEDS = 0.02


def kaplan_printed() -> tuple[Printed, ...]:
    """Return Kaplan's printed numbers, each beside what his other constants give.

    `agrees` marks those that hold; the others are the paper's inconsistencies.
    Source: Kaplan et al. 2020, the equations named in each record.
    """
    return (
        *_exponents(),
        *_at_one_pf_day(),
        *_table_6(),
        *_crossing(),
        *_labels(),
        *_stopping_early(),
        *_other_sizes(),
        *_overfitting(),
        *_batch_and_rate(),
    )


def kaplan_frontier(
    Nc: float, Sc: float, alpha_n: float, alpha_s: float, b_star: float, alpha_b: float
) -> KaplanFrontier:
    """Return the frontier of a size term, a step term and a critical batch."""
    return KaplanFrontier(KaplanNS(Nc, Sc, alpha_n, alpha_s), CriticalBatch(b_star, alpha_b))


def _constants(*fits: PublishedLaw) -> tuple[float, ...]:
    return tuple(float(value) for fit in fits for value in fit.coefficients().values())


# Nc, Sc, alpha_n, alpha_s, b_star, alpha_b, by Table 3 and Eq. 1.4, and with the size term and the
# critical batch of Table 5; the step term is the same in both tables.
_TABLE_3 = _constants(KAPLAN.loss_ns, KAPLAN.critical_batch)
_TABLE_5 = (
    float(KAPLAN.loss_n.xc),
    _TABLE_3[1],
    float(KAPLAN.loss_n.alpha),
    _TABLE_3[3],
    *_constants(KAPLAN.critical_batch_table_5),
)


def _record(
    what: str,
    where: str,
    text: str,
    quantity: Callable[..., float],
    constants: Sequence[float],
    how: str,
    unit: str = "",
    digits: Sequence[int] = (),
) -> Printed:
    """The record of a quantity computed from constants that the paper prints."""
    spread = rounding(quantity, constants, digits)
    return Printed(what, where, text, float(quantity(*constants)), how, spread, unit)


def _exponents() -> tuple[Printed, ...]:
    def power(name: str) -> Callable[..., float]:
        return lambda *constants: kaplan_frontier(*constants).exponents[name]

    def loss(*constants: float) -> float:
        return kaplan_frontier(*constants).exponent

    total = "1 / (1/alpha_S + 1/alpha_B + 1/alpha_N) of Table 5"
    rows = (
        ("exponent of loss", "Eq. 6.4", "0.054", loss, total),
        ("exponent of loss", "Eq. B.7", "0.052", loss, total),
        ("exponent of loss", "Table 5, fitted", "0.050", loss, total),
        ("exponent of size", "Eq. 6.5", "0.71", power("n"), f"that over alpha_N: {total}"),
        ("exponent of size", "Table 6, fitted", "0.73", power("n"), "the same"),
        ("exponent of batch", "Table 6, fitted", "0.24", power("batch"), "that over alpha_B"),
        ("exponent of steps", "Table 6, fitted", "0.03", power("steps"), "that over alpha_S"),
        ("exponent of tokens", "Table 6, fitted", "0.27", power("d"), "batch times steps"),
    )
    return tuple(
        _record(what, where, text, quantity, _TABLE_5, how)
        for what, where, text, quantity, how in rows
    )


def _at_one_pf_day() -> tuple[Printed, ...]:
    def at(name: str) -> Callable[..., float]:
        return lambda *constants: float(getattr(kaplan_frontier(*constants), name)(PF_DAY))

    def scale(*constants: float) -> float:
        return kaplan_frontier(*constants).scale / PF_DAY

    how = "Eqs B.8 to B.10 with Table 3 and Eq. 1.4, at 1 PF-day"
    loss = f"{float(KAPLAN.loss_c_min(1.0)):.3f}"
    rows = (
        ("size", "Table 6", "1.3e9", at("n"), "parameters"),
        ("least steps", "Table 6", "5.4e3", at("steps"), "steps"),
        ("critical batch", "Table 6", "2.0e6", at("batch"), "tokens"),
        ("loss", "Table 5, L(C_min)", loss, at("loss"), "nats"),
        ("compute of a loss of 1 nat", "Table 5", "3.1e8", scale, "PF-days"),
    )
    return tuple(
        _record(what, where, text, quantity, _TABLE_3, how, unit)
        for what, where, text, quantity, unit in rows
    )


def _table_6() -> tuple[Printed, ...]:
    rows = KAPLAN.allocation
    n, batch, steps = (float(row.coefficient) for row in (rows.n, rows.batch, rows.steps))

    def product(n: float, batch: float, steps: float) -> float:
        return 6.0 * n * batch * steps / PF_DAY

    def tokens(n: float) -> float:
        return 2.0 * PF_DAY / (6.0 * n)

    how = "2 C / (6 N) at the critical batch, N_e of Table 6"
    return (
        _record("6 N B S over C", "Table 6", "1.0", product, (n, batch, steps), "N_e, B_e and S_e"),
        _record("tokens at 1 PF-day", "Eq. 6.7", "4e10", tokens, (n,), how, "tokens"),
        _record("tokens at 1 PF-day", "Table 6", "2e10", tokens, (n,), how, "tokens"),
    )


def _crossing() -> tuple[Printed, ...]:
    trends = _constants(KAPLAN.loss_c_min, KAPLAN.loss_d)
    size = _constants(KAPLAN.allocation.n)
    digits = (2,) * 4 + (1, 2, 2, 2)

    def at(name: str) -> Callable[..., float]:
        def quantity(*k: float) -> float:
            found: Crossing = contradiction(
                PowerLaw(*k[:2]), PowerLaw(*k[2:4]), PowerRelation(*k[4:6]), PowerRelation(*k[6:])
            )
            return float(getattr(found, name))

        return quantity

    how = "L(C_min) and L(D) of Table 5, tokens and size of Table 6"
    table_6 = (*trends, *_constants(KAPLAN.allocation.d), *size)
    rows = (
        ("compute", "1e4", at("c"), "PF-days"),
        ("size", "1e12", at("n"), "parameters"),
        ("tokens", "1e12", at("d"), "tokens"),
        ("loss", "1.7", at("loss"), "nats"),
    )
    eq_6_7 = (*trends, 4e10, 0.26, *size)
    return (
        *(
            _record(f"crossing, {what}", "Eq. 6.8", text, quantity, table_6, how, unit, digits)
            for what, text, quantity, unit in rows
        ),
        _record(
            "crossing, compute",
            "Eq. 6.8",
            "1e4",
            at("c"),
            eq_6_7,
            "the same with the tokens of Eq. 6.7",
            "PF-days",
            digits,
        ),
    )


def _labels() -> tuple[Printed, ...]:
    where = "Figs 1, 13, label"
    scale, b_star = float(KAPLAN.loss_c_min.xc), _TABLE_5[4]
    return (
        Printed("compute of a loss of 1 nat", where, "2.3e8", scale, "Table 5", unit="PF-days"),
        Printed("B_star", "Eq. 1.4", "2e8", b_star, "Table 5", unit="tokens"),
    )


def _stopping_early() -> tuple[Printed, ...]:
    def stop(name: str) -> Callable[..., float]:
        return lambda *constants: float(getattr(kaplan_frontier(*constants).early_stop(), name))

    def excess(*constants: float) -> float:
        return kaplan_frontier(*constants).excess

    how = "Table 5, stopped at alpha_N / alpha_S above the converged loss, not at 2 %"
    rows = (
        ("loss above the converged one", "Eq. B.5", "0.10", excess, "alpha_N / alpha_S"),
        ("size of an early stop over a late", "Eq. B.12", "2.7", stop("n"), how),
        ("steps of an early stop over a late", "Eq. B.13", "0.13", stop("steps"), how),
        ("compute of an early stop over a late", "Eq. B.14", "0.35", stop("c"), how),
    )
    return tuple(
        _record(what, where, text, quantity, _TABLE_5, how)
        for what, where, text, quantity, how in rows
    )


def _other_sizes() -> tuple[Printed, ...]:
    def compute(ratio: float) -> Callable[..., float]:
        return lambda *constants: float(kaplan_frontier(*constants).compute_ratio(ratio))

    def steps(*constants: float) -> float:
        return float(kaplan_frontier(*constants).steps_ratio(2.2))

    how = "Eq. {} with Table 3"
    rows = (
        ("compute at 0.6 of the best size", "1.2", compute(0.6), how.format("B.16")),
        ("compute at 2.2 of the best size", "1.2", compute(2.2), how.format("B.16")),
        ("steps at 2.2 of the best size", "0.55", steps, how.format("B.17")),
    )
    return tuple(
        _record(what, "Fig. 12", text, quantity, _TABLE_3, how)
        for what, text, quantity, how in rows
    )


def _overfitting() -> tuple[Printed, ...]:
    constants, digits = _constants(KAPLAN.loss_nd), (2, 2, 2, 3)

    def power(Nc: float, Dc: float, alpha_n: float, alpha_d: float) -> float:
        return alpha_n / alpha_d

    def exact(Nc: float, Dc: float, alpha_n: float, alpha_d: float) -> float:
        return float(Dc / Nc ** (alpha_n / alpha_d) / ((1.0 + _SEEDS) ** (1.0 / alpha_d) - 1.0))

    def linear(Nc: float, Dc: float, alpha_n: float, alpha_d: float) -> float:
        return float(Dc / Nc ** (alpha_n / alpha_d) * alpha_d / _SEEDS)

    how = "Eq. 4.3 with Table 2, 2 % above the loss of unlimited text"
    first = f"{how}, to first order in 1/D"
    rows = (
        ("exponent of the tokens needed", "0.74", power, "alpha_N / alpha_D of Table 2"),
        ("tokens needed at one parameter", "5e3", exact, how),
        ("tokens needed at one parameter", "5e3", linear, first),
    )
    return tuple(
        _record(what, "Eq. 4.4", text, quantity, constants, how, digits=digits)
        for what, text, quantity, how in rows
    )


def _batch_and_rate() -> tuple[Printed, ...]:
    rate = KAPLAN_LR.law
    assert isinstance(rate, LogLinear)

    def doubles(alpha_b: float) -> float:
        return 1.0 - float(2.0**-alpha_b)

    def vanishes(intercept: float, fall: float) -> float:
        return math.exp(intercept / fall)

    return (
        _record(
            "fall of the loss that doubles B_crit",
            "Fig. 10",
            "0.13",
            doubles,
            (_TABLE_5[5],),
            "1 - 2 ** -alpha_B",
        ),
        _record(
            "size at which the learning rate ends",
            "Eq. D.1",
            "1e10",
            vanishes,
            (rate.intercept, -rate.slope),
            "where Eq. D.1 is zero, its logarithm being natural",
            "parameters",
            (4, 4),
        ),
    )
