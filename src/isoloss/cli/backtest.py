"""`isoloss backtest`: would this law have predicted your larger runs from your smaller ones?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from isoloss.cli.options import (
    AnyForm,
    Count,
    Delta,
    Estimating,
    Json,
    Level,
    Number,
    Reading,
    Residual,
    Seed,
    enough,
    law_of,
)
from isoloss.cli.output import doubts, emit_json, say_long, show, table
from isoloss.cli.output import plain as as_plain
from isoloss.errors import UsageError
from isoloss.units import percent, plural

if TYPE_CHECKING:
    from isoloss.trust import Backtest, RollingBacktest

_MOST_ROWS = 20


def backtest(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    *,
    form: Annotated[AnyForm, Parameter(help="The law to fit.")] = "chinchilla",
    x: Annotated[
        Literal["n", "d", "c"] | None, Parameter(help="The variable of a law of one variable.")
    ] = None,
    residual: Residual = "log",
    delta: Delta = 1e-3,
    cutoff: Annotated[
        Number | None, Parameter(help="Fit runs up to this many FLOPs; chosen without it.")
    ] = None,
    draws: Annotated[Count, Parameter(help="Resamplings behind the intervals.")] = 400,
    level: Level = 0.9,
    seed: Seed = 0,
    plain: Annotated[
        bool, Parameter(help="Leave the forecast model out: intervals without misfit.")
    ] = False,
    rolling: Annotated[
        bool, Parameter(help="Several cut-offs, and the errors by decade beyond them.")
    ] = False,
    estimating: Annotated[Estimating | None, Parameter(name="*")] = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Fit the cheap runs, predict the expensive ones.

    The runs above the cutoff are not used in the fit, so their errors are those of a forecast:
    predicted / observed - 1, as a share of the loss. Coverage is the share of runs inside their
    intervals; the score is the mean interval score of log loss, lower the better.
    Exit code 3 if all runs, or those below every cutoff, do not identify the law.
    """
    from isoloss.trust import backtest as test
    from isoloss.trust import rolling_backtest

    if rolling and cutoff is not None:
        raise UsageError("--rolling chooses its cut-offs: leave out --cutoff")
    enough(draws, level)
    chosen = estimating or Estimating()
    table_of_runs = (reading or Reading()).read(runs)
    how: dict[str, Any] = {
        "x": x, "residual": residual, "delta": delta if delta else None, "fixed": chosen.fixed(),
        "asymmetry": chosen.asymmetry, "given": chosen.given(), "level": level, "draws": draws,
        "seed": seed, "forecast": "plain" if plain else None,
    }  # fmt: skip
    say_long(len(table_of_runs), draws)
    if rolling:
        _show_rolling(rolling_backtest(law_of(form), table_of_runs, **how), json)
        return
    found = test(law_of(form), table_of_runs, cutoff=cutoff, **how)
    if json:
        measures = ("median_error", "bias", "coverage", "score", "decades")
        emit_json({**as_plain(found), **{name: getattr(found, name) for name in measures}})
        return
    show(
        *_runs(found),
        f"median error {_share(found.median_error, '')}, bias {_share(found.bias)}, "
        f"{found.coverage:.0%} inside their intervals, up to {found.decades:.2f} decades beyond; "
        f"score {found.score:.4f}; forecasts by the {_method(found.method)}",
        *_doubts(found),
    )


def _runs(found: Backtest) -> list[object]:
    """The runs predicted, or of many some, and which."""
    held = found.test
    order = np.argsort(held.c, kind="stable")
    shown = order
    if len(order) > _MOST_ROWS:
        shown = order[np.linspace(0, len(order) - 1, _MOST_ROWS).astype(int)]
    rows = [
        (
            _short(str(held.run[i])),
            f"{held.c[i]:.2e}".replace("e+", "e"),
            _loss(held.loss[i]),
            _loss(found.predicted[i]),
            f"{_loss(found.low[i])} - {_loss(found.high[i])}",
            _share(found.error[i]),
        )
        for i in shown
    ]
    interval = f">{percent(found.level)} interval"
    made = table(
        "run", ">c", ">loss", ">predicted", interval, ">error",
        rows=rows, title=f"{found.form.__name__} through {len(found.train)} runs up to "
        f"{found.cutoff:.3g} FLOPs, {plural(len(held), 'run')} predicted",
    )  # fmt: skip
    if len(shown) == len(order):
        return [made]
    return [made, f"{len(shown)} of {len(order)} runs, evenly by compute"]


def _doubts(found: Backtest) -> list[str]:
    """What all runs are doubted for, and what only those below the cut are."""
    below = [code for code in found.fit.status if code not in found.status]
    seen = [one for one in found.fit.findings if one.code in below]
    return [
        *doubts(found.status, found.findings),
        *(f"below the cut, {line}" for line in doubts(below, seen)),
    ]


def _loss(value: float) -> str:
    return f"{value:#.5g}".rstrip(".")


def _share(value: float, sign: str = "+") -> str:
    return f"{value:{sign}.2%}" if abs(value) < 10 else f"{value:{sign}.0%}"


def _method(name: str) -> str:
    return "law alone" if name == "plain" else name


def _show_rolling(found: RollingBacktest, json: bool) -> None:
    reaches = found.by_reach()
    cutoffs = [test.cutoff for test in found.tests]
    if json:
        emit_json({
            "form": found.form, "cutoffs": cutoffs, "score": found.score, "reaches": reaches,
            "left_out": found.left_out, "status": found.status, "findings": found.findings,
        })  # fmt: skip
        return
    rows = [
        (
            f"{reach.low:g}x - {reach.high:g}x", str(reach.runs), _share(reach.median_error, ""),
            _share(reach.bias), f"{reach.coverage:.0%}", f"{reach.score:.4f}",
        )
        for reach in reaches
    ]  # fmt: skip
    cuts = ", ".join(f"{cutoff:.3g}" for cutoff in cutoffs)
    show(
        table(
            "beyond the cut", ">forecasts", ">median error", ">bias", ">inside", ">score",
            rows=rows, title=f"{found.form.__name__}, cut at {cuts} FLOPs",
        ),
        f"score {found.score:.4f}; forecasts by the {_method(found.tests[0].method)}",
        *(f"left out: {reason}" for reason in found.left_out),
        *doubts(found.status, found.findings),
    )  # fmt: skip


def _short(name: str) -> str:
    """A run's name at no more than 16 letters, its ends kept: they tell runs apart."""
    return name if len(name) <= 16 else f"{name[:7]}..{name[-7:]}"
