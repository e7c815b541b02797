"""Learning rates from a tuned sweep: tuned once for each size, and used by every sweep after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from isoloss.counting import COUNT_CONVENTIONS, Shape, count_params
from isoloss.errors import InputError
from isoloss.runs.rate_rules import FORCE_IT
from isoloss.runs.reading import read_runs
from isoloss.runs.table import Runs
from isoloss.units import format_number


def tuned_rates(path: Path) -> Callable[..., float]:
    """Return the rule that a tuned sweep makes: rate(shape, tokens, force=False).

    path: the table of best runs that `isoloss tune --out` writes, or any other with n, d and lr.
    The rule is ln lr = a + p ln n + q ln d by least squares, over as many of n and d as the sweep
    varies apart; it holds between the least and the largest n and d, to within a percent.
    Raises InputError if the table has no rates or does not say how it counts n; from the rule, for
    a model outside its range.
    """
    runs = read_runs(path)
    if runs.lr is None or not np.isfinite(runs.lr).any():
        raise InputError(f"{path}: has no column lr; write it with `isoloss tune RUNS --out`")
    if runs.n_convention not in COUNT_CONVENTIONS:
        raise InputError(
            f"{path}: does not say how n is counted; add a column n_convention with one of "
            f"{', '.join(COUNT_CONVENTIONS)}"
        )
    return _law_of(runs[np.isfinite(runs.lr)], path)


def _law_of(runs: Runs, path: Path) -> Callable[..., float]:
    assert runs.lr is not None
    values = np.log(np.stack([runs.n, runs.d]))
    centre = values.mean(axis=1, keepdims=True)
    spread = values - centre
    # Directions in which the sweep does not vary say nothing, and are left flat.
    powers = np.linalg.pinv(spread.T, rcond=1e-3) @ (np.log(runs.lr) - np.log(runs.lr).mean())
    middle = float(np.log(runs.lr).mean())

    def rate(shape: Shape, tokens: float, *, force: bool = False) -> float:
        n = float(count_params(shape, runs.n_convention))  # type: ignore[arg-type]
        for value, column, what in ((n, runs.n, "parameters"), (tokens, runs.d, "tokens")):
            low, high = float(column.min()), float(column.max())
            if not (force or low / 1.01 <= value <= high * 1.01):
                raise InputError(
                    f"lr_from is {path.name}: refused at {format_number(value)} {what}, tuned from "
                    f"{format_number(low)} to {format_number(high)}; {FORCE_IT}"
                )
        at = np.log([n, tokens]) - centre[:, 0]
        return math.exp(middle + float(powers @ at))

    return rate
