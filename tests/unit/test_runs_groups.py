"""A column that names the data set of each run is its group, where nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoloss.runs import Runs, read_runs


def read(folder: Path, column: str, values: list[str], **options: object) -> Runs:
    rows = [f"params,tokens,loss,{column}"]
    rows += [f"{k + 1}e7,{k + 1}e9,{4 - 0.1 * k},{value}" for k, value in enumerate(values)]
    (folder / "runs.csv").write_text("\n".join(rows), encoding="utf-8")
    return read_runs(folder / "runs.csv", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("column", ["dataset", "Data Set", "data", "corpus", "source", "Domain"])
def test_data_sets_are_groups_and_that_is_said(tmp_path: Path, column: str) -> None:
    runs = read(tmp_path, column, ["c4"] * 5 + ["github"] * 4)
    assert runs.group.tolist() == ["c4"] * 5 + ["github"] * 4
    assert (
        f"group is taken from {column!r}: 2 data sets ('c4', 'github'), whose losses may not "
        "compare" in runs.notes
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("dataset", ["c4"] * 8),
        ("data", ["1e9", "2e9"] * 4),  # a count, not a name
        ("source", ["a", "b", "c", "d"] * 2),  # too many to be sets of runs
        ("colour", ["red"] * 4 + ["green"] * 4),
    ],
)
def test_other_columns_are_no_groups(tmp_path: Path, column: str, values: list[str]) -> None:
    runs = read(tmp_path, column, values)
    assert set(runs.group.tolist()) == {""}
    assert not any("group" in note for note in runs.notes)


def test_a_group_that_is_named_goes_before(tmp_path: Path) -> None:
    sets = ["c4"] * 4 + ["github"] * 4
    named = read(tmp_path, "dataset", sets, columns={"group": "dataset"})
    assert named.group.tolist() == sets
    assert named.notes == ()
    without = read(tmp_path, "dataset", sets, columns={"group": None})
    assert set(without.group.tolist()) == {""}
    rows = ["params,tokens,loss,group,dataset"]
    rows += [f"{k}e7,{k}e9,{4 - 0.1 * k},g{k % 2},{sets[k - 1]}" for k in range(1, 9)]
    (tmp_path / "both.csv").write_text("\n".join(rows), encoding="utf-8")
    assert set(read_runs(tmp_path / "both.csv").group.tolist()) == {"g0", "g1"}
