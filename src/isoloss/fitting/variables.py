"""Which columns of the runs a law is called with, and those that are made from others.

Most variables are fields of `Runs`. Two are not: `m`, tokens per parameter, is d / n; `s_min`, the
least steps of Kaplan's L(N, S_min), needs a critical batch or a column that the caller brings.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError, UsageError
from isoloss.laws import CriticalBatch, PublishedLaw
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs

Given = Mapping[str, "ArrayLike | CriticalBatch | PublishedLaw"]
"""Variables that the runs do not hold, each (m,), or for `s_min` the critical batch it takes."""

_SEARCHABLE = ("n", "d", "c", "steps", "batch", "unique_tokens")


def variables_of(
    form: type[Law], runs: Runs, x: str | None, given: Given | None = None
) -> list[Array]:
    """Return the columns of the runs that a law is called with, each (m,).

    x: for a law of one variable, which it is. given: as in `fit`.
    Raises InputError if there are no runs, or naming the variable that is missing, not positive, or
    not the law's.
    """
    some_runs(runs)
    names = form.variables
    if names == ("x",):
        if x is None:
            raise UsageError(f'{form.__name__} has one variable: say which, such as x="n" (--x n)')
        if x not in _SEARCHABLE and x not in (given or {}):
            raise UsageError(f"x is one of {', '.join(_SEARCHABLE)}, not {x!r}")
        names = (x,)
    elif x is not None:
        raise UsageError(f"{form.__name__} is fitted to ({', '.join(names)}); leave x= (--x) out")
    stray = [name for name in given or {} if name not in names]
    if stray:
        raise UsageError(f"{form.__name__} takes ({', '.join(names)}); it has no {stray[0]!r}")
    columns = [_column(form, name, runs, given or {}) for name in names]
    for name, column in zip(names, columns, strict=True):
        if not np.all(np.isfinite(column) & (column > 0)):
            raise InputError(f"{form.__name__} needs a positive {name!r} in every run")
    return columns


def given_at(given: Given | None, rows: NDArray[np.bool_]) -> Given | None:
    """Return the given variables of some of the runs, rows (m,)."""
    if given is None:
        return None
    return {
        name: source
        if isinstance(source, CriticalBatch | PublishedLaw)
        else np.asarray(source, dtype=np.float64)[rows]
        for name, source in given.items()
    }


def some_runs(runs: Runs) -> None:
    """Raise InputError if this is no table of runs, or one without rows."""
    if not isinstance(runs, Runs):
        raise InputError(f"give a table of Runs, such as read_runs(path), not {runs!r}")
    if not len(runs):
        raise InputError("no runs are left: the table has no rows; check what selected them")


def nats_only(runs: Runs) -> None:
    """Raise InputError unless losses are in nats, which b_star depends on."""
    if runs.loss_unit != "nats":
        raise InputError(
            f"a critical batch is a law of the loss in nats per token, and these losses are in "
            f"{runs.loss_unit}: convert them first"
        )


def _column(form: type[Law], name: str, runs: Runs, given: Given) -> Array:
    source = given.get(name)
    if isinstance(source, PublishedLaw):
        source = source.law  # type: ignore[assignment]
    if isinstance(source, CriticalBatch):
        return _s_min(form, name, runs, source)
    if source is not None:
        column = np.asarray(source, dtype=np.float64)
        if column.shape != (len(runs),):
            raise InputError(f"given {name!r} has shape {column.shape}; there are {len(runs)} runs")
        return column
    if name == "m":
        return np.asarray(runs.d / runs.n)
    found = getattr(runs, name, None)
    if found is None:
        if name == "s_min":
            mend = (
                "pass a column, or a CriticalBatch, with given={'s_min': ...} "
                "(--critical-batch b_star=2e8,alpha_b=0.21)"
            )
        elif hasattr(runs, name):
            mend = f'name its column with columns={{"{name}": "NAME"}} (--columns {name}=NAME)'
        else:
            mend = f"pass it in given={{{name!r}: ...}}"
        raise InputError(f"{form.__name__} needs {name!r}, which these runs do not have; {mend}")
    return np.asarray(found, dtype=np.float64)


def _s_min(form: type[Law], name: str, runs: Runs, critical: CriticalBatch) -> Array:
    if name != "s_min":
        raise InputError(f"a CriticalBatch gives 's_min', not {name!r}")
    if runs.steps is None or runs.batch is None:
        lacking = "steps" if runs.steps is None else "batch"
        raise InputError(f"{form.__name__} needs {lacking!r} to find 's_min' by a critical batch")
    nats_only(runs)
    return critical.s_min(runs.steps, runs.batch, runs.loss)
