"""`isoloss tune`: the best rate of each model of a sweep, the loss there, and what papers say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from isoloss.cli.options import Count, Json, Level, Reading, Seed, enough
from isoloss.cli.output import doubts, emit_json, plain, say, show, table
from isoloss.cli.replacing import check_output, is_figure, is_optima
from isoloss.errors import InputError
from isoloss.units import format_number, percent, plural

if TYPE_CHECKING:
    from isoloss.fitting import Configuration, RuleCheck, Tuning, TuningLaw

_MOST_ROWS = 20


def tune(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    *,
    factors: Annotated[
        str | None, Parameter(help="What was swept: lr,batch,weight_decay; found without it.")
    ] = None,
    draws: Annotated[Count, Parameter(help="Draws behind the intervals.")] = 1000,
    level: Level = 0.9,
    seed: Seed = 0,
    out: Annotated[
        Path | None, Parameter(help="Write the losses at the optimum, a table to fit, to this CSV.")
    ] = None,
    figure: Annotated[
        Path | None, Parameter(help="Draw loss against rate to this SVG, PNG or PDF.")
    ] = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Find the best learning rate of each model in a sweep, and the loss there.

    Arms are runs of one n and d that differ in rate (and batch, weight decay).
    Exit code 3 if the runs do not identify any optimum, saying which arms would.
    """
    from isoloss.fitting import tune as find

    for path, kind in ((out, is_optima), (figure, is_figure)):
        if path is not None:
            check_output(path, runs, kind)
    if out is not None and not out.suffix.lower().endswith("csv"):
        raise InputError(f"{out}: the table is written as CSV; give a name that ends in .csv")
    enough(draws, level)
    names = None if factors is None else [name.strip() for name in factors.split(",")]
    found = find(
        (reading or Reading()).read(runs),
        factors=names,
        level=level,
        draws=draws,
        seed=seed,
    )
    for note in found.notes:
        say(f"note: {note}")
    found.check()
    if out is not None:
        _write(found, out)
    if figure is not None:
        from isoloss.figures import save_figure, tuning_curves

        save_figure(tuning_curves(found), figure)
        say(f"drawn to {figure}")
    if json:
        emit_json({**plain(found), "undertuned": int(found.undertuned.sum())})
        return
    show(_optima(found), *_lines(found), _rules(found.rules), *_marks(found.rules))


def _write(found: Tuning, out: Path) -> None:
    from isoloss.runs import write_runs

    best = found.best_runs()
    write_runs(best, out)
    say(f"losses at the optimum of {plural(len(best), 'model')} written to {out}")


def _optima(found: Tuning) -> object:
    every = found.configurations
    places = np.linspace(0, len(every) - 1, min(len(every), _MOST_ROWS)).astype(int)
    others = [name for name in found.factors if name != "lr"]
    columns = [">n", ">d", ">arms", ">best lr", ">interval"]
    columns += [f">best {name.replace('weight_decay', 'wd')}" for name in others]
    return table(
        *columns,
        ">loss there",
        ">sd",
        ">lowest",
        rows=[_row(every[place], others) for place in places],
        title=f"{plural(len(every), 'model')}, {sum(one.arms for one in every)} arms, swept: "
        f"{', '.join(found.factors)}"
        + (f" ({len(places)} shown)" if len(places) < len(every) else ""),
    )


def _row(one: Configuration, others: list[str]) -> list[str]:
    low, mid, high = one.lr
    return [
        format_number(one.n),
        format_number(one.d),
        f"{one.arms}*" if one.status else f"{one.arms} ",
        _number(mid),
        f"{low / mid - 1:+.0%} {high / mid - 1:+.0%}" if np.isfinite(mid) else "-",
        *(_number(getattr(one, name)[1]) for name in others),
        _number(one.loss, 4),
        _number(one.sd, 2),
        _number(one.grid_loss, 4),
    ]


def _lines(found: Tuning) -> list[str]:
    flagged = [one for one in found.configurations if one.status]
    lines = [
        f"{percent(found.level)} intervals; noise of a run {found.noise:.2%} of its loss; "
        "lowest: the best arm; "
        f"n counted as {found.runs.n_convention}, loss in {found.runs.loss_unit}"
    ]
    if flagged:
        first = flagged[0]
        lines.append(
            f"* undertuned: {len(flagged)} of {plural(len(found.configurations), 'model')}; "
            f"the first: "
            f"{first.reason}; {first.mend}"
        )
    for law in (found.lr_law, found.batch_law):
        if law is not None:
            lines.append(_law(law))
    if found.lr_law is None:
        lines.append("no law of the rate: too few models with a known optimum, or all alike")
    return [*lines, *doubts(found.status, found.findings), ""]


def _law(law: TuningLaw) -> str:
    powers = " ".join(f"{name}^{power:.3f}" for name, power in law.exponents.items())
    ends = ", ".join(
        f"{low:.3f} to {high:.3f} ({name})"
        for name, (low, _, high) in law.exponent_intervals.items()
    )
    return (
        f"{law.setting} = {law.coefficient:.4g} {powers}; exponents {ends}; "
        f"{law.optima} optima scatter by {law.scatter:.0%} about it"
    )


def _rules(rules: tuple[RuleCheck, ...]) -> object:
    return table(
        "rule",
        ">asks from",
        ">to",
        ">yours / its",
        ">models in its range",
        "unit",
        rows=[
            (
                check.rule.name,
                _number(check.low),
                _number(check.high),
                _number(check.ratio, 3),
                f"{check.share_inside:.0%}" + ("" if check.share_inside == 1 else " !"),
                "tokens" if check.rule.gives == "batch" else "",
            )
            for check in rules
        ],
        title="What published rules ask for the same models",
    )


def _marks(rules: tuple[RuleCheck, ...]) -> list[str]:
    marks = []
    outside = [check.rule.name for check in rules if check.share_inside < 1]
    if outside:
        marks.append(
            f"! outside the range measured for some of these models: {'; '.join(outside)}; "
            "there a rule is a guess"
        )
    notes = dict.fromkeys(check.note for check in rules if check.note)
    return [*marks, *(f"counted otherwise: {note}" for note in notes)]


def _number(value: float, digits: int = 3) -> str:
    if not np.isfinite(value):
        return "-"
    return format_number(value, digits) if value >= 1e3 else f"{value:.{digits}g}"
