"""`isoloss backtest`: would this law have predicted your larger runs from your smaller ones?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from isoloss.cli.options import Form, Json, Number, Reading, law_of
from isoloss.cli.output import emit_json, plain, show, table
from isoloss.units import format_number


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
    seed: Annotated[int, Parameter(help="Seed of the resampling.")] = 0,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Fit the cheap runs, predict the expensive ones.

    The runs above the cutoff are not used in the fit, so their errors are those of a forecast.
    Coverage, the share of them inside their intervals, falls below the level where the law misfits.
    """
    from isoloss.trust import backtest as test

    found = test(
        law_of(form),
        (reading or Reading()).read(runs),
        x=x,
        cutoff=cutoff,
        level=level,
        draws=draws,
        seed=seed,
    )
    if json:
        measures = ("median_error", "bias", "coverage", "decades")
        emit_json({**plain(found), **{name: getattr(found, name) for name in measures}})
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
        f"{found.coverage:.0%} inside their intervals, up to {found.decades:.2f} decades beyond",
    )


def _short(name: str) -> str:
    """A run's name at no more than 20 letters, its ends kept: they tell runs apart."""
    return name if len(name) <= 20 else f"{name[:9]}..{name[-9:]}"
