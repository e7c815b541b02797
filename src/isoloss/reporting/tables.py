"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isoloss.figures import loss_unit
from isoloss.laws import published
from isoloss.planning import Estimate, Plan
from isoloss.reporting import wording
from isoloss.reporting.document import Block, Refusal, Table
from isoloss.reporting.evidence import Evidence, Missing, Reading
from isoloss.reporting.exponents import Exponent, pure_exponents, reducible_exponents
from isoloss.trust import Draws, Interval, Outcome
from isoloss.units import plural

LEVEL = 0.9


def coefficient_table(reading: Reading) -> Block:
    """Every fitted coefficient with its interval."""
    if isinstance(reading.fit, Missing):
        return Refusal(wording.refusal("coefficients", reading.fit.reason))
    form, values = reading.fit.form.__name__, reading.fit.coefficients
    head = ("coefficient", "fit", "median of the draws", "90 % interval")
    rows = [
        (wording.symbol(name), wording.coefficient(value), *_interval(reading.draws, name))
        for name, value in values.items()
    ]
    size = wording.percent(float(np.median(np.abs(reading.fit.residuals))), 2)
    note = (
        f"Fitted to {plural(len(reading.runs), 'run')} by {_method(reading.fit)}; half of "
        f"the residuals are within {size}. The draws use a smoother estimator with the same law, "
        "so their median may differ a little from the fit; plans and bands are theirs."
    )
    if "A" in values:
        note += " A and B move together with their exponents, so each alone looks less sure."
    return Table(f"Coefficients of {_formula(form)}", head, tuple(rows), note)


def _method(fit: Any) -> str:
    if fit.delta is None:
        return f"least squares of the {fit.residual} loss"
    return f"the Huber loss of the {fit.residual} residuals, delta {fit.delta:g}, summed"


def _formula(form: str) -> str:
    ratio = f"({wording.ALPHA}_N/{wording.ALPHA}_D)"
    formulas = {
        "Chinchilla": f"L(N, D) = {wording.CHINCHILLA}",
        "KaplanND": f"L(N, D) = ((Nc/N)^{ratio} + Dc/D)^{wording.ALPHA}_D",
    }
    return formulas.get(form, form)


def _interval(draws: Draws | Missing, name: str) -> tuple[str, str]:
    if isinstance(draws, Missing):
        return "none", "none"
    low, mid, high = draws.interval(lambda law: law.coefficients()[name], LEVEL)
    span = wording.span(float(low), float(high), wording.coefficient)
    return wording.coefficient(float(mid)), span


def pure_table(evidence: Evidence) -> Table:
    """Pure power-law exponents beside Kaplan's."""
    counted = wording.count_name(evidence.kaplan_runs.n_convention)
    rows = pure_exponents(evidence)
    return Table(
        "Pure power laws, which have no floor",
        ("exponent", "measured (90 %)", "Kaplan 2020", "fitted to"),
        tuple(_exponent_row(row) for row in rows),
        f"Measured with {counted} and {wording.cost_name(evidence.kaplan_runs.c_convention)}, by "
        f"L(N, D) of all runs and by L(C) of the runs that no cheaper run beats. {wording.ALPHA}_C "
        "is Kaplan's at a fixed batch, and corrected to small batches (C_min); these runs are "
        f"neither exactly.{_reasons(rows)}",
        words=(3,),
    )


def reducible_table(evidence: Evidence) -> Table:
    """Exponents above the floor, beside Hoffmann's and Besiroglu's."""
    rows = reducible_exponents(evidence)
    return Table(
        f"The part of the loss above the floor E of {wording.CHINCHILLA}",
        ("exponent", "measured (90 %)", "Hoffmann 2022", "Besiroglu 2024", "fitted to"),
        tuple(_exponent_row(row) for row in rows),
        f"Measured with {wording.count_name(evidence.main.runs.n_convention)} and "
        f"{wording.cost_name(evidence.main.runs.c_convention)}. N grows as C^a and D as C^b "
        "along the optimum. The envelope is taken over whole curves, most of whose points lie "
        "before the end of their learning-rate decay, so approach 1 is rough here and has no "
        f"interval.{_reasons(rows)}",
        words=(4,),
    )


def _exponent_row(row: Exponent) -> tuple[str, ...]:
    measured = "none" if isinstance(row.measured, Missing) else wording.with_interval(row.measured)
    return (row.name, measured, *row.papers, row.how)


def _reasons(rows: Sequence[Exponent]) -> str:
    """Why exponents are missing, each reason once, after the other notes."""
    found = {row.how: row.measured.reason for row in rows if isinstance(row.measured, Missing)}
    return "".join(f" None by {how}: {reason}." for how, reason in found.items())


def plan_table(evidence: Evidence) -> Block:
    """What to train for the target, in full."""
    plan = evidence.main.plan
    if isinstance(plan, Missing):
        return Refusal(wording.refusal("plan", plan.reason))
    near = "the draws agree on none"
    if plan.near_optimal is not None:
        near = wording.span(*plan.near_optimal, wording.count)
    rows = (
        ("training compute", f"{wording.flops(plan.flops)} FLOPs", ""),
        ("parameters", *_apart(plan.n, wording.count)),
        ("sizes as good (within 5 % of the least compute)", near, ""),
        ("training tokens", *_apart(plan.d, wording.count)),
        ("tokens per parameter", *_apart(plan.tokens_per_param, wording.ratio)),
        (
            f"loss of one such run, {loss_unit(evidence.main.runs)}",
            *_apart(plan.loss, wording.decimals),
        ),
    )
    return Table("The plan", ("", "value", "90 % interval"), rows, f"From {plan.source}.")


