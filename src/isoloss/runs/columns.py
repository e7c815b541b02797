"""From a table of raw columns to the fields of `Runs`: which column is what, and in which unit.

Nothing is guessed in silence. Where two columns could play one role the order of `aliases.py`
decides and a note says so; where a unit cannot be decided from the values (a batch that may be
sequences) the column is left out with a note; where n, d or the loss cannot be had, or a row of
them is missing, the table is refused with the row, the field and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from isoloss.counting import COUNT_CONVENTIONS, FLOP_CONVENTIONS
from isoloss.errors import InputError
from isoloss.runs import aliases
from isoloss.runs.batches import infer_batch
from isoloss.runs.cells import RawTable, is_missing, rule, sensible, to_number
from isoloss.runs.loss_units import in_bits
from isoloss.runs.roles import Reading, start
from isoloss.units import LN2

FloatArray = npt.NDArray[np.float64]

LOSS_UNITS = ("nats", "bits", "bits per byte", "perplexity")
"""What a loss column may be in; bits and perplexity are converted to nats, bits per byte kept."""

_NEEDED = "every run has parameters and tokens, even for a law of one variable: add {}, or "
_LEAST = 1e3
"""A table whose largest model or data set has fewer parameters or tokens is in another unit."""


@np.errstate(all="ignore")  # what comes out absurd is refused by its row
def table_fields(
    raw: RawTable,
    *,
    columns: Mapping[str, str | None] | None = None,
    drop_invalid: bool = False,
    n_convention: str | None = None,
    n: str | None = None,
    c: str | None = None,
    loss_unit: str | None = None,
) -> dict[str, Any]:
    """Return the fields of `Runs` that a table holds (arguments as in `read_runs`).

    Raises InputError if n, d or the loss cannot be found, or a row of them is unusable.
    """
    reading = start(raw, columns or {})
    alive = _alive(reading)
    loss, unit, converted = _loss(reading, loss_unit)
    sizes, counts, n_tag = _sizes(reading, n, n_convention)
    compute, costs, c_tag = _compute(reading, c)
    tokens = _tokens(reading, sizes, compute)
    if sizes is None:
        sizes = _derived_sizes(reading, tokens, compute)
    keep = _usable(reading, {"n": sizes, "d": tokens, "loss": loss}, alive, drop_invalid)
    if compute is not None and not _good(compute[keep]).all():
        reading.notes.append("c is taken as 6 n d: the compute column has gaps")
        compute, c_tag = None, ""
    if compute is not None and c_tag in ("", "reported"):
        same = np.allclose(compute[keep], 6.0 * (sizes * tokens)[keep], rtol=1e-6, atol=0.0)
        c_tag = "6nd" if same else "reported"
    _note_units(reading, sizes[keep], tokens[keep], None if compute is None else compute[keep])
    steps = reading.optional("steps")
    fields: dict[str, Any] = {
        "n": sizes,
        "d": tokens,
        "loss": loss,
        "c": compute,
        "batch": _batch(reading, tokens, steps, keep),
        "steps": steps,
        "lr": reading.optional("lr"),
        "weight_decay": reading.optional("weight_decay"),
        "sd": None if converted else _sd(reading),
        "seed": reading.optional("seed"),
        "unique_tokens": _unique(reading, tokens),
        "run": _run_names(reading),
        "group": reading.texts("group") if reading.pick("group") else reading.data_sets(),
    }
    for others in (counts, costs):
        for name in [name for name, value in others.items() if not _good(value[keep]).all()]:
            del others[name]
            reading.notes.append(f"the count {name} is left out: its column has gaps")
    kept = {name: value[keep] for name, value in fields.items() if value is not None}
    _note_rows(reading, keep, kept)
    return {
        **kept,
        "n_convention": n_tag,
        "c_convention": c_tag,
        "counts": {key: value[keep] for key, value in counts.items()},
        "costs": {key: value[keep] for key, value in costs.items()},
        "loss_unit": unit,
        "source": raw.source,
        "notes": tuple(dict.fromkeys(reading.notes)),
    }


def _alive(reading: Reading) -> npt.NDArray[np.bool_]:
    """Return which rows are results: not those whose state says failed or running."""
    column = reading.pick("state")
    if column is None:
        return np.ones(len(reading.raw), dtype=bool)
    states = [str(value).strip().lower() for value in reading.raw.columns[column]]
    alive = np.array([state not in aliases.FAILED for state in states])
    if not alive.all():
        words = sorted({state for state in states if state in aliases.FAILED})
        reading.notes.append(
            f"{int((~alive).sum())} of {alive.size} rows are left out: "
            f"{column} is {' or '.join(words)}"
        )
    if not alive.any():
        raise InputError(f"{reading.raw.source}: every run is {' or '.join(sorted(set(states)))}")
    return alive


def _loss(reading: Reading, asked: str | None) -> tuple[FloatArray, str, bool]:
    """Return the loss, its unit, and whether it was converted."""
    column = reading.pick("loss")
    if column is None:
        raise reading.missing("loss", "the loss")
    reading.note_rivals("loss")
    values = reading.numbers(column)
    unit = asked or reading.constant("loss_unit")
    if unit is None and aliases.is_perplexity(column):
        unit = "perplexity"
    if unit is None and aliases.is_bits_per_byte(column):
        unit = "bits per byte"
        reading.notes.append(
            f"loss is {column!r}, in bits per byte: compare it with no law in nats per token"
        )
    if unit is None and in_bits(reading, values):
        raise InputError(
            f"{reading.raw.source}: {column!r} is bits per token by the columns beside it; "
            'say loss_unit="bits" (--loss-unit bits)'
        )
    unit = unit or "nats"
    if unit not in LOSS_UNITS:
        raise InputError(
            f"loss_unit= (--loss-unit) is {unit!r}; use one of {', '.join(LOSS_UNITS)}"
        )
    if aliases.is_training_loss(column):
        reading.notes.append(f"loss is {column!r}, on the training text: no other loss is there")
    if unit == "perplexity":
        values = np.log(values)
        reading.notes.append(f"loss is the logarithm of the perplexity {column!r}")
        return values, "nats", True
    if unit == "bits":
        reading.notes.append(f"loss {column!r} is converted from bits to nats")
        return values * LN2, "nats", True
    return values, unit, False


def _sizes(
    reading: Reading, wanted: str | None, tag: str | None
) -> tuple[FloatArray | None, dict[str, FloatArray], str]:
    """Return n, the other counts by convention, and the convention of n."""
    counts: dict[str, FloatArray] = {}
    for known in COUNT_CONVENTIONS:
        column = reading.pick(known)
        if column is not None:
            counts[known] = reading.numbers(column)
    matrices, head = reading.pick("non_embedding"), "params_lm_head"
    if "non_embedding_plus_head" not in counts and matrices and head in reading.filled:
        counts["non_embedding_plus_head"] = reading.numbers(matrices) + reading.numbers(head)
        reading.notes.append(f"non_embedding_plus_head is {matrices!r} + {head!r}")
    tag = tag or reading.constant("n_convention") or ""
    column = reading.pick("n")
    if column is not None:
        reading.note_rivals("n")
        plain = reading.numbers(column)
        same = [key for key, value in counts.items() if _agree(plain, value)]
        tag = tag or (same[0] if same else "unknown")
        if wanted in (None, tag):
            return plain, counts, tag
        counts.setdefault(tag, plain)
    if wanted is not None and counts:
        if wanted not in counts:
            raise InputError(
                f"{reading.raw.source}: n is not counted as {wanted!r} there; "
                f"it is counted as {', '.join(counts)}; n_convention= (--n-convention) says how "
                "the plain column is"
            )
        return counts[wanted], counts, wanted
    order = (tag, "non_embedding_plus_head", "total", "non_embedding", "active")
    for convention in order:
        if convention in counts:
            reading.notes.append(f"n is counted as {convention}")
            return counts[convention], counts, convention
    return None, counts, tag or "unknown"


def _compute(
    reading: Reading, wanted: str | None
) -> tuple[FloatArray | None, dict[str, FloatArray], str]:
    """Return c (None for 6 n d), the other costs by convention, and the convention of c."""
    costs: dict[str, FloatArray] = {}
    for known in (*FLOP_CONVENTIONS, "reported"):
        column = reading.pick(known)
        if column is not None:
            costs[known] = reading.numbers(column)
    column = reading.pick("c")
    if column is not None:
        reading.note_rivals("c", scaled=True)
        values = reading.numbers(column) * aliases.scale_of(column)
        if aliases.is_planned(column):
            reading.notes.append(f"c is {column!r}, the compute planned, not measured")
        tag = reading.constant("c_convention") or ""
        if wanted in (None, tag) or (wanted == "reported" and not tag):
            return values, costs, tag
        costs.setdefault(tag or "reported", values)
    if wanted == "6nd" and "6nd" not in costs:
        return None, costs, ""
    if wanted is not None:
        if wanted not in costs:
            raise InputError(
                f"{reading.raw.source}: c is not counted as {wanted!r} there; "
                f"it is counted as {', '.join((*costs, '6nd'))}"
            )
        return costs[wanted], costs, wanted
    for convention in ("reported", "exact", "6nd", "chinchilla", "kaplan"):
        if convention in costs:
            return costs[convention], costs, convention
    return None, costs, ""


def _tokens(reading: Reading, sizes: FloatArray | None, compute: FloatArray | None) -> FloatArray:
    """Return d: its column, or steps * batch, or epochs * their tokens, or c / (6 n)."""
    column = reading.pick("d")
    if column is not None:
        reading.note_rivals("d")
        return reading.numbers(column)
    steps, batch = reading.optional("steps"), reading.optional("batch")
    if steps is not None and batch is not None:
        reading.notes.append("d is derived as steps * batch: the table has no token count")
        return steps * batch
    epochs, once = reading.optional("epochs"), reading.optional("unique_tokens")
    if epochs is not None and once is not None:
        reading.notes.append("d is derived as epochs * tokens per epoch")
        return epochs * once
    if sizes is None:
        one = "both" if compute is None else "the parameters or the tokens"
        raise reading.missing("n", "n, the parameters, nor for d", _NEEDED.format(one))
    if compute is None:
        raise reading.missing(
            "d", "d, the training tokens", _NEEDED.format("the tokens or the FLOPs")
        )
    reading.notes.append("d is derived as c / (6 n): the table has no token count")
    return compute / (6.0 * sizes)


def _derived_sizes(reading: Reading, tokens: FloatArray, compute: FloatArray | None) -> FloatArray:
    if compute is None:
        raise reading.missing(
            "n", "n, the parameters", _NEEDED.format("the parameters or the FLOPs")
        )
    reading.notes.append("n is derived as c / (6 d): the table has no parameter count")
    return compute / (6.0 * tokens)


def _usable(
    reading: Reading,
    wanted: Mapping[str, FloatArray],
    alive: npt.NDArray[np.bool_],
    drop_invalid: bool,
) -> npt.NDArray[np.bool_]:
    """Return the rows whose n, d and loss are all positive and finite; refuse or count others."""
    keep = alive.copy()
    for values in wanted.values():
        keep &= sensible(values)
    bad = alive & ~keep
    if bad.any() and not drop_invalid:
        row = int(np.argmax(bad))
        name = next(name for name, values in wanted.items() if not sensible(values)[row])
        raise InputError(
            f"{reading.raw.where(row)}: {name} {_complaint(reading, name, row, wanted[name])}; "
            f"{int(bad.sum())} of {bad.size} rows are unusable: mend them, or leave them out with "
            "drop_invalid=True (--drop-invalid)"
        )
    if bad.any():
        counts = {name: int((alive & ~sensible(values)).sum()) for name, values in wanted.items()}
        counted = [f"{name} in {count}" for name, count in counts.items() if count]
        reading.notes.append(
            f"{int(bad.sum())} of {bad.size} rows are dropped as unusable ({', '.join(counted)})"
        )
    if not keep.any():
        raise InputError(f"{reading.raw.source}: no row has a usable n, d and loss")
    return keep


def _complaint(reading: Reading, name: str, row: int, values: FloatArray) -> str:
    column = reading.pick(name)
    value = reading.raw.columns[column][row] if column is not None else values[row]
    number = to_number(value)
    # A sensible one is not to blame: the value was derived from it, or taken from another column.
    if number is not None and sensible(np.array(number)):
        column, value = None, values[row]
    place = f" (column {column!r})" if column is not None and column != name else ""
    if is_missing(value):
        return f"is missing{place}"
    if number is None:
        return f"is {value!r}{place}, which is not a number"
    return f"is {value}{place}; {rule(float(values[row]))}"


def _batch(
    reading: Reading,
    tokens: FloatArray,
    steps: FloatArray | None,
    keep: npt.NDArray[np.bool_],
) -> FloatArray | None:
    in_tokens = reading.optional("batch")
    if in_tokens is not None or "batch" in reading.named:
        return in_tokens
    context = reading.optional("n_ctx")
    for role in ("batch_sequences", "batch_either"):
        values = reading.optional(role)
        if values is not None:
            unit = "sequences" if role == "batch_sequences" else "either"
            batch, note = infer_batch(values, tokens, steps, context, keep, unit)
            reading.notes.append(f"column {reading.pick(role)!r} {note}")
            return batch
    return None


def _sd(reading: Reading) -> FloatArray | None:
    values = reading.optional("sd")
    if values is not None:
        return values
    low, high = (
        [name for name in reading.filled if aliases.plain(name).endswith(f"_{side}_95")]
        for side in ("lower", "upper")
    )
    if len(low) == len(high) == 1:
        reading.notes.append(f"sd is ({high[0]!r} - {low[0]!r}) / 3.92, a 95 % interval's")
        return (reading.numbers(high[0]) - reading.numbers(low[0])) / (2 * 1.959963984540054)
    return None


def _unique(reading: Reading, tokens: FloatArray) -> FloatArray | None:
    values = reading.optional("unique_tokens")
    return None if values is None else np.minimum(values, tokens)


def _run_names(reading: Reading) -> npt.NDArray[np.str_]:
    names = reading.texts("run")
    plain = np.array([str(row + 1) for row in range(len(reading.raw))])
    if names is None:
        return plain
    return np.where(names == "", np.char.add("row ", plain), names)


def _note_units(reading: Reading, n: FloatArray, d: FloatArray, c: FloatArray | None) -> None:
    """Note what looks like millions, billions or PF-days where single units are meant."""
    for name, values, unit in (("n", n, "parameters"), ("d", d, "tokens")):
        if values.max() < _LEAST:
            reading.notes.append(
                f"{name} is at most {values.max():g} {unit}: write millions as 7M, not as 7"
            )
    ratio = 1.0 if c is None else float(np.median(c / (6.0 * n * d)))
    if not 1e-3 < ratio < 1e3:
        reading.notes.append(
            f"c is {ratio:.3g} times 6 n d: give c in FLOPs, n in parameters and d in tokens"
        )


def _note_rows(
    reading: Reading, keep: npt.NDArray[np.bool_], kept: Mapping[str, npt.NDArray[Any]]
) -> None:
    shared = kept["run"].size - np.unique(kept["run"]).size
    if shared:
        reading.notes.append(
            f"{kept['run'].size} rows hold {kept['run'].size - shared} run names: "
            "rows of one name are resampled together"
        )
    for name in reading.filled:
        if aliases.plain(name) == "portion_steps_elapsed":
            early = int((reading.numbers(name)[keep] < 0.999).sum())
            if early:
                reading.notes.append(f"{early} rows are before the end of their run ({name} < 1)")


def _good(values: FloatArray) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(values) & (values > 0))


def _agree(a: FloatArray, b: FloatArray) -> bool:
    return bool(np.allclose(a, b, rtol=1e-9, atol=0.0, equal_nan=True))
