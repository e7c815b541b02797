"""Tables of learning curves, a row for each evaluation: a batch counts tokens, n may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isoloss.counting import COUNT_CONVENTIONS, FLOP_CONVENTIONS
from isoloss.runs.batches import infer_batch
from isoloss.runs.cells import RawTable
from isoloss.runs.columns import table_fields
from isoloss.runs.roles import Reading, start

_BATCH, _SIZE = "(tokens per step)", "(one size)"
"""The columns that are put beside those of the table."""


def evaluation_fields(
    raw: RawTable, *, columns: Mapping[str, str | None] | None = None, **options: Any
) -> dict[str, Any]:
    """Return the fields of `Runs` of a table that needs no more than run, steps, batch and loss.

    A batch of which nothing says tokens or sequences counts tokens per step; d is steps * batch
    where there is no column of it; without n and FLOPs all runs are of one size, n = 1.
    Arguments and errors as in `table_fields`.
    """
    named = dict(columns or {})
    reading = start(raw, named)
    added: dict[str, list[object]] = {}
    notes = []
    batch = _batch(reading)
    if batch is not None:
        added[_BATCH], note = batch
        named["batch"] = _BATCH
        notes.append(note)
    sizes = ("n", "c", "reported", *COUNT_CONVENTIONS, *FLOP_CONVENTIONS)
    alone = not any(reading.pick(role) for role in sizes)
    if alone:
        added[_SIZE] = [1.0] * len(raw)
        named["n"] = _SIZE
        notes.append("no column for n: all runs are taken as models of one size")
    whole = RawTable({**raw.columns, **added}, raw.source, raw.lines)
    fields = table_fields(whole, columns=named, **options)
    said = [note for note in fields["notes"] if not (alone and note.startswith("n is at most"))]
    return {**fields, "notes": (*notes, *said)}


def _batch(reading: Reading) -> tuple[list[object], str] | None:
    """A column that may be tokens or sequences, in tokens, and a note; None if there is none."""
    if "batch" in reading.named or reading.pick("batch") or reading.pick("batch_sequences"):
        return None
    values = reading.optional("batch_either")
    if values is None:
        return None
    tokens, steps = reading.optional("d"), reading.optional("steps")
    if tokens is None:  # then steps say nothing of it
        tokens, steps = np.ones_like(values), None
    found, note = infer_batch(
        values, tokens, steps, reading.optional("n_ctx"), np.isfinite(tokens), "either"
    )
    if found is None:
        found, note = values, "is taken as tokens per step"
    return found.tolist(), f"column {reading.pick('batch_either')!r} {note}"