def _apart(estimate: Estimate, write: Any) -> tuple[str, str]:
    if estimate.low is None or estimate.high is None:
        return write(estimate.mid), "none"
    return write(estimate.mid), wording.span(estimate.low, estimate.high, write)


def published_table(plans: Sequence[Plan], own: Plan | Missing) -> Table:
    """What the papers would do with the same budget, each in its own count."""
    rows = [
        (plan.source, wording.count(plan.n.mid), wording.count(plan.d.mid), _counted(plan))
        for plan in plans
    ]
    if not isinstance(own, Missing):
        mine = (wording.count(own.n.mid), wording.count(own.d.mid), _counted(own))
        rows.insert(0, ("these runs", *mine))
    return Table(
        "The same budget by the published laws",
        ("law", "parameters", "tokens", "parameters counted as"),
        tuple(rows),
        "Fitted on other text with other tokenizers, each counting parameters in its own way: what "
        "the papers' constants say, not what these models would do.",
        words=(3,),
    )


def _counted(plan: Plan) -> str:
    return wording.count_name(plan.n_convention)


def counting_table(evidence: Evidence) -> Block:
    """The same runs under each way of counting, side by side, and the optimum that follows."""
    columns = [_counting_column(reading) for reading in (evidence.main, *evidence.others)]
    names = (
        "N of the runs",
        wording.ALPHA,
        wording.BETA,
        "a",
        "best N (90 %)",
        "best D (90 %)",
        "loss there",
    )
    return Table(
        f"The answer at {wording.flops(evidence.target)} FLOPs",
        ("", *(column[0] for column in columns)),
        tuple(zip(names, *(column[1:] for column in columns), strict=True)),
        "The first column is how this report counts. The budget is the same number in every "
        "column, but a FLOP counted as 6ND is not one counted exactly: in small models attention "
        "and the output layer, which Kaplan's 6ND leaves out, are most of the work.",
    )


def _counting_column(reading: Reading) -> tuple[str, ...]:
    runs = reading.runs
    name = f"{wording.count_name(runs.n_convention)}, {wording.cost_name(runs.c_convention)}"
    sizes = wording.span(float(runs.n.min()), float(runs.n.max()), wording.count)
    found = {} if isinstance(reading.fit, Missing) else reading.fit.coefficients
    exponents = ["none"] * 3
    if {"alpha", "beta"} <= set(found):
        alpha, beta = found["alpha"], found["beta"]
        exponents = [wording.decimals(value) for value in (alpha, beta, beta / (alpha + beta))]
    if isinstance(reading.plan, Missing):
        return (name, sizes, *exponents, "none", "none", "none")
    plan = reading.plan
    best = wording.with_interval(plan.n, wording.count)
    tokens = wording.with_interval(plan.d, wording.count)
    return (name, sizes, *exponents, best, tokens, wording.decimals(plan.loss.mid))


def conventions_table(evidence: Evidence) -> Block:
    """The best size under every count of parameters and compute that the runs carry."""
    found = evidence.conventions
    if isinstance(found, Missing):
        return Refusal(wording.refusal("the other ways of counting", found.reason))
    given = wording.count_name(found.given)
    rows = [
        (
            wording.count_name(row.n_convention),
            wording.cost_name(row.c_convention),
            *(
                ("none",) * 4
                if row.a is None
                else (
                    _with_ends(row.a, wording.decimals),
                    _with_ends(row.n, wording.count),
                    _with_ends(row.d, wording.count),
                    _with_ends(row.n_as_given, wording.count),
                )
            ),
        )
        for row in found.rows
    ]
    head = ("N counted as", "C as", "a", "best N (90 %)", "best D (90 %)", f"that N as {given}")
    moved = ""
    if math.isfinite(found.movement):
        moved = f" Counted alike, the best size moves by a factor of {found.movement:.3g}."
    return Table(
        f"Every way of counting these runs, at {wording.flops(found.flops)} FLOPs",
        head,
        tuple(rows),
        "A best size in another count is another number even where it is the same model; the last "
        f"column says it in one count.{moved}",
    )


def _with_ends(found: Interval | None, write: Callable[[float], str]) -> str:
    if found is None:
        return "none"
    low, mid, high = (float(end) for end in found)
    return f"{write(mid)} ({wording.span(low, high, write)})"


def forecast_table(evidence: Evidence) -> Table:
    """Every forecast and its outcome."""
    rows = [
        (
            outcome.forecast.name,
            wording.count(outcome.forecast.n),
            wording.count(outcome.forecast.d),
            wording.flops(outcome.forecast.c),
            wording.with_interval(outcome.forecast, wording.decimals),
            _measured(outcome),
            "inside" if outcome.hit else "outside",
        )
        for outcome in evidence.outcomes
    ]
    rows += [
        (
            forecast.name,
            wording.count(forecast.n),
            wording.count(forecast.d),
            wording.flops(forecast.c),
            wording.with_interval(forecast, wording.decimals),
            "not yet run",
            "",
        )
        for forecast in evidence.pending
    ]
    return Table(
        "Forecasts and outcomes",
        ("run", "N", "D", "FLOPs", "forecast loss (90 %)", "measured", ""),
        tuple(rows),
    )


def _measured(outcome: Outcome) -> str:
    text = wording.decimals(outcome.loss)
    return f"{text} (se {wording.decimals(outcome.se)})" if outcome.se > 0 else text


def paper_citations() -> tuple[str, ...]:
    """The papers a report compares with."""
    sources = (published.KAPLAN_2020, published.HOFFMANN_2022, published.BESIROGLU_2024)
    return tuple(source.citation for source in sources)
