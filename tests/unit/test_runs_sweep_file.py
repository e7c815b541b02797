"""Sweep files written and read back: the same runs, whatever they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.runs import RunSpec, Schedule, read_sweep, sweep_text, write_sweep

SHAPE = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64)
MODERN = Shape(
    *(3, 24, 3, 256, 64),
    d_ff=64,
    gated=True,
    norm="rmsnorm",
    positions="rotary",
    tied=False,
    bias=False,
)
SPEC = RunSpec(SHAPE, tokens=600_000, batch=512, lr=0.01, corpus="stdlib", group="a")
SPECS = (
    SPEC,
    replace(SPEC, shape=MODERN, lr=3e-4, tokens=123_456_789),
    replace(SPEC, seed=2**60 + 1, schedule=Schedule("wsd", decay=0.1), group='quo"ted\\\n'),
    replace(SPEC, shape=Shape.lstm(2, 16, 256, 64)),
    replace(SPEC, shape=replace(SHAPE, reuse=4), dropout=0.1),
    replace(SPEC, unique_tokens=60_000, patience=4, eval_corpora=("wiki", "./tokens/books")),
    replace(SPEC, batch=1024, corpus="caf\u00e9\x7f.txt", weight_decay=0, eps=1e-12),
)


@pytest.mark.parametrize(
    "specs", [SPECS, SPECS[:1], SPECS[:2], SPECS[3:5]], ids=["many", "one", "shapes", "kinds"]
)
def test_what_is_written_is_read(tmp_path: Path, specs: tuple[RunSpec, ...]) -> None:
    path = tmp_path / "sweep.toml"
    write_sweep(path, specs, title="two lines\nof title")
    assert read_sweep(path) == specs
    assert path.read_text(encoding="utf-8").startswith("# two lines\n# of title\n[defaults]\n")
    assert [found.name for found in tmp_path.iterdir()] == ["sweep.toml"]


def test_a_list_of_corpora_is_one_value_and_parts_of_the_text_are_many(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    write_sweep(path, [SPEC])
    path.write_text(
        path.read_text(encoding="utf-8")
        + '\nunique_tokens = ["50K", 100_000]\npatience = 3\neval_corpora = ["wiki", "books"]\n',
        encoding="utf-8",
    )
    found = read_sweep(path)
    assert [spec.unique_tokens for spec in found] == [50_000, 100_000]
    assert {(spec.patience, spec.eval_corpora) for spec in found} == {(3, ("wiki", "books"))}


def test_what_all_share_is_written_once() -> None:
    text = sweep_text([replace(SPEC, lr=rate) for rate in (0.01, 0.02)])
    assert text.count("vocab") == 1
    assert text.count("lr = ") == 2
    assert text.count("[[run]]") == 2


def test_nothing_to_write_and_nowhere_to_write_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one run"):
        sweep_text([])
    with pytest.raises(InputError, match="cannot be written"):
        write_sweep(tmp_path / "none" / "sweep.toml", SPECS)
