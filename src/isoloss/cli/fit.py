"""`isoloss fit`: a law through your runs, with an interval for every coefficient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from cyclopts import Parameter, validators

from isoloss.cli.options import (
    AnyForm,
    Delta,
    Estimating,
    Json,
    Level,
    Number,
    Reading,
    Residual,
    Seed,
    Whole,
    enough,
    law_of,
)
from isoloss.cli.output import (
    doubts,
    emit_json,
    plain,
    say,
    say_long,
    show,
    table,
    write_json,
)
from isoloss.cli.replacing import check_output, is_fit
from isoloss.cli.views import approaches_view, conventions_view
from isoloss.errors import UsageError
from isoloss.units import format_number, percent

if TYPE_CHECKING:
    from isoloss.fitting import Fit
    from isoloss.trust import Draws, Interval


def fit(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    *,
    form: Annotated[
        Literal[AnyForm, "critical-batch"], Parameter(help="The law to fit.")
    ] = "chinchilla",
    x: Annotated[
        Literal["n", "d", "c"] | None, Parameter(help="The variable of a law of one variable.")
    ] = None,
    residual: Residual = "log",
    delta: Delta = 1e-3,
    draws: Annotated[
        Whole,
        Parameter(
            help="Resamplings for the intervals; 0 for none.", validator=validators.Number(gte=0)
        ),
    ] = 1000,
    level: Level = 0.9,
    seed: Seed = 0,
    approaches: Annotated[
        bool,
        Parameter(
            name="--all",
            show_default=False,
            help="Chinchilla's three approaches side by side, at --flops.",
        ),
    ] = False,
    conventions: Annotated[
        bool,
        Parameter(show_default=False, help="The best size under every way of counting the runs."),
    ] = False,
    flops: Annotated[
        Number | None, Parameter(help="Budget of --all and --conventions; 10x the largest run.")
    ] = None,
    targets: Annotated[
        str | None, Parameter(help="Losses of critical-batch, in nats: 3.2,3.0; five without it.")
    ] = None,
    figure: Annotated[
        Path | None, Parameter(help="Draw steps against batch, of critical-batch, to this SVG.")
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="Write the result as JSON to this file too.")
    ] = None,
    estimating: Annotated[Estimating | None, Parameter(name="*")] = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> int:
    """Fit a law to runs.

    chinchilla: E + A/n^alpha + B/d^beta. kaplan-nd: ((Nc/n)^(alpha_n/alpha_d) + Dc/d)^alpha_d.
    power: (xc/x)^alpha. saturating-power: E + A/x^alpha; these and m3, m4, broken-power need --x.
    kaplan-ns needs --critical-batch, and data-constrained its base law held by --fix.
    critical-batch: b_star/loss^(1/alpha_b) of B_crit, by the curves of runs of several batches.
    --all and --conventions print the best n and d at a budget instead of the coefficients.
    Exit code 3 if the runs do not identify the answer, saying which runs would.
    """
    from isoloss.fitting import fit as fit_law

    if approaches and conventions:
        raise UsageError("--all and --conventions are two views; ask for one at a time")

    if out is not None:
        check_output(out, runs, is_fit)
    if flops is not None and not (approaches or conventions):
        raise UsageError("--flops belongs to --all and --conventions; isoloss plan spends a budget")
    chosen = estimating or Estimating()
    if approaches or conventions or form == "critical-batch":
        views = "--all and --conventions fit in the plain way"
        why = "critical-batch has a way of its own" if form == "critical-batch" else views
        _refuse(x, residual, delta, draws, chosen, why)
    if form == "critical-batch":
        from isoloss.cli.critical_batch import fit_critical_batch

        if approaches or conventions:
            raise UsageError("critical-batch shares out no compute; leave out --all, --conventions")
        return fit_critical_batch(
            runs, reading, targets=targets, level=level, figure=figure, out=out, json=json
        )
    for option, value in (("--targets", targets), ("--figure", figure)):
        if value is not None:
            raise UsageError(f"{option} belongs to --form critical-batch; leave it out")
    if draws:
        enough(draws, level)
    table_of_runs = (reading or Reading()).read(runs)
    say_long(len(table_of_runs), draws)
    if approaches or conventions:
        view = (approaches_view if approaches else conventions_view)(
            table_of_runs, law_of(form), flops, level, draws, seed
        )
        _leave(view.content, view.parts, out, json)
        return view.code
    found = fit_law(
        law_of(form),
        table_of_runs,
        x=x,
        residual=residual,
        delta=delta if delta else None,
        fixed=chosen.fixed(),
        asymmetry=chosen.asymmetry,
        given=chosen.given(),
    ).check()
    resampled = None
    if draws:
        from isoloss.trust import bootstrap

        resampled = bootstrap(found, draws=draws, seed=seed)
    intervals = {} if resampled is None else coefficient_intervals(resampled, level)
    parts = (_coefficients(found, intervals, level), *_outside(found, intervals), *_lines(found))
    content = _content(found, resampled, intervals, level, whole=out is not None)
    _leave(content, parts, out, json)
    return 0


def _content(
    found: Fit,
    resampled: Draws | None,
    intervals: dict[str, Interval],
    level: float,
    *,
    whole: bool,
) -> dict[str, object]:
    """The fit as JSON; whole: with what `isoloss track` doubts the law by, which no one reads."""
    content = {
        **plain(found),
        "level": level,
        "draws": 0 if resampled is None else resampled.asked,
        "failed": 0 if resampled is None else resampled.failed,
        "intervals": plain(intervals),
    }
    if whole:
        from isoloss.trust import FittedLaw

        content |= FittedLaw.of(found if resampled is None else resampled).to_dict()
    return content


def _refuse(
    x: str | None, residual: str, delta: float, draws: int, chosen: Estimating, why: str
) -> None:
    """Refuse what --all, --conventions and critical-batch would leave aside."""
    asked = {
        "--x": x is not None,
        "--residual": residual != "log",
        "--delta": delta != 1e-3,
        "--fix": chosen.fix is not None,
        "--asymmetry": chosen.asymmetry != 1.0,
        "--draws 0": draws == 0,
        "--critical-batch": chosen.critical_batch is not None,
    }
    for option, given in asked.items():
        if given:
            raise UsageError(f"{why}; leave out {option}")


def _leave(content: object, parts: Sequence[object], out: Path | None, json: bool) -> None:
    """Write the result to the file asked for, and print it."""
    if out is not None:
        write_json(out, content)
        say(f"written to {out}")
    if json:
        emit_json(content)
    else:
        show(*parts)


def coefficient_intervals(draws: Draws, level: float) -> dict[str, Interval]:
    """Return an interval for each coefficient of the law, infinite where the runs set no end."""
    from isoloss.trust.limits import coefficient_interval

    names = draws.fit.law.coefficients()
    return {name: coefficient_interval(draws, name, level) for name in names}


def _coefficients(found: Fit, intervals: dict[str, Interval], level: float) -> object:
    rows = []
    for name, value in found.coefficients.items():
        row = [name, f"{float(value):.5g}"]
        if name in intervals:
            low, _, high = (float(end) for end in intervals[name])
            row.append(_span_of(low, high))
        rows.append(row)
    columns = ["", ">value", *([f"{percent(level)} interval"] if intervals else [])]
    title = f"{found.form.__name__} through {len(found.runs)} runs"
    return table(*columns, rows=rows, title=title)


def _span_of(low: float, high: float) -> str:
    if not (math.isfinite(low) or math.isfinite(high)):
        return "not bounded"
    ends = (f"{end:.5g}" if math.isfinite(end) else "not bounded" for end in (low, high))
    return " to ".join(ends)


def _outside(found: Fit, intervals: dict[str, Interval]) -> list[str]:
    """Say which values lie outside their intervals, and why they may."""
    names = [
        name
        for name, (low, _, high) in intervals.items()
        if not float(low) <= found.coefficients[name] <= float(high)
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)}: outside the interval, which is that of the robust fit (delta 1.345 "
        "times the residuals' scale), not of the one asked for; where they differ so, doubt both"
    ]


def _lines(found: Fit) -> list[str]:
    runs = found.runs
    size = np.abs(np.asarray(found.residuals))
    worst = int(size.argmax())
    return [
        f"objective {found.objective:.6e}; residuals: median {np.median(size):.2%}, largest "
        f"{size[worst]:.2%} (run {runs.run[worst]})",
        f"n counted as {runs.n_convention}, {_span(runs.n)}; d {_span(runs.d)}; "
        f"c as {runs.c_convention}, {_span(runs.c)}; loss in {runs.loss_unit}, {_span(runs.loss)}",
        *doubts(found.status, found.findings),
    ]


def _span(values: object) -> str:
    array = np.asarray(values)
    return f"{format_number(float(array.min()))} to {format_number(float(array.max()))}"
