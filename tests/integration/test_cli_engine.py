"""`--device` and `--precision` from the command line to the record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss.runs import read_record

pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

RUN = """
[defaults]
corpus = "text.txt"
lr = 0.01
batch = 512
eval_points = 2
eval_block = 2048
eval_final = 4096
[[run]]
tokens = 8192
shape = { vocab = 256, n_ctx = 64, n_layer = 1, n_heads = 2, d_model = 16 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = np.random.default_rng(3).choice(
        ["as", "it", "is", "computed", "so", "it", "was"], 30000
    )
    paragraphs = (" ".join(part) for part in np.array_split(words, 600))
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8")
    return tmp_path


def test_what_is_asked_for_is_what_the_record_says(isoloss: Command, folder: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        asked = ("--device", "cpu", "--precision", precision)
        done = isoloss("train", "run.toml", "--out", precision, *asked, "--json")
        assert done.returncode == 0, done.stderr
        run = read_record(folder / json.loads(done.stdout)["record"])
        assert run.machine["engine"]["device"] == "cpu"
        assert run.machine["engine"]["precision"] == precision
        assert run.end is not None
        assert run.end.flops_per_second > 0
        assert run.end.peak_memory_gb > 0.05  # Python and torch alone take more
        used = run.end.flops_per_second / run.machine["matmul_flops_per_second"]
        assert run.end.utilisation == pytest.approx(used)
        losses[precision] = run.end.loss
    assert losses["float32"] != losses["bfloat16"]
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.02)


def test_a_sweep_hands_it_to_its_workers(isoloss: Command, folder: Path) -> None:
    done = isoloss("sweep", "run.toml", "--precision", "bfloat16", "--workers", 1)
    assert done.returncode == 0, done.stderr
    (record,) = (folder / "run").glob("*.jsonl")
    assert read_record(record).machine["engine"]["precision"] == "bfloat16"


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_device_that_is_none_gets_one_line(isoloss: Command, folder: Path, verb: str) -> None:
    done = isoloss(verb, "run.toml", "--device", "tpu")
    assert done.returncode == 1
    assert "device is 'tpu'; use cpu, cuda or cuda:N" in done.stderr
    assert "Traceback" not in done.stderr


def test_processes_have_devices_of_their_own(isoloss: Command, folder: Path) -> None:
    done = isoloss("train", "run.toml", "--nproc", 2, "--device", "cpu")
    assert done.returncode == 2
    assert "leave out --device" in done.stderr
