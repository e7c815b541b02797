"""`isoloss backtest`: would this law have predicted your larger runs from your smaller ones?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from isoloss.cli.options import Form, Json, Number, Reading, Seed, law_of
from isoloss.cli.output import emit_json, show, table
from isoloss.cli.output import plain as as_plain
from isoloss.errors import InputError
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.trust import RollingBacktest


def backtest(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    *,
    form: Annotated[Form, Parameter(help="The law to fit.")] = "chinchilla",
    x: Annotated[
        Literal["n", "d", "c"] | None, Parameter(help="The variable of a law of one variable.")
    ] = None,
    cutoff: Annotated[
        Number | None, Parameter(help="Fit runs up to this many FLOPs; chosen without it.")
    ] = None,
    draws: Annotated[int, Parameter(help="Resamplings behind the intervals.")] = 400,
    level: Annotated[float, Parameter(help="Level of the intervals.")] = 0.9,
    seed: Seed = 0,
    plain: Annotated[
        bool, Parameter(help="Leave the forecast model out: intervals without misfit.")
    ] = False,
    rolling: Annotated[
        bool, Parameter(help="Several cut-offs, and the errors by decade beyond them.")
    ] = False,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Fit the cheap runs, predict the expensive ones.

    The runs above the cutoff are not used in the fit, so their errors are those of a forecast.
    Coverage is the share of them inside their intervals; the score is the mean interval score of
    log loss, lower the better.
    """
    from isoloss.trust import backtest as test
    from isoloss.trust import rolling_backtest

    table_of_runs = (reading or Reading()).read(runs)
    how: dict[str, Any] = {
        "x": x, "level": level, "draws": draws, "seed": seed,
        "forecast": "plain" if plain else None,
    }  # fmt: skip
    if rolling:
        if cutoff is not None:
            raise InputError("--rolling chooses its cut-offs: leave out --cutoff")
        _show_rolling(rolling_backtest(law_of(form), table_of_runs, **how), json)
        return
    found = test(law_of(form), table_of_runs, cutoff=cutoff, **how)
    if json:
        measures = ("median_error", "bias", "coverage", "score", "decades")
        emit_json({**as_plain(found), **{name: getattr(found, name) for name in measures}})
        return
    held = found.test
    order = np.argsort(held.c, kind="stable")
    shown = order if len(order) <= 20 else order[np.linspace(0, len(order) - 1, 20).astype(int)]
    show(
        table(
            "run",
            ">n",
            ">c",
            ">loss",
            ">predicted",
            ">low",
            ">high",
            ">error",
            rows=[
                (
                    _short(str(held.run[i])),
                    format_number(held.n[i]),
                    f"{held.c[i]:.2e}",
                    f"{held.loss[i]:.4f}",
                    f"{found.predicted[i]:.4f}",
                    f"{found.low[i]:.4f}",
                    f"{found.high[i]:.4f}",
                    f"{found.error[i]:+.2%}",
                )
                for i in shown
            ],
            title=f"{law_of(form).__name__} through {len(found.train)} runs up to "
            f"{found.cutoff:.3g} FLOPs, {len(held)} runs predicted",
        ),
        f"median error {found.median_error:.2%}, bias {found.bias:+.2%}, "
        f"{found.coverage:.0%} inside their intervals, up to {found.decades:.2f} decades beyond; "
        f"score {found.score:.4f}; forecasts by the {_method(found.method)}",
    )


def _method(name: str) -> str:
    return "law alone" if name == "plain" else name


def _show_rolling(found: RollingBacktest, json: bool) -> None:
    reaches = found.by_reach()
    cutoffs = [test.cutoff for test in found.tests]
    if json:
        content = {"form": found.form.__name__, "cutoffs": cutoffs, "score": found.score}
        emit_json({**content, "reaches": as_plain(reaches), "left_out": found.left_out})
        return
    rows = [
        (
            f"{reach.low:g}x - {reach.high:g}x", str(reach.runs), f"{reach.median_error:.2%}",
            f"{reach.bias:+.2%}", f"{reach.coverage:.0%}", f"{reach.score:.4f}",
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
    )  # fmt: skip


def _short(name: str) -> str:
    """A run's name at no more than 20 letters, its ends kept: they tell runs apart."""
    return name if len(name) <= 20 else f"{name[:9]}..{name[-9:]}"
