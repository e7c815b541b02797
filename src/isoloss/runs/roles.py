"""Which column of a raw table plays which role, and the notes on what had to be chosen."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isoloss.errors import InputError
from isoloss.runs import aliases
from isoloss.runs.cells import RawTable, is_missing, listed, to_number

FloatArray = npt.NDArray[np.float64]

_SHOWN = 30
_ROWS_EACH = 4
"""With fewer rows to a value, a column of text says something else than the data set."""


@dataclass
class Reading:
    """A table being read: the roles the caller named, the columns with values, notes so far."""

    raw: RawTable
    named: Mapping[str, str | None]
    filled: list[str]
    notes: list[str] = field(default_factory=list)

    def candidates(self, role: str) -> list[str]:
        if role in self.named:
            name = self.named[role]
            return [] if name is None else [name]
        taken = set(self.named.values())
        free = [name for name in self.filled if name not in taken]
        return aliases.candidates(role, free)

    def pick(self, role: str) -> str | None:
        found = self.candidates(role)
        return found[0] if found else None

    def numbers(self, column: str) -> FloatArray:
        values = [to_number(value) for value in self.raw.columns[column]]
        return np.array([math.nan if value is None else value for value in values])

    def optional(self, role: str) -> FloatArray | None:
        """Return a column that the table may lack; one that is no number is left out, noted."""
        column = self.pick(role)
        if column is None:
            return None
        for value in self.raw.columns[column]:
            if to_number(value) is None:
                self.notes.append(f"column {column!r} is left out: {value!r} is not a number")
                return None
        return self.numbers(column)

    def texts(self, role: str) -> npt.NDArray[np.str_] | None:
        """Return a column as it is written, "" where it is empty; None if there is none."""
        column = self.pick(role)
        if column is None:
            return None
        values = self.raw.columns[column]
        return np.array(["" if is_missing(value) else str(value) for value in values])

    def data_sets(self) -> npt.NDArray[np.str_] | None:
        """Return the data set of each row, where a column that no one named tells several apart."""
        names = self.texts("data")
        if names is None or "group" in self.named:
            return None
        known = sorted({name for name in names.tolist() if name})
        words = any(to_number(name) is None for name in known)
        if len(known) < 2 or not words or len(names) < _ROWS_EACH * len(known):
            return None
        self.notes.append(
            f"group is taken from {self.pick('data')!r}: {len(known)} data sets "
            f"({listed(known, 4)}), whose losses may not compare"
        )
        return names

    def constant(self, name: str) -> str | None:
        """Return the single value of a column such as `n_convention`, None if there is none."""
        if name not in self.filled:
            return None
        values = {str(value) for value in self.raw.columns[name] if not is_missing(value)}
        if len(values) > 1:
            raise InputError(
                f"{self.raw.source}: column {name!r} holds several values "
                f"({', '.join(sorted(values))}); read them apart"
            )
        return values.pop()

    def note_rivals(self, role: str, scaled: bool = False) -> None:
        """Note the columns that could also have played the role and say something else."""
        found = self.candidates(role)
        if len(found) < 2:
            return
        chosen = self.numbers(found[0]) * (aliases.scale_of(found[0]) if scaled else 1.0)
        rivals = []
        for name in found[1:]:
            other = self.numbers(name) * (aliases.scale_of(name) if scaled else 1.0)
            both = np.isfinite(chosen) & np.isfinite(other)
            if both.any() and not np.allclose(chosen[both], other[both], rtol=1e-6, atol=0.0):
                rivals.append(name)
        if rivals:
            self.notes.append(
                f"{role} is taken from {found[0]!r}; {listed(rivals, 4)} could also be it: "
                f'choose with columns={{"{role}": "NAME"}} (--columns {role}=NAME)'
            )

    def missing(self, role: str, what: str, mend: str = "") -> InputError:
        """The error that a column is not there; mend: what else would do, up to its comma."""
        header = list(self.raw.columns)
        empty = [name for name in aliases.candidates(role, header) if name not in self.filled]
        if empty:
            seen = f"no value in any row of {listed(empty, 4)}: fill it in, "
        else:
            seen = f"no column for {what}; columns found: {listed(header, _SHOWN)}; "
        return InputError(
            f"{self.raw.source}: {seen}{mend}{'or ' if empty and not mend else ''}"
            f'name it with columns={{"{role}": "NAME"}} (--columns {role}=NAME)'
        )


def start(raw: RawTable, columns: Mapping[str, str | None]) -> Reading:
    """Begin to read a table, with the roles that the caller named; refuse names not there."""
    return Reading(raw, _checked(columns, raw), _filled(raw))


def _checked(columns: Mapping[str, str | None], raw: RawTable) -> dict[str, str | None]:
    if not len(raw):
        raise InputError(f"{raw.source}: holds no rows; give at least one run")
    for role, name in columns.items():
        if role not in aliases.ROLES:
            near = difflib.get_close_matches(str(role), aliases.ROLES, n=1, cutoff=0.0)[0]
            raise InputError(
                f"columns= (--columns) names {role!r}, which is no field of a run table; "
                f"the nearest is {near!r}"
            )
        if name is not None and name not in raw.columns:
            raise InputError(
                f"{raw.source}: no column {name!r} (named for {role}); "
                f"columns found: {listed(list(raw.columns), _SHOWN)}"
            )
    return dict(columns)


def _filled(raw: RawTable) -> list[str]:
    return [
        name
        for name, values in raw.columns.items()
        if name and any(not is_missing(value) for value in values)
    ]
