"""Squared gradient norms along runs, from records or a table, and the noise scale of a stretch.

A record has them as its noise lines. A table of your own has the columns sq_small, sq_big, small
and big, a row for each measurement, and if you like step, tokens and run. The noise scale moves
while a run trains, more than tenfold as a rule: that of a whole run is a mean over its steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isoloss.errors import InputError
from isoloss.noise import NoiseScale, noise_scale
from isoloss.runs.cells import RawTable, listed, to_number
from isoloss.runs.reading import read_table
from isoloss.runs.record import Run, parse_record
from isoloss.runs.spec import RunSpec
from isoloss.runs.stored import is_record, stored_records
from isoloss.units import plural

Array = npt.NDArray[np.float64]

_NORMS = ("small", "big", "sq_small", "sq_big")
_OTHERS = ("step", "tokens", "run")
_FEWEST = 16
"""Measurements in a window: of fewer the interval is in doubt."""


@dataclass(frozen=True, eq=False)
class NoiseSeries:
    """The measurements of one run; every array is (m,), by rising step.

    run: its name. step: updates, or the number of the row where a table does not say. tokens: seen,
    NaN where it does not say. small, big: sizes; sq_small, sq_big: squared norms. unit: of the
    sizes, "tokens" from a record, "" where only you know. tokens_per_sequence: NaN if not known.
    """

    run: str
    step: Array
    tokens: Array
    small: Array
    big: Array
    sq_small: Array
    sq_big: Array
    unit: str = ""
    tokens_per_sequence: float = np.nan

    def __len__(self) -> int:
        return int(self.step.size)


@dataclass(frozen=True)
class NoiseWindow:
    """The noise scale over a stretch of a run: from its first to its last step and tokens."""

    steps: tuple[float, float]
    tokens: tuple[float, float]
    scale: NoiseScale


def noise_along(
    series: NoiseSeries, windows: int = 1, *, level: float = 0.9
) -> tuple[NoiseWindow, ...]:
    """Measure the noise scale over stretches of a run, each of about as many measurements.

    windows: how many, fewer where one would have less than 16 measurements. level: of intervals.
    Returns them by rising step. Raises InputError as `noise_scale`.
    """
    if windows < 1:
        raise InputError(f"windows is {windows}; at least one is needed")
    count = max(1, min(windows, len(series) // _FEWEST))
    return tuple(
        NoiseWindow(
            (float(series.step[rows[0]]), float(series.step[rows[-1]])),
            (float(series.tokens[rows[0]]), float(series.tokens[rows[-1]])),
            noise_scale(
                series.sq_small[rows],
                series.sq_big[rows],
                small=series.small[rows],
                big=series.big[rows],
                level=level,
            ),
        )
        for rows in np.array_split(np.arange(len(series)), count)
    )


def read_noise(
    path: str | Path, *, columns: Mapping[str, str] | None = None
) -> tuple[tuple[NoiseSeries, ...], tuple[str, ...]]:
    """Read the squared norms of a record, a folder or zip of records, or a table.

    columns: of a table, what its columns are called, by the names above.
    Returns the runs that have any, and notes on what was left out.
    Raises InputError, with file and row, for what is none of these, has no squared norms, or has
    sizes that are not 0 < small < big.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a run record, a folder or a table")
    if path.is_dir() or path.suffix.lower() == ".zip":
        records, left = stored_records(path)
        return _of_records(records, path, left, columns)
    if path.suffix.lower() == ".jsonl":
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if is_record(content):
            return _of_records([parse_record(content, path)], path, [], columns)
    return _of_table(read_table(path), columns or {})


def check_noise(spec: RunSpec, every: int) -> None:
    """Raise InputError unless the noise scale of a run can be measured at every so many steps."""
    if isinstance(every, bool) or not isinstance(every, int) or every < 0:
        raise InputError(
            f"noise_every= (--noise-every) is {every!r}; give a number of steps, 0 for never"
        )
    if every and spec.batch == spec.shape.n_ctx:
        raise InputError(
            f"run {spec.run_id} has batches of one sequence: nothing smaller is there to measure "
            "the noise scale by; give it a larger batch, or leave out noise_every= (--noise-every)"
        )


def _of_records(
    records: Sequence[Run], path: Path, notes: list[str], columns: Mapping[str, str] | None
) -> tuple[tuple[NoiseSeries, ...], tuple[str, ...]]:
    if columns:
        raise InputError(f"{path}: holds run records; columns= (--columns) is for tables")
    measured = [run for run in records if run.noise]
    if not measured:
        raise InputError(
            f"{path}: no run has noise lines; measure while it trains with noise_every= "
            "(--noise-every 10)"
        )
    if without := len(records) - len(measured):
        notes.append(f"{without} of {plural(len(records), 'run')} have no noise lines")
    measured.sort(key=lambda run: run.run_id)
    return _found(path.name, [_of_record(run, notes) for run in measured], notes)


