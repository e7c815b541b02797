"""Which runs are arms of one sweep: the same model and tokens, other settings of the optimizer.

A configuration is all runs of one n and d, to within 1 %. Its arms differ in the learning rate, and
in batch or weight decay where those were swept too (the factors). What cannot be an arm is left
out and said: a run without a rate, the same run twice, one loss recorded under two rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.fitting.levels import SAME, levels
from isoloss.laws.forms import Array
from isoloss.runs import Runs

FACTORS = ("lr", "batch", "weight_decay")
"""The settings that may be swept, in the order of their coordinates."""

_REACH = np.log(5.0)
_EXACT_DIGITS = 5

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Arms:
    """The arms of one configuration: rows of the runs, (r,), and their logarithms.

    x: (r, p) ln of the factors. y: (r,) ln loss. near: (r,) which arms are near enough to the best
    one for a quadratic: within a factor of 5, and never fewer than a quadratic needs.
    """

    rows: Rows
    x: Array
    y: Array
    near: NDArray[np.bool_]

    @property
    def best(self) -> int:
        """The place in `rows` of the setting with the lowest mean loss."""
        return _best(self.x, self.y)

    @property
    def at_best(self) -> NDArray[np.bool_]:
        """(r,) whether an arm has the setting with the lowest mean loss."""
        settings = _settings(self.x)
        return np.asarray(settings == settings[self.best])

    @property
    def locates(self) -> bool:
        """Whether the arms near the best one differ in every factor, independently."""
        x = self.x[self.near]
        slopes = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
        return bool(np.linalg.matrix_rank(slopes, tol=SAME) == slopes.shape[1])

    def values(self, factor: int) -> Array:
        """The distinct values of a factor, rising, in its own unit."""
        logs = np.sort(self.x[:, factor])
        return np.asarray(np.exp(logs[np.unique(levels(logs), return_index=True)[1]]))


def swept(runs: Runs, factors: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the factors: those asked for, or lr and what half of the configurations vary too.

    Raises InputError if the runs have no learning rate, or none of a factor asked for.
    """
    if runs.lr is None or not np.any(np.isfinite(runs.lr)):
        raise InputError(
            "these runs have no learning rate: add one, or name its column with "
            'columns={"lr": "NAME"} (--columns lr=NAME)'
        )
    if not np.any(runs.lr > 0):
        raise InputError(
            f"no learning rate is above zero (the largest is {np.nanmax(runs.lr):g}); if they are "
            "logarithms, write the rates themselves"
        )
    if isinstance(factors, str):
        factors = (factors,)
    if factors is not None:
        for name in factors:
            if name not in FACTORS:
                raise InputError(f"a factor is one of {', '.join(FACTORS)}, not {name!r}")
            if getattr(runs, name) is None:
                raise InputError(f"these runs have no {name!r}, so it cannot be a factor")
        if "lr" not in factors:
            raise InputError("lr is always a factor; name it among the factors")
        return tuple(name for name in FACTORS if name in factors)
    configurations = [rows for rows in cells(runs, ("n", "d")) if len(rows) > 1]
    found = ["lr"]
    for name in FACTORS[1:]:
        column = getattr(runs, name)
        if column is None or not configurations:
            continue
        varied = [_differs(column[rows]) for rows in configurations]
        if 2 * sum(varied) >= len(varied):
            found.append(name)
    return tuple(found)


def collect(runs: Runs, factors: tuple[str, ...]) -> tuple[tuple[Arms, ...], tuple[str, ...]]:
    """Return the arms of every configuration, by rising n and d, and notes on what was left out.

    A setting that is no factor but differs within one n and d makes configurations of its own.
    """
    settings = [np.asarray(getattr(runs, name), dtype=np.float64) for name in factors]
    usable = np.all([np.isfinite(s) & (s > 0) for s in settings], axis=0)
    notes = []
    if not usable.all():
        wanted = " and ".join(factors)
        notes.append(f"{int((~usable).sum())} runs without a positive {wanted} are left out")
    if not usable.any():
        raise InputError(f"no run has a positive {' and '.join(factors)}")
    others = tuple(name for name in FACTORS if name not in factors)
    logs = np.log(np.where(usable, settings, 1.0)).T
    found, twice, unclear = [], 0, 0
    for cell in cells(runs, ("n", "d", *others)):
        rows = cell[usable[cell]]
        if not len(rows):
            continue
        kept, repeated = _once(runs, logs, rows)
        clear = kept[~_doubted(logs[kept], runs.loss[kept])]
        twice += repeated
        unclear += len(kept) - len(clear)
        if len(clear):
            x, y = logs[clear], np.log(runs.loss[clear])
            found.append(Arms(clear, x, y, _near(x, y)))
    if twice:
        notes.append(f"{twice} runs are there twice, settings and loss alike: counted once")
    if unclear:
        notes.append(
            f"{unclear} runs share their loss to the last digit with a run at other settings: one "
            "of the two is labelled wrongly, so both are left out"
        )
    if not found:
        raise InputError("no run is left to tune on: every loss is recorded under two settings")
    return tuple(found), tuple(notes)


