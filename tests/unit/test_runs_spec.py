"""RunSpec, Schedule and sweep files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.runs import RunSpec, Schedule, read_sweep

SHAPE = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64)
SPEC = RunSpec(SHAPE, tokens=600_000, batch=512, lr=0.01, seed=3, corpus="stdlib", group="a")


def test_derived_numbers() -> None:
    assert SPEC.steps == 1172  # 600,000 / 512 = 1171.875
    assert SPEC.tokens_seen == 1172 * 512
    # 6 * (12 * 2 * 16^2 + 256 * 16) per token
    assert SPEC.flops("6nd") == 6 * (6144 + 4096) * SPEC.tokens_seen
    assert replace(SPEC, tokens=10).steps == 1


def test_unknown_flop_convention_is_refused() -> None:
    with pytest.raises(InputError, match="6nd"):
        SPEC.flops("7nd")


def test_a_spec_survives_json() -> None:
    assert RunSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_run_id_ignores_the_group_and_nothing_else() -> None:
    assert replace(SPEC, group="b").run_id == SPEC.run_id
    others = [
        replace(SPEC, seed=4),
        replace(SPEC, lr=0.0100001),
        replace(SPEC, corpus_hash="ab"),
        replace(SPEC, schedule=Schedule("linear")),
        replace(SPEC, shape=replace(SHAPE, tied=False)),
        replace(SPEC, eval_points=25),
        replace(SPEC, dropout=0.1),
        replace(SPEC, micro_batch=128),
        replace(SPEC, data_seed=0),
        replace(SPEC, parametrization="mup", base_width=8),
        replace(SPEC, optimizer="sgd"),
        replace(SPEC, optimizer="sgd", momentum=0.95),
        replace(SPEC, optimizer="muon"),
        replace(SPEC, shape=replace(SHAPE, reuse=2)),
        replace(SPEC, shape=Shape.lstm(2, 16, 256, 64)),
        replace(SPEC, patience=3),
        replace(SPEC, unique_tokens=60_000),
        replace(SPEC, eval_corpora=("a", "b")),
        replace(SPEC, eval_corpora=("b", "a")),
    ]
    assert len({SPEC.run_id, *(other.run_id for other in others)}) == 20


def test_run_id_says_what_kind_of_layers() -> None:
    for shape, start in (
        (replace(SHAPE, reuse=4), "l2x4d16-n10.2k-"),
        (Shape.lstm(2, 16, 256, 64), "lstm2d16-n8.19k-"),
    ):
        spec = replace(SPEC, shape=shape, dropout=0.1)
        assert spec.run_id.startswith(start)
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_fields_of_a_later_date_are_written_only_where_they_say_something() -> None:
    # The plain form of a record written before them is the same as today's.
    late = {"dropout", "momentum", "data_seed", "micro_batch", "parametrization", "base_width"}
    late |= {"patience", "unique_tokens", "eval_corpora"}
    assert not late & set(SPEC.to_dict())
    assert not {"kind", "reuse"} & set(SPEC.to_dict()["shape"])
    assert replace(SPEC, dropout=0.1).to_dict()["dropout"] == 0.1


def test_run_id_is_the_same_number_however_it_was_written() -> None:
    again = RunSpec(
        SHAPE,
        tokens="600K",  # type: ignore[arg-type]
        batch=np.int64(512),  # type: ignore[arg-type]
        lr=np.float64(0.01),
        seed=3.0,  # type: ignore[arg-type]
        clip=1,
        corpus="stdlib",
    )
    assert again.run_id == SPEC.run_id
    assert again == replace(SPEC, group="")


def test_what_is_said_and_changes_nothing_leaves_the_run_id() -> None:
    assert replace(SPEC, micro_batch=512).run_id == SPEC.run_id
    assert replace(SPEC, data_seed=3).run_id == SPEC.run_id
    assert replace(SPEC, data_seed=3).order_seed == SPEC.order_seed == 3
    # What was said is kept, so that another batch or seed is another run.
    assert replace(replace(SPEC, data_seed=3), seed=4).order_seed == 3
    sgd = replace(SPEC, optimizer="sgd")
    assert replace(sgd, momentum=0.9).run_id == sgd.run_id
    for spec in (sgd, replace(sgd, momentum=0.0), replace(SPEC, data_seed=0, micro_batch=64)):
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_run_id_is_pinned() -> None:
    # A change here orphans every record on disk: see RunSpec.run_id before changing it.
    assert SPEC.run_id == "l2d16-n10.2k-t600k-b512-s3-13e5dc19"
    code = (
        "from isoloss.counting import Shape; from isoloss.runs import RunSpec;"
        "print(RunSpec(Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64),"
        " tokens=600_000, batch=512, lr=0.01, seed=3, corpus='stdlib').run_id)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert other.strip() == SPEC.run_id


def test_run_id_makes_a_file_name() -> None:
    big = RunSpec(replace(SHAPE, n_layer=400, d_model=20_000), tokens=10**18, batch=512, lr=1e-4)
    for spec in (SPEC, big):
        assert all(letter.isalnum() or letter in "-." for letter in spec.run_id)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 100}, "batch is 100 tokens; it must be a multiple of n_ctx = 64"),
        ({"tokens": 0}, "tokens is 0; it must be positive"),
        ({"tokens": 1.5}, "tokens is 1.5; it must be a whole number"),
        ({"tokens": True}, "tokens is True; it must be a number"),
        ({"tokens": "many"}, "tokens: 'many' is not a number"),
        ({"lr": -1}, "lr is -1.0; it must be positive"),
        ({"lr": float("nan")}, "lr is nan; it must be finite"),
        ({"beta2": 1.0}, "beta2 is 1.0; it must be at least 0 and below 1"),
        ({"seed": -1}, "seed is -1; it must be zero or more"),
        ({"dropout": 1}, "dropout is 1.0; it must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout is -0.1; it must be at least 0 and below 1"),
        (
            {"optimizer": "lion"},
            "'lion'; use one of adamw, adam, adafactor, sgd, muon",
        ),
        ({"momentum": 0.9}, "momentum is 0.9 and optimizer is adamw: only sgd and muon take one"),
        ({"optimizer": "sgd", "momentum": 1}, "momentum is 1.0; it must be at least 0 and below 1"),
        ({"data_seed": -1}, "data_seed is -1; it must be zero or more"),
        ({"seed": 10**26}, "seed is too large; it must be below 2^63"),
        ({"tokens": 1e300}, "tokens is too large; it must be below 2^63"),
        ({"micro_batch": 96}, "micro_batch is 96 tokens; it must be a multiple of n_ctx = 64 that"),
        ({"micro_batch": 192}, "that divides batch = 512"),
        ({"parametrization": "ntk"}, "parametrization is 'ntk'; use one of standard, mup"),
        ({"parametrization": "mup"}, "mup and base_width 0: mup needs the width"),
        ({"base_width": 32}, "parametrization is standard and base_width 32"),
        ({"parametrization": "mup", "base_width": 8, "optimizer": "muon"}, "not for muon"),
        ({"corpus": "/data/text"}, "no absolute paths"),
        ({"corpus": "C:\\text"}, "no absolute paths"),
        ({"group": 3}, "group is 3; it must be a string"),
        ({"patience": -1}, "patience is -1; it must be zero or more"),
        ({"unique_tokens": 511}, "unique_tokens is 511; it must be at least batch = 512"),
        ({"eval_corpora": "wiki"}, "eval_corpora is 'wiki'; it must be a list of names"),
        ({"eval_corpora": ("a", "a")}, "name each corpus once"),
        ({"eval_corpora": ("/data/wiki",)}, "no absolute paths"),
    ],
)
def test_wrong_values_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(SPEC, **change)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "cosin"}, "schedule kind is 'cosin'"),
        ({"warmup": 1.1}, "schedule warmup is 1.1; it must lie between 0 and 1"),
        ({"kind": "wsd", "warmup": 0.5, "decay": 0.6}, "schedule warmup + decay is 1.1"),
        ({"kind": "wsd_sqrt", "warmup": 0.6, "decay": 0.6}, "schedule warmup + decay is 1.2"),
        ({"warmpu": 0.1}, "unknown key 'warmpu' in schedule; did you mean 'warmup'?"),
    ],
)
def test_wrong_schedules_are_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Schedule.from_dict(fields)
    assert words in str(caught.value)


def test_missing_and_unknown_keys_of_a_run() -> None:
    with pytest.raises(InputError, match="a run needs batch, lr"):
        RunSpec.from_dict({"shape": SHAPE, "tokens": 5})
    with pytest.raises(InputError, match="did you mean 'weight_decay'"):
        RunSpec.from_dict({**SPEC.to_dict(), "weightdecay": 0.1})
    with pytest.raises(InputError, match="n_layer"):
        RunSpec.from_dict({**SPEC.to_dict(), "shape": {"n_layers": 2}})


SWEEP = """
[defaults]
corpus = "stdlib"
batch = 512
lr = 0.01
schedule = "linear"
[defaults.shape]
vocab = 256
n_ctx = 64
n_heads = 2

