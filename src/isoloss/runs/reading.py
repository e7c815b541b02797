"""Tables of runs from anywhere: CSV, TSV, JSON, JSON lines, Parquet, or the records of a sweep.

`read_runs` looks at the name of what it is given and nothing else decides the form. Nothing is
ever unpickled or executed. What was assumed or left out is said in `Runs.notes`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoloss.errors import InputError
from isoloss.files import write_whole
from isoloss.runs.cells import RawTable
from isoloss.runs.columns import table_fields
from isoloss.runs.evaluations import evaluation_fields
from isoloss.runs.record import Run, parse_record
from isoloss.runs.spec import RunSpec
from isoloss.runs.stored import is_record, stored_records
from isoloss.runs.table import Runs
from isoloss.runs.transfer import on_corpus
from isoloss.runs.trunks import trunk_of
from isoloss.units import plural

_TEXT = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_PICKLES = {".pkl", ".pickle", ".pt", ".pth"}
_FORMS = (
    ".csv, .tsv, .jsonl, .json (each also .gz), .parquet, a folder of records, or a .zip of them"
)


def read_runs(
    path: str | Path,
    *,
    columns: Mapping[str, str | None] | None = None,
    drop_invalid: bool = False,
    n_convention: str | None = None,
    n: str | None = None,
    c: str | None = None,
    loss_unit: str | None = None,
    on: str | None = None,
    evaluations: bool = False,
) -> Runs:
    """Read a table of runs from a file, or from run records in a folder or a zip.

    columns: role to column name, for names we do not know (`{"loss": "my metric"}`) or that could
    be two things; None as the name leaves a role out. Roles: n, d, c, loss, batch (tokens),
    batch_sequences, n_ctx, steps, lr, weight_decay, sd, seed, unique_tokens, run, group, state, and
    the counts and costs by convention (total, 6nd, ...).
    drop_invalid: leave out rows whose n, d or loss is unusable, counted in the notes.
    n_convention: how the table's n was counted. n, c: which count and cost to use where there are
    several; by default non_embedding_plus_head and exact for records, the plain columns for tables.
    loss_unit: nats, bits, bits per byte or perplexity, where the column's name does not say.
    on: of records, one of their eval_corpora, whose losses the table then has.
    evaluations: of a table, that its rows are points of learning curves: a batch counts tokens
    unless the table says sequences, d may be missing beside it, and n where all are of one size.
    From records come the finished runs, at their final loss, with their evaluations as `curves`.
    Raises InputError naming file, row and field.
    """
    path = Path(path)
    options: dict[str, Any] = {
        "columns": columns,
        "drop_invalid": drop_invalid,
        "n_convention": n_convention,
        "n": n,
        "c": c,
        "loss_unit": loss_unit,
    }
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give {_FORMS}")
    if path.is_dir() or path.suffix.lower() == ".zip":
        if columns or loss_unit not in (None, "nats"):
            raise InputError(
                f"{path}: holds run records; columns= (--columns) and loss_unit= "
                "(--loss-unit) are for tables"
            )
        records, notes = stored_records(path)
        if on is not None:
            records = [on_corpus(run, on) if run.spec else run for run in records]
            notes.append(f"losses are those on {on!r}, which the runs were not trained on")
        return _from_records(records, _source(path), n or n_convention, c, notes)
    form, packed = _form(path)
    if on is not None:
        raise InputError(f"{path}: on= is for a folder of run records; leave it out")
    fields = evaluation_fields if evaluations else table_fields
    if form in _PARQUET:
        return Runs(**fields(_read_parquet(path), **options))
    text = _read_text(path, packed)
    if form in (".jsonl", ".ndjson") and is_record(text.partition("\n")[0].encode()):
        return _from_records([parse_record(text.encode(), path)], _source(path), n, c, [])
    return Runs(**fields(_parse(form, text, _source(path)), **options))


def read_table(path: str | Path) -> RawTable:
    """Read the columns of a table as they are, whatever they hold; InputError where it is none."""
    path = Path(path)
    form, packed = _form(path)
    if form in _PARQUET:
        return _read_parquet(path)
    return _parse(form, _read_text(path, packed), _source(path))


def write_runs(runs: Runs, path: str | Path) -> None:
    """Write a table as CSV, in the columns of `Runs.columns()`, which `read_runs` reads back.

    Numbers keep every digit; missing ones are empty. Curves are not written. The file appears
    whole or not at all.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: runs are written as CSV; give a name that ends in .csv")
    table = runs.columns()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(
        zip(*([_cell(v) for v in col.tolist()] for col in table.values()), strict=True)
    )
    write_whole(path, text.getvalue())


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _source(path: Path) -> str:
    # Reports and forecasts carry the source on: a folder of the machine is nobody's business.
    return path.name if path.is_absolute() else str(path)