def cells(runs: Runs, names: tuple[str, ...]) -> list[Rows]:
    """Return the rows of each combination of these columns, values within 1 % taken as one."""
    found = [np.arange(len(runs))]
    for name in names:
        column = getattr(runs, name)
        if column is None:
            continue
        logs = np.log(np.where(np.isfinite(column) & (column > 0), column, 1e-300))
        found = [part for rows in found for part in _split(rows, levels(logs[rows]))]
    return found


def _split(rows: Rows, level: Rows) -> list[Rows]:
    return [rows[level == each] for each in range(int(level.max(initial=-1)) + 1)]


def _differs(values: Array) -> bool:
    known = values[np.isfinite(values) & (values > 0)]
    return len(known) > 1 and float(np.ptp(np.log(known))) > SAME


def _once(runs: Runs, logs: Array, rows: Rows) -> tuple[Rows, int]:
    """The rows without exact repetitions, and how many those were."""
    seen: set[tuple[float, ...]] = set()
    kept = []
    for row in rows.tolist():
        key = (*logs[row].tolist(), float(runs.loss[row]))
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return np.array(kept, dtype=np.intp), len(rows) - len(kept)


def _doubted(x: Array, loss: Array) -> NDArray[np.bool_]:
    """Which arms share their loss to the last digit with an arm at another setting, by mistake.

    A loss printed to a few digits may be met twice by chance; one of many digits is not. Nor is it
    a mistake where arms mirror each other about an arm of lower loss, or about the middle of
    another such pair: losses without noise do so on a grid that is symmetric about the optimum.
    """
    _, alike, counts = np.unique(loss, return_inverse=True, return_counts=True)
    exact = np.round(loss, _EXACT_DIGITS) != loss
    groups = [
        np.flatnonzero(alike == k)
        for k in range(len(counts))
        if counts[k] > 1 and exact[alike == k].all()
    ]
    middles = [x[rows].mean(axis=0) for rows in groups]
    radii = [
        float(np.abs(x[rows] - middle).max()) for rows, middle in zip(groups, middles, strict=True)
    ]
    doubted = np.zeros(len(loss), dtype=bool)
    for k, rows in enumerate(groups):
        lower = loss < loss[rows[0]]
        about_arm = np.any(_close(x[lower], middles[k]))
        about_pair = any(
            bool(_close(middles[other], middles[k])) and abs(radii[other] - radii[k]) > SAME
            for other in range(len(groups))
        )
        doubted[rows] = not (about_arm or about_pair)
    return doubted


def _close(x: Array, middle: Array) -> NDArray[np.bool_]:
    return np.asarray(np.all(np.abs(x - middle) <= SAME, axis=-1))


def _settings(x: Array) -> Rows:
    """Number the settings (r, p), values within 1 % taken as one."""
    numbers = np.column_stack([levels(column) for column in x.T])
    return np.asarray(np.unique(numbers, axis=0, return_inverse=True)[1]).ravel()


def _best(x: Array, y: Array) -> int:
    """The place of the setting with the lowest mean loss: one lucky run does not make it."""
    settings = _settings(x)
    means = np.bincount(settings, y) / np.bincount(settings)
    return int(np.flatnonzero(settings == int(np.argmin(means)))[0])


def _near(x: Array, y: Array) -> NDArray[np.bool_]:
    far = np.max(np.abs(x - x[_best(x, y)]), axis=1)
    p = x.shape[1]
    needed = min((p + 1) * (p + 2) // 2, len(far))
    reach = max(_REACH + SAME, float(np.sort(far)[needed - 1]))
    return np.asarray(far <= reach)
