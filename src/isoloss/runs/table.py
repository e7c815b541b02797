"""Many runs as one table: the only form in which the analysis sees measurements.

A `Runs` holds one row per measured loss: parameters n, training tokens d, training compute c in
FLOPs, loss. What n and c mean is tagged, and other counts of the same runs lie beside them in
`counts` and `costs`, so that `runs.counted("total")` is the same runs counted otherwise.
Input rules are checked here once; everything downstream trusts the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from isoloss.counting import CConvention, NConvention
from isoloss.errors import InputError
from isoloss.runs.cells import FAR, RawTable, rule, sensible
from isoloss.runs.columns import LOSS_UNITS, table_fields
from isoloss.runs.spec import RunSpec
from isoloss.units import format_number

if TYPE_CHECKING:
    import polars

FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.str_]

OPTIONAL = ("batch", "steps", "lr", "weight_decay", "sd", "seed", "unique_tokens")
"""Columns that a table may lack; NaN marks a value that is missing."""


@dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """A table of runs; every array is (m,), read-only, float64 or text.

    n: parameters, counted by `n_convention`. d: training tokens seen. loss: in `loss_unit`.
    c: training FLOPs, counted by `c_convention`; left out it is 6 * n * d, tagged 6nd.
    batch: tokens per step. steps: optimizer steps. lr: peak learning rate. weight_decay. sd:
    standard deviation of the measured loss. seed. unique_tokens: distinct tokens among d.
    run: names; rows of one name are resampled together. group: labels.
    counts, costs: n and c by other conventions. source: where the rows come from. notes: what
    was assumed, derived or left out in reading them. curves: evaluations along the same runs.
    specs: what a run was to be, by its name, where it was read from a record.
    Raises InputError naming the row and field if n, d, loss or c is missing, not positive, or too
    large or small to be a measurement; naming the known ones for another convention or unit.
    """

    n: FloatArray
    d: FloatArray
    loss: FloatArray
    c: FloatArray = None  # type: ignore[assignment]  # an array after __post_init__
    batch: FloatArray | None = None
    steps: FloatArray | None = None
    lr: FloatArray | None = None
    weight_decay: FloatArray | None = None
    sd: FloatArray | None = None
    seed: FloatArray | None = None
    unique_tokens: FloatArray | None = None
    run: TextArray = None  # type: ignore[assignment]
    group: TextArray = None  # type: ignore[assignment]
    n_convention: str = "unknown"
    c_convention: str = ""
    counts: Mapping[str, FloatArray] = field(default_factory=dict)
    costs: Mapping[str, FloatArray] = field(default_factory=dict)
    loss_unit: str = "nats"
    source: str = ""
    notes: tuple[str, ...] = ()
    curves: Runs | None = None
    specs: Mapping[str, RunSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        size = np.size(self.n)
        for name in ("n", "d", "loss"):
            put(self, name, _column(getattr(self, name), name, size))
        run = [str(i) for i in range(size)] if self.run is None else self.run
        put(self, "run", _labels(run, "run", size))
        for name in ("n", "d", "loss"):
            _refuse_bad(getattr(self, name), name, self.run)
        if self.c is None:
            put(self, "c", _frozen(6.0 * self.n * self.d))
            put(self, "c_convention", "6nd")
        else:
            put(self, "c", _column(self.c, "c", size))
            put(self, "c_convention", self.c_convention or "unknown")
        _refuse_bad(self.c, "c", self.run)
        for name in OPTIONAL:
            if getattr(self, name) is not None:
                put(self, name, _column(getattr(self, name), name, size))
        group = [""] * size if self.group is None else self.group
        put(self, "group", _labels(group, "group", size))
        for name in ("counts", "costs"):
            columns = {
                key: _column(value, f"{name}[{key!r}]", size)
                for key, value in getattr(self, name).items()
            }
            put(self, name, MappingProxyType(columns))
        put(self, "notes", tuple(self.notes))
        put(self, "specs", MappingProxyType(dict(self.specs)))
        _known(self.n_convention, get_args(NConvention), "n_convention= (--n-convention)")
        _known(self.c_convention, get_args(CConvention), "c_convention")
        _known(self.loss_unit, LOSS_UNITS, "loss_unit")

    def __len__(self) -> int:
        return int(self.n.size)

    def __repr__(self) -> str:
        if not len(self):
            return "Runs(none)"
        spans = [
            f"{name} {format_number(values.min())} to {format_number(values.max())}"
            for name, values in (("n", self.n), ("d", self.d), ("c", self.c), ("loss", self.loss))
        ]
        tags = f"n {self.n_convention}, c {self.c_convention}, loss in {self.loss_unit}"
        return f"Runs({len(self)} rows: {', '.join(spans)}; {tags})"

    def __getitem__(self, rows: Any) -> Runs:
        """Return the rows of a mask, slice or index array; the curves of the runs kept stay."""
        if isinstance(rows, int | np.integer):
            rows = [rows]
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(rows, np.ndarray) and rows.size == 0:
            rows = rows.astype(np.intp)
        if isinstance(rows, np.ndarray) and rows.dtype == bool and rows.shape != self.n.shape:
            raise InputError(f"the mask has {rows.size} values for {len(self)} runs")
        changes: dict[str, Any] = {
            name: getattr(self, name)[rows]
            for name in ("n", "d", "loss", "c", "run", "group", *OPTIONAL)
            if getattr(self, name) is not None
        }
        for name in ("counts", "costs"):
            changes[name] = {key: value[rows] for key, value in getattr(self, name).items()}
        if self.curves is not None:
            changes["curves"] = self.curves[np.isin(self.curves.run, changes["run"])]
        return replace(self, **changes)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of n, d, c and loss as little-endian float64: the identity of the data."""
        digest = hashlib.sha256()
        for column in (self.n, self.d, self.c, self.loss):
            digest.update(column.astype("<f8").tobytes())
        return digest.hexdigest()

    def counted(self, convention: str, flops: str | None = None) -> Runs:
        """Return the same runs with n counted by another convention, the curves likewise.

        convention: a key of `counts` (or the present one). flops: a key of `costs`, to count c
        otherwise too; left out c stays, unless it was only 6 * n * d, which follows the new n.
        Raises InputError naming what there is if the runs are not counted that way.
        """
        n, counts = _swap(self.n, self.n_convention, self.counts, convention, "n")
        derived = self._c_is_6nd
        changes: dict[str, Any] = {"n": n, "counts": counts, "n_convention": convention}
        if flops == "6nd" and "6nd" not in self.costs and self.c_convention != "6nd":
            costs = {**self.costs, self.c_convention: self.c}
            changes |= {"c": None, "c_convention": "", "costs": costs}
        elif flops is not None and flops != self.c_convention:
            c, costs = _swap(self.c, self.c_convention, self.costs, flops, "c", keep=not derived)
            changes |= {"c": c, "costs": costs, "c_convention": flops}
        elif derived:
            changes |= {"c": None, "c_convention": ""}
        if self.curves is not None:
            changes["curves"] = self.curves.counted(convention, flops)
        return replace(self, **changes)

    def replace(self, **changes: Any) -> Runs:
        """Return a copy with fields changed; a c that was only 6 * n * d follows n and d."""
        known = [f.name for f in fields(self)]
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise InputError(f"Runs has no field {unknown[0]!r}; fields: {', '.join(known)}")
        if self._c_is_6nd and "c" not in changes and {"n", "d"} & set(changes):
            changes |= {"c": None, "c_convention": ""}
        return replace(self, **changes)

    @property
    def _c_is_6nd(self) -> bool:
        # A table may carry a 6nd cost of its own (records do: 6 * non_embedding_plus_head * d);
        # then c stays what was recorded, whatever n is now.
        return (
            self.c_convention == "6nd"
            and "6nd" not in self.costs
            and bool(np.allclose(self.c, 6.0 * self.n * self.d, rtol=1e-6, atol=0.0))
        )

    @staticmethod
    def concat(parts: Sequence[Runs]) -> Runs:
        """Return the rows of several tables as one.

        Optional columns missing from some parts are NaN there; counts and costs that not all
        parts have are left out. Where a name occurs in two parts, every name gets its part's
        number before it.
        Raises InputError if n, c or the loss are not counted the same way in all parts.
        """
        if not parts:
            raise InputError("nothing to concatenate; give at least one table of runs")
        for name, mend in (
            ("n_convention", "count them alike with .counted(...)"),
            ("c_convention", "count them alike with .counted(..., flops=...)"),
            ("loss_unit", "convert one of them"),
        ):
            found = sorted({getattr(part, name) for part in parts})
            if len(found) > 1:
                raise InputError(f"the tables differ in {name} ({', '.join(found)}); {mend}")
        prefix = _prefixes(parts)
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("n", "d", "loss", "c", "group")
        }
        columns["run"] = _named([part.run for part in parts], prefix)
        for name in OPTIONAL:
            found = [getattr(part, name) for part in parts]
            if any(one is not None for one in found):
                columns[name] = np.concatenate(
                    [
                        np.full(len(p), np.nan) if f is None else f
                        for p, f in zip(parts, found, strict=True)
                    ]
                )
        for name in ("counts", "costs"):
            maps = [getattr(part, name) for part in parts]
            shared = [key for key in maps[0] if all(key in one for one in maps)]
            columns[name] = {key: np.concatenate([one[key] for one in maps]) for key in shared}
        curves = [
            part.curves.replace(run=_named([part.curves.run], [one]))
            for part, one in zip(parts, prefix, strict=True)
            if part.curves is not None
        ]
        return Runs(
            **columns,
            n_convention=parts[0].n_convention,
            c_convention=parts[0].c_convention,
            loss_unit=parts[0].loss_unit,
            source="; ".join(dict.fromkeys(part.source for part in parts if part.source)),
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            curves=Runs.concat(curves) if curves else None,
            specs={
                f"{one}{name}": spec
                for part, one in zip(parts, prefix, strict=True)
                for name, spec in part.specs.items()
            },
        )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        columns: Mapping[str, str | None] | None = None,
        *,
        source: str = "table",
        **options: Any,
    ) -> Runs:
        """Build from any dataframe narwhals knows (pandas, polars, pyarrow, ...), or from a dict.

        columns and options as in `read_runs`; lazy frames are collected.
        Raises InputError if it is no dataframe, or as `read_runs` does.
        """
        if isinstance(frame, Mapping):
            table = {str(name): list(values) for name, values in frame.items()}
            if len({len(values) for values in table.values()}) > 1:
                raise InputError(f"{source}: its columns differ in length")
        else:
            import narwhals

            try:
                known = narwhals.from_native(frame)
            except TypeError:
                raise InputError(
                    f"{type(frame).__name__} is no dataframe; give pandas, polars, pyarrow or a "
                    "dict of columns, or a file to read_runs"
                ) from None
            eager = known.collect() if isinstance(known, narwhals.LazyFrame) else known
            table = {str(name): eager[name].to_list() for name in eager.columns}
        return cls(**table_fields(RawTable(table, source), columns=columns, **options))

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the table as named columns, as `write_runs` writes and `read_runs` reads them."""
        named: dict[str, npt.NDArray[Any] | None] = {
            "run": self.run,
            "group": self.group,
            "params": self.n,
            "tokens": self.d,
            "flops": self.c,
            "loss": self.loss,
            "loss_sd": self.sd,
            "batch_size_in_tokens": self.batch,
            "steps": self.steps,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "seed": self.seed,
            "unique_tokens": self.unique_tokens,
        }
        table = {key: value for key, value in named.items() if value is not None}
        table |= {f"params_{key}": value for key, value in self.counts.items()}
        table |= {f"flops_{key}": value for key, value in self.costs.items()}
        for name in ("n_convention", "c_convention", "loss_unit"):
            table[name] = np.full(len(self), getattr(self, name))
        return table

    def to_frame(self) -> polars.DataFrame:
        """Return the table as a polars DataFrame, one column per name of `columns()`."""
        try:
            import polars
        except ImportError:
            raise InputError("to_frame needs polars: pip install 'isoloss[tables]'") from None
        return polars.DataFrame({name: values.copy() for name, values in self.columns().items()})


def _frozen(values: FloatArray) -> FloatArray:
    values.setflags(write=False)
    return values


def _column(values: Any, name: str, size: int) -> FloatArray:
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold numbers") from None
    if column.ndim != 1 or column.size != size:
        raise InputError(f"{name} has shape {column.shape}; it must be ({size},), one per run")
    return _frozen(column)


def _labels(values: Any, name: str, size: int) -> TextArray:
    labels = np.array([str(value) for value in values], dtype=np.str_)
    if labels.size != size:
        raise InputError(f"{name} has {labels.size} values; it must have {size}, one per run")
    labels.setflags(write=False)
    return labels


def _known(value: str, known: tuple[str, ...], name: str) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}; use one of {', '.join(known)}")


def _refuse_bad(values: FloatArray, name: str, run: TextArray) -> None:
    far = FAR**2 if name == "c" else FAR
    bad = ~sensible(values, far)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"row {row} (run {str(run[row])!r}): {name} is {values[row]:g}; "
            f"{rule(float(values[row]), far)}; "
            f"{int(bad.sum())} of {values.size} rows are bad in {name}"
        )


def _swap(
    now: FloatArray,
    tag: str,
    others: Mapping[str, FloatArray],
    wanted: str,
    what: str,
    keep: bool = True,
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return the column wanted, and all others with the one now in use among them."""
    known = dict(others) | ({tag: now} if keep and tag not in others else {})
    if wanted == tag:
        return now, dict(others)
    if wanted not in known:
        raise InputError(
            f"the runs have no {what} counted as {wanted!r}; they have {', '.join(known)}"
        )
    return known[wanted], known


def _prefixes(parts: Sequence[Runs]) -> list[str]:
    """Return "" for each part, or the parts' numbers if any name occurs in two of them."""
    names = [set(part.run.tolist()) for part in parts]
    clash = any(a & b for i, a in enumerate(names) for b in names[:i])
    return [f"{i}:" if clash else "" for i in range(len(parts))]


def _named(runs: Sequence[TextArray], prefixes: Sequence[str]) -> list[str]:
    return [
        f"{prefix}{name}"
        for names, prefix in zip(runs, prefixes, strict=True)
        for name in names.tolist()
    ]