[[run]]
group = "grid"
tokens = ["600K", 1_200_000]
seed = [0, 1]
[run.shape]
n_layer = 2
d_model = [16, 32]

[[run]]
group = "pairs"
tokens = 600_000
shape = [{ n_layer = 3, d_model = 48 }, { n_layer = 4, d_model = 64, n_heads = 4 }]
schedule = { warmup = 0.05 }
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sweep_expands_lists_in_order(tmp_path: Path) -> None:
    specs = read_sweep(_write(tmp_path, SWEEP))
    grid, pairs = specs[:8], specs[8:]
    seen = [(s.tokens, s.seed, s.shape.d_model) for s in grid]
    assert seen == [(t, s, d) for t in (600_000, 1_200_000) for s in (0, 1) for d in (16, 32)]
    assert [(s.shape.n_layer, s.shape.d_model, s.shape.n_heads) for s in pairs] == [
        (3, 48, 2),
        (4, 64, 4),
    ]
    assert {s.group for s in grid} == {"grid"}
    assert {s.schedule for s in grid} == {Schedule("linear")}
    assert {s.schedule for s in pairs} == {Schedule("linear", warmup=0.05)}
    assert all(s.shape.vocab == 256 and s.batch == 512 for s in specs)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "lr = 0.01",
            "lrr = 0.01",
            "[[run]] number 1: unknown key 'lrr' in run; did you mean 'lr'?",
        ),
        ("n_layer = 2", "n_layers = 2", "n_layer"),
        ("[defaults]", "[default]", "unknown key 'default' in sweep; did you mean 'defaults'?"),
        ("seed = [0, 1]", "seed = [0, 0]", "already listed by [[run]] number 1"),
        ("batch = 512", "batch = 500", "multiple of n_ctx = 64"),
        ("lr = 0.01", "lr = ", "not valid TOML"),
        ("tokens = 600_000", "tokens = {}", "[[run]] number 2"),
        ("shape = [{", "shape = [3, {", "number 2: a shape is 3: it must be a table"),
        ("schedule = { warmup = 0.05 }", "schedule = 3", "number 2: schedule is 3; give a kind"),
        ("seed = [0, 1]", "seed = []", "number 1: lists no run: one of its lists is empty"),
    ],
)
def test_a_wrong_sweep_gives_one_clear_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in SWEEP
    path = _write(tmp_path, SWEEP.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_sweep(path)
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_sizes_written_for_people_are_whole_numbers(tmp_path: Path) -> None:
    # 4.1 * 1e6 is 4099999.9999999995, which no run can train on.
    specs = read_sweep(_write(tmp_path, SWEEP.replace('"600K"', '"4.1M"')))
    assert specs[0].tokens == 4_100_000


def test_a_sweep_without_runs_or_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"number 1: is 3; write it as a table"):
        read_sweep(_write(tmp_path, "run = [3]\n"))
    with pytest.raises(InputError, match=r"no \[\[run\]\] table"):
        read_sweep(_write(tmp_path, "[defaults]\nlr = 1\n"))
    with pytest.raises(InputError, match="no such file"):
        read_sweep(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"group = '\xe9'")
    with pytest.raises(InputError, match="UTF-8"):
        read_sweep(tmp_path / "latin.toml")


def test_the_example_in_the_docstring_is_a_sweep(tmp_path: Path) -> None:
    import isoloss.runs.sweep_file as module

    text = (module.__doc__ or "").split("product; `shape`")[1].split("\n\n", 1)[1]
    lines = "\n".join(line[4:] for line in text.splitlines())
    assert len(read_sweep(_write(tmp_path, lines))) == 8
