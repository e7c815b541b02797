"""One file in and one file out: packed token ids are trained on, packed records are fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss import pack_records, published
from isoloss.counting import Shape, count_params
from isoloss.runs import RecordWriter, RunSpec


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Sixteen records of a sweep, with losses by Besiroglu's law scaled to their sizes."""
    rng = np.random.default_rng(5)
    for width in (16, 32, 64, 128):
        for tokens in (1e6, 2e6, 4e6, 8e6):
            shape = Shape(n_layer=2, d_model=width, n_heads=2, vocab=256, n_ctx=64)
            spec = RunSpec(shape, tokens=tokens, batch=1024, lr=0.01, group="all")
            n, d = count_params(shape, "non_embedding_plus_head"), spec.tokens_seen
            loss = float(published.BESIROGLU_2024(n * 1e4, d * 1e4))
            loss *= np.exp(0.003 * rng.standard_normal())
            with RecordWriter(tmp_path / "records" / f"{spec.run_id}.jsonl") as writer:
                writer.header(spec, {"name": "text", "hash": "1", "tokens": 10**8}, {}, {})
                writer.point(spec.steps // 2, d // 2, loss + 0.1)
                writer.end("finished", step=spec.steps, tokens=d, loss=loss)
    return tmp_path / "records"


@pytest.mark.parametrize("verb", ["fit", "backtest"])
def test_a_verb_says_of_packed_records_what_it_says_of_their_folder(
    verb: str, isoloss: Command, records: Path
) -> None:
    pack_records(records, records.with_name("records.results.zip"))
    options = ("--draws", "100", "--json") if verb == "fit" else ("--json",)
    folder = isoloss(verb, "records", *options)
    packed = isoloss(verb, "records.results.zip", *options)
    assert folder.returncode == packed.returncode
    assert folder.stdout
    assert packed.stdout.replace("records.results.zip", "records") == folder.stdout
    (records.parent / "bad.zip").write_bytes(b"PK garbage")
    refused = isoloss(verb, "bad.zip")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "not a readable zip of run records" in refused.stderr


def test_token_ids_in_one_file_are_trained_on(isoloss: Command, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")
    words = np.array(["the", "law", "of", "small", "runs", "says", "how", "large"])
    rng = np.random.default_rng(7)
    paragraphs = (" ".join(rng.choice(words, 60)) for _ in range(300))
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    made = json.loads(isoloss("corpus", "prepare", "text.txt", "tokens", "--json").stdout)
    packed = isoloss("corpus", "pack", "tokens", "tokens.zip")
    assert packed.returncode == 0
    assert packed.stdout == "tokens.zip\n"
    (tmp_path / "run.toml").write_text(
        "[[run]]\ntokens = 4096\nbatch = 512\nlr = 0.01\neval_points = 2\neval_block = 1024\n"
        "eval_final = 1024\n[run.shape]\nvocab = 256\nn_ctx = 64\nn_layer = 1\nd_model = 8\n"
        "n_heads = 2\n"
    )
    for command in (("train", "run.toml"), ("sweep", "run.toml", "--dry-run")):
        done = isoloss(*command, "--tokens", "tokens.zip")
        assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "run").glob("*.jsonl")
    corpus = json.loads(record.read_text().splitlines()[0])["corpus"]
    assert corpus["hash"] == made["hash"]
    assert corpus["bytes_per_token"] == made["bytes_per_token"]
    refused = isoloss("train", "run.toml", "--tokens", "text.txt")
    assert refused.returncode == 1
    assert "holds no token ids; give a .bin file" in refused.stderr
