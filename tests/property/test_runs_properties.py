"""Properties of records and tables over generated content."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.runs import RecordWriter, Runs, RunSpec, content, read_record, read_runs, write_runs

SPEC = RunSpec(
    Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64), tokens=40_960, batch=512, lr=0.01
)
losses = st.floats(allow_nan=True, allow_infinity=True, width=64)


def points(writer: RecordWriter, values: list[float], first: int = 0) -> None:
    for step, loss in enumerate(values[first:], start=first + 1):
        writer.point(step, step * 512, loss, se=loss / 7, seconds=float(first))


@settings(max_examples=40, deadline=None)
@given(values=st.lists(losses, max_size=6), cut=st.floats(0, 1), data=st.data())
def test_cut_anywhere_and_resumed_a_record_has_the_same_content(
    values: list[float], cut: float, data: Any
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "r.jsonl"
        with RecordWriter(path) as writer:
            writer.header(SPEC, {"name": "t"}, {"cpu": "x"}, {})
            points(writer, values)
            writer.end("finished", step=80, tokens=40_960, loss=2.0, seconds=1.0)
        whole = content(read_record(path))
        json.dumps(whole, allow_nan=False)
        path.write_bytes(path.read_bytes()[: round(cut * path.stat().st_size)])
        left = len(read_record(path).points)
        step = data.draw(st.integers(0, left))
        with RecordWriter.resume(path, step) as writer:
            writer.header(SPEC, {"name": "t"}, {"cpu": "y"}, {})
            points(writer, values, step)
            writer.end("finished", step=80, tokens=40_960, loss=2.0, seconds=2.0)
        assert content(read_record(path)) == whole


positive = st.floats(1e-12, 1e30, allow_nan=False)
labels = st.text("ab7é,;\"'\t\n /-_#", min_size=1, max_size=6).filter(
    lambda text: text.strip() == text and text != "-"
)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(positive, positive, positive, positive, labels), min_size=1, max_size=8)
)
def test_a_table_written_and_read_is_the_same(
    rows: list[tuple[float, float, float, float, str]],
) -> None:
    n, d, loss, c, run = (list(column) for column in zip(*rows, strict=True))
    runs = Runs(n, d, loss, c=c, run=run, n_convention="active", c_convention="exact")  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        write_runs(runs, Path(name) / "runs.csv")
        again = read_runs(Path(name) / "runs.csv")
    assert again.hash == runs.hash
    assert again.run.tolist() == run
    assert (again.n_convention, again.c_convention) == ("active", "exact")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), size=st.integers(1, 12), scale=st.sampled_from([1.0, 1e3, 1e9])
)
def test_order_of_rows_and_columns_and_units_do_not_matter(
    seed: int, size: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    table = {
        "params": rng.uniform(1, 1e9, size),
        "tokens": rng.uniform(1, 1e12, size),
        "val_loss": rng.uniform(0.1, 9, size),
    }
    runs = Runs.from_frame(table)
    order = rng.permutation(size)
    names = list(table)
    rng.shuffle(names)
    mixed = Runs.from_frame({name: table[name][order] for name in names})
    assert mixed.n.tolist() == runs[order].n.tolist()
    assert mixed.hash == runs[order].hash
    words = {1.0: "", 1e3: "K", 1e9: "B"}
    text = [f"{value / scale!r}{words[scale]}" for value in table["params"].tolist()]
    human = Runs.from_frame({**table, "params": text})
    np.testing.assert_allclose(human.n, runs.n, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=1, max_size=20))
def test_masks_split_a_table_in_two(mask: list[bool]) -> None:
    size = len(mask)
    n = np.arange(1.0, size + 1) * 3
    runs = Runs(n=n, d=n * 7, loss=1 / n, counts={"total": n + 1}, n_convention="active")
    chosen = np.array(mask)
    both = Runs.concat([runs[chosen], runs[~chosen]])
    assert sorted(both.n.tolist()) == n.tolist()
    assert sorted(both.run.tolist()) == sorted(runs.run.tolist())
    np.testing.assert_array_equal(both.counts["total"], both.n + 1)


WRONG = [None, "x", [], {}, True, -1, 0, 1e308, 10**400, "1", [1], {"tokens": "x"}]


@settings(max_examples=120, deadline=None)
@given(wrong=st.sampled_from(WRONG), gone=st.booleans(), data=st.data())
def test_a_record_that_says_something_else_is_read_or_refused(
    wrong: object, gone: bool, data: Any
) -> None:
    """One value of a good record, wherever it stands, is another or missing."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "r.jsonl"
        with RecordWriter(path) as writer:
            text = {"name": "t", "hash": "ab", "tokens": 9_999, "bytes_per_token": 1.0}
            writer.header(SPEC, text | {"subset": {"tokens": 512}}, {"cpu": "x"}, {})
            points(writer, [3.0, 2.5])
            writer.end("finished", step=80, tokens=40_960, loss=2.0, seconds=1.0)
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        at: Any = data.draw(st.sampled_from(lines))
        key = data.draw(st.sampled_from(sorted(at)))
        while isinstance(at[key], dict) and at[key] and data.draw(st.booleans()):
            at = at[key]
            key = data.draw(st.sampled_from(sorted(at)))
        if gone:
            del at[key]
        else:
            at[key] = wrong
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        with contextlib.suppress(InputError):  # a line for the user, and nothing else
            read_runs(name)
