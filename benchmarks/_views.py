"""Views of public run tables that extrapolation is measured on: `../shared/data/views.csv`.

A view is some rows of a table, split by compute: fit what costs at most `c_cut`, predict the rest.
"""

from __future__ import annotations

import csv
import gzip
import operator
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoloss.runs import Runs

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

_CONDITION = re.compile(r"(\w+)\s*(==|!=|<=|>=|<|>)\s*(?:'([^']*)'|([-+.\deE]+))")
_OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le,
    ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """One split table. experiment: views of one experiment are not independent."""

    name: str
    experiment: str
    train: Runs
    test: Runs


def views(folder: Path = DATA) -> tuple[View, ...]:
    """Read every view of `folder/views.csv`."""
    if not (folder / "views.csv").exists():
        raise SystemExit(f"there is no views.csv in {folder}: this benchmark needs the shared data")
    found = []
    for view in _rows(folder / "views.csv"):
        rows = [row for row in _rows(folder / view["file"]) if _kept(row, view["filter"])]
        columns = [
            np.array([float(row[name] or "nan") for row in rows])
            for name in (view["n_column"], "D", "C", "loss")
        ]
        n, d, c, loss = (column[np.isfinite(columns).all(axis=0)] for column in columns)
        runs = Runs(n=n, d=d, c=c, loss=loss, source=view["file"])
        below = runs.c <= float(view["c_cut"])
        found.append(View(view["name"], view["experiment"], runs[below], runs[~below]))
        sizes = (len(found[-1].train), len(found[-1].test))
        assert sizes == (int(view["n_train"]), int(view["n_test"])), (view["name"], sizes)
    return tuple(found)


def _rows(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _kept(row: dict[str, str], conditions: str) -> bool:
    """Whether a row meets every condition, such as `M>=20 and dataset=='rpj'`."""
    for condition in conditions.split(" and "):
        match = _CONDITION.fullmatch(condition.strip())
        if match is None:
            raise SystemExit(f"views.csv: cannot read the condition {condition!r}")
        name, sign, text, number = match.groups()
        have = row[name] if text is not None else float(row[name] or "nan")
        if not _OPERATORS[sign](have, text if text is not None else float(number)):
            return False
    return True