def _of_record(run: Run, notes: list[str]) -> NoiseSeries | None:
    table = {
        name: np.array([getattr(line, name) for line in run.noise], dtype=np.float64)
        for name in ("step", "tokens", *_NORMS)
    }
    for row, (small, big) in enumerate(zip(table["small"], table["big"], strict=True)):
        if not 0 < small < big < np.inf:
            raise InputError(
                f"{run.run_id}: the noise line of step {table['step'][row]:.0f} has the sizes "
                f"{small:g} and {big:g}; they are 0 < small < big"
            )
    shape = run.spec.get("shape")
    context = shape.get("n_ctx") if isinstance(shape, Mapping) else None
    length = float(context) if isinstance(context, int) and context > 0 else np.nan
    return _usable(run.run_id, table, notes, unit="tokens", tokens_per_sequence=length)


def _of_table(
    raw: RawTable, given: Mapping[str, str]
) -> tuple[tuple[NoiseSeries, ...], tuple[str, ...]]:
    if unknown := sorted(given.keys() - {*_NORMS, *_OTHERS}):
        raise InputError(
            f"columns= (--columns) names {listed(unknown, 4)}; use {', '.join((*_NORMS, *_OTHERS))}"
        )
    there = {name.strip().lower(): name for name in raw.columns}
    names = {name: given.get(name, there.get(name)) for name in (*_NORMS, *_OTHERS)}
    lost = [name for name in given.values() if name not in raw.columns]
    missing = lost or [name for name in _NORMS if names[name] is None]
    if missing:
        raise InputError(
            f"{raw.source}: no column {', '.join(missing)}; a table of squared norms has "
            f"{', '.join(_NORMS)}, or --columns small=NAME,... says what they are called"
        )
    if not len(raw):
        raise InputError(f"{raw.source}: has no rows")
    table = {
        name: _numbers(raw, name, column)
        for name in (*_NORMS, "step", "tokens")
        if (column := names[name]) is not None
    }
    for row in np.flatnonzero(~((table["small"] > 0) & (table["small"] < table["big"]))):
        raise InputError(
            f"{raw.where(int(row))}: small is {table['small'][row]:g} and big "
            f"{table['big'][row]:g}; they are sizes, 0 < small < big"
        )
    for name in ("sq_small", "sq_big"):
        for row in np.flatnonzero(table[name] < 0):
            raise InputError(
                f"{raw.where(int(row))}: {name} is {table[name][row]:g}; a squared norm is never "
                "below 0"
            )
    of = names["run"]
    runs = [raw.source] * len(raw) if of is None else [str(name) for name in raw.columns[of]]
    notes: list[str] = []
    series = []
    for name in dict.fromkeys(runs):
        rows = np.array(runs) == name
        part = {key: column[rows] for key, column in table.items()}
        part.setdefault("step", np.arange(1.0, rows.sum() + 1))
        part.setdefault("tokens", np.full(int(rows.sum()), np.nan))
        series.append(_usable(name, part, notes))
    return _found(raw.source, series, notes)


def _numbers(raw: RawTable, name: str, column: str) -> Array:
    found = np.full(len(raw), np.nan)
    for row, cell in enumerate(raw.columns[column]):
        value = to_number(cell)
        if value is None or (name not in ("sq_small", "sq_big") and not np.isfinite(value)):
            raise InputError(f"{raw.where(row)}: {name} is {cell!r}; it must be a number")
        found[row] = value
    return found


def _usable(
    name: str,
    table: Mapping[str, Array],
    notes: list[str],
    *,
    unit: str = "",
    tokens_per_sequence: float = np.nan,
) -> NoiseSeries | None:
    """The measurements with finite norms, by rising step; None if there are none."""
    good = np.isfinite(table["sq_small"]) & np.isfinite(table["sq_big"])
    if lost := int((~good).sum()):
        notes.append(f"{name}: {plural(lost, 'measurement')} without finite squared norms left out")
    if not good.any():
        return None
    order = np.flatnonzero(good)[np.argsort(table["step"][good], kind="stable")]
    columns = {key: column[order] for key, column in table.items()}
    return NoiseSeries(name, **columns, unit=unit, tokens_per_sequence=tokens_per_sequence)


def _found(
    source: str, series: Sequence[NoiseSeries | None], notes: Sequence[str]
) -> tuple[tuple[NoiseSeries, ...], tuple[str, ...]]:
    found = tuple(one for one in series if one is not None)
    if not found:
        raise InputError(f"{source}: no measurement has finite squared norms; measure again")
    return found, tuple(notes)
