"""Which rows of a batch are whose, where several processes train one run."""

from __future__ import annotations

from isoloss.errors import InputError
from isoloss.runs import RunSpec


def rows_each(spec: RunSpec, processes: int) -> int:
    """The rows (sequences) of every batch that each process takes, the same for all of them.

    Raises InputError if they do not divide.
    """
    rows = spec.batch // spec.shape.n_ctx
    if rows % processes:
        fit = [n for n in range(2, rows + 1) if rows % n == 0]
        use = f"use {' or '.join(map(str, fit[:6]))}, or another batch" if fit else "use one"
        raise InputError(
            f"a batch of {spec.batch} tokens has {rows} rows of {spec.shape.n_ctx}, which "
            f"{processes} processes cannot share evenly: {use}"
        )
    return rows // processes
