"""What is wrong with the runs of a sweep: what any table shows, odd rates, arms off their bowl."""

from __future__ import annotations

import numpy as np

from isoloss.errors import Status, UnidentifiedError
from isoloss.fitting.inspection import farthest_usual
from isoloss.fitting.runs_inspection import Finding, inspect_runs
from isoloss.fitting.tuning.arms import Arms
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.units import format_number

RATES = (1e-7, 1.0)
"""Learning rates outside these are odd: small models ask for 0.1 to 0.2, and Adam for no more."""


def refuse_flat(arms: tuple[Arms, ...]) -> None:
    """Raise UnidentifiedError if no model's loss changes with its settings."""
    swept = [one for one in arms if len(one.y) > 1]
    if swept and not any(float(np.ptp(one.y)) > 0 for one in swept):
        raise UnidentifiedError(
            "no loss changes with the settings swept, so none of them is best; check the loss "
            "column, or take rates further apart"
        )


def inspect_sweep(
    runs: Runs, arms: tuple[Arms, ...], misfits: list[Array], noise: float
) -> tuple[Finding, ...]:
    """Find what can be seen to be wrong with the runs of a sweep.

    arms: the models whose bowl was fitted. misfits: log observed - log fitted of their near arms,
    one (r,) each. noise: relative sd of one run's loss.
    """
    # Copies and losses under two rates are told apart by their settings, in notes: see `collect`.
    table = [one for one in inspect_runs(runs) if one.code is not Status.DUPLICATED_RUNS]
    found = [*table, _odd_rates(runs), _outlier(runs, arms, misfits, noise)]
    return tuple(one for one in found if one is not None)


def _odd_rates(runs: Runs) -> Finding | None:
    rates = np.asarray(runs.lr)
    known = np.isfinite(rates) & (rates > 0)
    odd = known & ((rates < RATES[0]) | (rates > RATES[1]))
    if not odd.any():
        return None
    row = int(np.argmax(np.where(odd, np.abs(np.log(np.where(known, rates, 1.0))), 0.0)))
    return Finding(
        Status.ODD_RATES,
        f"{int(odd.sum())} of {int(known.sum())} rates lie outside {RATES[0]:g} to {RATES[1]:g}, "
        f"such as {rates[row]:.3g} in run {runs.run[row]!s}",
    )


def _outlier(
    runs: Runs, arms: tuple[Arms, ...], misfits: list[Array], noise: float
) -> Finding | None:
    """The arm furthest from the bowl of its model, if it is far; such arms hardly count in it."""
    if not misfits:
        return None
    rows = np.concatenate([one.rows[one.near] for one in arms])
    away = np.concatenate(misfits)
    far = np.abs(away) > farthest_usual(noise)
    if not far.any():
        return None
    place = int(np.abs(away).argmax())
    row, worst = int(rows[place]), float(np.expm1(away[place]))
    others = f", and {int(far.sum()) - 1} more arms do so" if far.sum() > 1 else ""
    return Finding(
        Status.OUTLIER,
        f"run {runs.run[row]!s} (n {format_number(runs.n[row])}, d {format_number(runs.d[row])}, "
        f"lr {np.asarray(runs.lr)[row]:.3g}) lies {abs(worst):.0%} "
        f"{'above' if worst > 0 else 'below'} the bowl of its model, {noise:.1%} being "
        f"usual{others}",
    )
