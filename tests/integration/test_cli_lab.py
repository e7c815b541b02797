"""The verbs that train: from text to token ids to records, read back by the verbs that fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss.runs import read_record

pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

SWEEP = """
[defaults]
corpus = "text.txt"
lr = 0.01
batch = 512
eval_points = 4
eval_block = 2048
eval_final = 4096
[defaults.shape]
vocab = 256
n_ctx = 64
n_layer = 2
n_heads = 2
[[run]]
tokens = 16384
shape = [{ d_model = 8 }, { d_model = 16 }]
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Enough words, in enough paragraphs, to train on and hold out from."""
    rng = np.random.default_rng(7)
    words = np.array(["the", "law", "of", "small", "runs", "says", "how", "large"])
    paragraphs = (" ".join(rng.choice(words, 60)) for _ in range(400))
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return path


def test_text_to_tokens(isoloss: Command, text: Path) -> None:
    done = isoloss("corpus", "prepare", text, "tokens", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["tokenizer"] == "bytes"
    assert made["vocab"] == 256
    assert 0.99 < (made["train_tokens"] + made["val_tokens"]) / text.stat().st_size < 1.01
    again = json.loads(isoloss("corpus", "prepare", text, "tokens", "--json").stdout)
    assert again["hash"] == made["hash"]


def test_workers_change_no_token(isoloss: Command, text: Path) -> None:
    pytest.importorskip("tokenizers")
    hashes = set()
    for workers in (1, 2):
        words = ("corpus", "prepare", text, f"tokens{workers}", "--tokenizer", "bpe:300")
        done = isoloss(*words, "--workers", workers, "--json")
        assert done.returncode == 0, done.stderr
        hashes.add(json.loads(done.stdout)["hash"])
    assert len(hashes) == 1
    assert isoloss("corpus", "prepare", text, "tokens", "--workers", 0).returncode == 2


def test_tokens_may_lie_elsewhere(
    isoloss: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("ISOLOSS_TOKENS", str(tmp_path / "cache"))
    made = json.loads(isoloss("corpus", "prepare", text, "tokens", "--json").stdout)
    (tmp_path / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    address = f"file://{tmp_path}/tokens"
    done = isoloss("sweep", "sweep.toml", "--dry-run", "--tokens", address)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs to train on text" in done.stdout
    (copy,) = (tmp_path / "cache").iterdir()
    assert json.loads((copy / "meta.json").read_text("utf-8"))["hash"] == made["hash"]
    gone = isoloss("sweep", "sweep.toml", "--dry-run", "--tokens", "memory://nothing/here")
    assert gone.returncode == 1
    assert "there is no memory://nothing/here" in gone.stderr


def test_a_dry_run_shows_what_a_sweep_implies_and_trains_nothing(
    isoloss: Command, text: Path
) -> None:
    (text.parent / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    done = isoloss("sweep", "sweep.toml", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [run["steps"] for run in runs] == [32, 32]
    for run in runs:
        assert run["tokens_seen"] == 16384
        assert run["params"]["total"] == sum(run["params_by_group"].values())
        assert run["flops"]["exact"] > run["flops"]["6nd"] > 0
    assert not list((text.parent / "sweep").glob("*.jsonl"))
    lines = isoloss("sweep", "sweep.toml", "--dry-run").stdout
    assert "2 of 2 runs to train" in lines
    assert max(map(len, lines.splitlines())) <= 80
    assert not (text.parent / "sweep").exists()


def test_one_run_leaves_a_record_and_is_not_run_again(isoloss: Command, text: Path) -> None:
    one = SWEEP.replace("shape = [{ d_model = 8 }, { d_model = 16 }]", "shape = { d_model = 8 }")
    (text.parent / "run.toml").write_text(one, encoding="utf-8")
    done = isoloss("train", "run.toml", "--out", "records", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["end"]["status"] == "finished"
    record = text.parent / found["record"]
    before = record.read_bytes()
    again = isoloss("train", "run.toml", "--out", "records")
    assert again.returncode == 0
    assert again.stdout.startswith("finished: loss")
    assert record.read_bytes() == before
    refused = isoloss("fit", "records")
    assert refused.returncode == 3
    assert "add runs" in refused.stderr


def test_a_sweep_trains_every_run(isoloss_process: Command, text: Path) -> None:
    (text.parent / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    done = isoloss_process("sweep", "sweep.toml", "--out", "records", "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"]["finished"] == 2
    assert sorted(path.name for path in (text.parent / "records").glob("*.jsonl")) == sorted(
        Path(path).name for path in found["records"]
    )


def test_a_sweep_on_parts_of_the_text_is_evaluated_elsewhere_too(
    isoloss: Command, text: Path
) -> None:
    rng = np.random.default_rng(8)
    paragraphs = (" ".join(map(str, rng.integers(0, 99, 60))) for _ in range(1600))
    (text.parent / "numbers.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    sweep = SWEEP + 'unique_tokens = ["1K", "2K"]\npatience = 2\neval_corpora = ["numbers.txt"]\n'
    (text.parent / "sweep.toml").write_text(sweep, encoding="utf-8")
    shown = isoloss("sweep", "sweep.toml", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    epochs = [line.split()[5] for line in shown.stdout.splitlines()[1:5]]
    assert sorted(epochs) == ["17.07", "17.07", "8.26", "8.26"]
    wrong = isoloss("sweep", "sweep.toml", "--eval-tokens", "numbers.txt")
    assert wrong.returncode == 2
    assert "NAME=FOLDER" in wrong.stderr
    done = isoloss("sweep", "sweep.toml", "--out", "records", "--json")
    assert done.returncode == 0, done.stderr
    records = [read_record(path) for path in (text.parent / "records").glob("*.jsonl")]
    assert len(records) == 4
    for run in records:
        assert [one.corpus for one in run.held_out] == ["text", "numbers.txt"]
        assert run.corpus["subset"]["tokens"] in (960, 1984)
    # Given as ids, the same text gives the same record, and so nothing is trained again.
    (made,) = (text.parent / "records" / "eval-tokens").iterdir()
    again = isoloss(
        "sweep", "sweep.toml", "--out", "records", "--eval-tokens", f"numbers.txt={made}", "--json"
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["already"] == 4


def test_one_run_is_evaluated_elsewhere_too(isoloss: Command, text: Path) -> None:
    made = isoloss("corpus", "prepare", text, "tokens", "--json")
    assert made.returncode == 0, made.stderr
    run = SWEEP.replace("shape = [{ d_model = 8 }, { d_model = 16 }]", "shape = { d_model = 8 }")
    (text.parent / "run.toml").write_text(run + 'eval_corpora = ["again"]\n', encoding="utf-8")
    lacking = isoloss("train", "run.toml", "--tokens", "tokens")
    assert lacking.returncode == 1
    assert "again" in lacking.stderr
    words = ("train", "run.toml", "--tokens", "tokens", "--eval-tokens", "again=tokens", "--json")
    done = isoloss(*words)
    assert done.returncode == 0, done.stderr
    own, again = read_record(text.parent / json.loads(done.stdout)["record"]).held_out
    assert (own.loss, again.corpus) == (again.loss, "again")
    said = isoloss(*words[:-1]).stdout
    assert f"on again: loss {own.loss:.4f}" in said