def _form(path: Path) -> tuple[str, bool]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    form = (suffixes[-2:-1] if packed else suffixes[-1:]) or [""]
    if _PICKLES & set(suffixes):
        raise InputError(
            f"{path}: a pickle can run any code, so none is read; "
            "save the table as CSV or Parquet (in pandas: frame.to_csv(...))"
        )
    if form[0] not in _TEXT and (packed or form[0] not in _PARQUET):
        raise InputError(f"{path}: not a form of table that is read; give {_FORMS}")
    return form[0], packed


def _read_text(path: Path, packed: bool) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if packed else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _parse(form: str, text: str, source: str) -> RawTable:
    if form in (".csv", ".tsv"):
        return _parse_csv(text, source, "\t" if form == ".tsv" else None)
    return _parse_json(text, source) if form == ".json" else _parse_json_lines(text, source)


def _parse_csv(text: str, source: str, delimiter: str | None) -> RawTable:
    first = text.split("\n", 1)[0]
    if delimiter is None:
        delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                continue
            if len(cells) > len(header) and any(cells[len(header) :]):
                raise InputError(
                    f"{source}, line {reader.line_num}: {len(cells)} values under "
                    f"{len(header)} columns"
                )
            rows.append((cells + [""] * len(header))[: len(header)])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: {error}") from None
    if not header:
        raise InputError(f"{source}: is empty; give a header line and a line for each run")
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise InputError(f"{source}: column {twice[0]!r} is there twice; rename one")
    table = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return RawTable(table, source, tuple(lines))


def _parse_json_lines(text: str, source: str) -> RawTable:
    rows: list[Mapping[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{source}, line {number}: not an object of column names and values")
        rows.append(row)
        lines.append(number)
    return RawTable(_columns_of(rows), source, tuple(lines))


def _parse_json(text: str, source: str) -> RawTable:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON ({error})") from None
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return RawTable(_columns_of(data), source)
    if isinstance(data, dict) and data and all(isinstance(v, list) for v in data.values()):
        if len({len(values) for values in data.values()}) > 1:
            raise InputError(f"{source}: its columns differ in length")
        return RawTable(data, source)
    raise InputError(f"{source}: give a list of runs, each an object of column names and values")


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path) -> RawTable:
    try:
        import polars
    except ImportError:
        raise InputError(
            f"{path}: reading Parquet needs polars: pip install 'isoloss[tables]'"
        ) from None
    try:
        frame = polars.read_parquet(path)
    except (OSError, polars.exceptions.PolarsError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from None
    return RawTable(frame.to_dict(as_series=False), _source(path))


def _from_records(
    records: Iterable[Run], source: str, n: str | None, c: str | None, notes: list[str]
) -> Runs:
    records = _without_trunks(sorted(records, key=lambda run: run.run_id), notes)
    finished = [run for run in records if run.finished and run.end is not None]
    diverged = [run.run_id for run in records if run.diverged]
    unfinished = len(records) - len(finished) - len(diverged)
    if diverged:
        notes.append(
            f"{len(diverged)} of {len(records)} runs diverged and are left out: "
            f"{', '.join(diverged[:4])}{' ...' if len(diverged) > 4 else ''}"
        )
    if unfinished:
        notes.append(f"{unfinished} of {len(records)} runs are unfinished and are left out")
    if not finished:
        raise InputError(
            f"{source}: none of its {len(records)} runs is finished ({len(diverged)} diverged); "
            "run the sweep again to go on"
        )
    corpora = sorted({f"{run.corpus.get('name')} {run.corpus.get('hash')}" for run in finished})
    if len(corpora) > 1:
        notes.append(f"the runs are on {len(corpora)} corpora, whose losses do not compare")
    n, c = n or "non_embedding_plus_head", c or "exact"
    _say_what_was_paid(finished, notes)
    for what, wanted, known in (("n", n, finished[0].n), ("c", c, finished[0].flops_per_token)):
        if wanted not in known:
            raise InputError(
                f"{source}: {what} is not counted as {wanted!r} in records; "
                f"use one of {', '.join(known)}"
            )
    for run in finished:
        for what in ("n", "flops_per_token"):
            if getattr(run, what).keys() != getattr(finished[0], what).keys():
                raise InputError(
                    f"{source}: the record {run.run_id} counts {what!r} in other ways than "
                    f"{finished[0].run_id}; leave one of them out"
                )
    ends = [(run, r.tokens, r.loss, r.step) for run in finished if (r := run.end)]
    points = [
        (run, p.tokens, p.loss, p.step)
        for run in finished
        for p in run.points
        if p.tokens > 0 and np.isfinite(p.loss) and p.loss > 0
    ]
    curves = _table(points, source, n, c) if points else None
    specs = _specs(finished, notes)
    return _table(ends, source, n, c).replace(notes=tuple(notes), curves=curves, specs=specs)


def _without_trunks(records: list[Run], notes: list[str]) -> list[Run]:
    """The records but for the trunks of others, whose rate was never lowered."""
    trunks = set()
    for run in records:
        if run.spec.get("trunk"):
            with contextlib.suppress(InputError):  # of a newer isoloss: a note says so below
                trunks.add(trunk_of(RunSpec.from_dict(run.spec)).run_id)
    found = [run.run_id for run in records if run.run_id in trunks]
    if found:
        notes.append(
            f"{len(found)} of {len(records)} runs are trunks that others leave to cool down, and "
            f"are left out: {', '.join(found[:4])}{' ...' if len(found) > 4 else ''}"
        )
    return [run for run in records if run.run_id not in trunks]


def _say_what_was_paid(finished: list[Run], notes: list[str]) -> None:
    halved = [run for run in finished if run.spec.get("patience")]
    early = [run for run in halved if run.end is not None and run.end.last]
    if early:
        seen = sum(run.flops_per_token["exact"] * run.end.tokens for run in early if run.end)
        paid = sum(run.flops_per_token["exact"] * run.tokens_paid for run in early)
        notes.append(
            f"{plural(len(early), 'run')} went on past the best state, whose loss, tokens and "
            f"FLOPs are given: {seen:.3g} FLOPs in all, of {paid:.3g} done"
        )
    if 0 < len(halved) < len(finished):
        notes.append(
            f"{len(halved)} of {len(finished)} runs have patience: their losses are on half of the "
            "held-out text, those of the others on all of it"
        )
    branches = [run for run in finished if run.end is not None and run.end.start]
    if branches:
        seen = sum(run.flops_per_token["exact"] * run.end.tokens for run in branches if run.end)
        paid = sum(run.flops_per_token["exact"] * run.tokens_paid for run in branches)
        notes.append(
            f"{len(branches)} runs left a trunk: their tokens and FLOPs are counted from the "
            f"start, {seen:.3g} FLOPs, of which they did {paid:.3g} themselves"
        )


def _specs(records: Iterable[Run], notes: list[str]) -> dict[str, RunSpec]:
    """The specs of the runs, less those that say what is not known, which a note names."""
    found: dict[str, RunSpec] = {}
    for run in records:
        try:
            found[run.run_id] = RunSpec.from_dict(run.spec)
        except InputError as error:
            notes.append(f"the spec of record {run.run_id} is left out: {error}")
    return found


def _table(rows: Sequence[tuple[Run, int, float, int]], source: str, n: str, c: str) -> Runs:
    """Build a table with one row per (run, tokens, loss, step).

    `sd` stays empty: all runs share the held-out documents, so a record's standard error over
    documents is common to them and no noise of a run.
    """
    runs = [row[0] for row in rows]
    tokens = np.array([row[1] for row in rows], dtype=np.float64)
    counts = {key: np.array([run.n[key] for run in runs], dtype=np.float64) for key in runs[0].n}
    costs = {
        key: np.array([run.flops_per_token[key] for run in runs]) * tokens
        for key in runs[0].flops_per_token
    }
    texts = [run.corpus.get("subset") or run.corpus for run in runs]
    unique = [float(text.get("tokens") or np.nan) for text in texts]
    return Runs(
        n=counts[n],
        d=tokens,
        loss=np.array([row[2] for row in rows]),
        c=costs[c],
        batch=np.array([run.spec["batch"] for run in runs], dtype=np.float64),
        steps=np.array([row[3] for row in rows], dtype=np.float64),
        lr=np.array([run.spec["lr"] for run in runs], dtype=np.float64),
        weight_decay=np.array([run.spec.get("weight_decay", np.nan) for run in runs]),
        seed=np.array([run.spec["seed"] for run in runs], dtype=np.float64),
        unique_tokens=np.fmin(unique, tokens),
        run=np.array([run.run_id for run in runs]),
        group=np.array([run.group for run in runs]),
        n_convention=n,
        c_convention=c,
        counts=counts,
        costs=costs,
        source=source,
    )
