"""`isoloss gns` as a user runs it: on a record, a folder, a table of norms, and a checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss.counting import Shape
from isoloss.runs import RecordWriter, RunSpec, read_record

TRUTH = 512.0  # tokens


def norms(steps: int, *, seed: int = 0, truth: float = TRUTH) -> np.ndarray:
    """(steps, 2) squared norms of simulated gradients of 32 and 256 tokens, |G| = 1."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(0, math.sqrt(truth / 24 / 32), (steps, 8, 24))
    parts[:, :, 0] += 1.0
    return np.stack([(parts**2).sum(2).mean(1), (parts.mean(1) ** 2).sum(1)], axis=1)


def write_record(folder: Path, steps: int, *, seed: int = 0) -> Path:
    shape = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=32)
    spec = RunSpec(shape, tokens=40_960, batch=256, lr=0.01, seed=seed)
    path = folder / f"{spec.run_id}.jsonl"
    with RecordWriter(path) as writer:
        writer.header(spec, {"name": "text"}, {}, {})
        for step, (sq_small, sq_big) in enumerate(norms(steps, seed=seed).tolist(), start=1):
            writer.noise(step, 256 * step, small=32, big=256, sq_small=sq_small, sq_big=sq_big)
    return path


def write_table(path: Path, found: np.ndarray, header: str = "small,big,sq_small,sq_big") -> Path:
    rows = "\n".join(f"32,256,{a},{b}" for a, b in found.tolist())
    path.write_text(f"{header}\n{rows}\n", encoding="utf-8")
    return path


def test_a_record_is_measured_along_the_run(isoloss: Command, tmp_path: Path) -> None:
    path = write_record(tmp_path, 120)
    done = isoloss("gns", path.name, "--windows", 3)
    assert done.returncode == 0, done.stderr
    for words in ("gradients of 32 and 256 tokens", "256 - 10.2K", "sequences", "all  ", "moves"):
        assert words in done.stdout
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 80
    assert len(isoloss("gns", path.name).stdout.splitlines()) > len(done.stdout.splitlines())
    (run,) = json.loads(isoloss("gns", path.name, "--windows", 3, "--json").stdout)["runs"]
    assert (run["unit"], run["tokens_per_sequence"]) == ("tokens", 32)
    assert run["whole"]["scale"]["low"] < TRUTH < run["whole"]["scale"]["high"]
    assert [window["steps"] for window in run["windows"]] == [[1, 40], [41, 80], [81, 120]]
    narrow = json.loads(isoloss("gns", path.name, "--level", 0.5, "--json").stdout)["runs"][0]
    assert narrow["whole"]["scale"]["low"] > run["whole"]["scale"]["low"]


def test_a_folder_is_measured_run_by_run(isoloss: Command, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    names = [write_record(folder, 60, seed=seed).stem for seed in range(2)]
    write_record(folder, 0, seed=3)
    done = isoloss("gns", "records")
    assert done.returncode == 0, done.stderr
    assert "of 2 runs, in tokens" in done.stdout
    assert all(name in done.stdout for name in names)
    assert "1 of 3 runs have no noise lines" in done.stderr
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 80


def test_what_is_not_yet_measurable_is_a_bound_and_exit_code_3(
    isoloss: Command, tmp_path: Path
) -> None:
    write_table(tmp_path / "weak.csv", norms(40, truth=50_000.0))
    done = isoloss("gns", "weak.csv")
    assert done.returncode == 3
    assert "not yet measurable, at least " in done.stdout
    assert "average over more steps, or measure with a larger batch" in " ".join(
        done.stdout.split()
    )
    done = isoloss("gns", "weak.csv", "--json")
    assert done.returncode == 3
    scale = json.loads(done.stdout)["runs"][0]["whole"]["scale"]
    assert scale["high"] is None
    assert 0 < scale["low"] < 50_000
    assert scale["status"][0]["code"] == "not_measurable"
    write_table(tmp_path / "short.csv", norms(3))
    done = isoloss("gns", "short.csv")
    assert done.returncode == 3
    assert "not yet measurable, and no bound either" in done.stdout


def test_a_table_of_your_own(isoloss: Command, tmp_path: Path) -> None:
    write_table(tmp_path / "own.csv", norms(64))
    done = isoloss("gns", "own.csv", "--windows", 1)
    assert done.returncode == 0, done.stderr
    assert "in the unit of small and big" in done.stdout
    assert "sequences" not in done.stdout
    write_table(tmp_path / "named.csv", norms(64), "b,B,n,N")
    named = isoloss("gns", "named.csv", "--columns", "small=b,big=B,sq_small=n,sq_big=N")
    expected = isoloss("gns", "own.csv").stdout.replace("own.csv", "named.csv")
    assert [line.strip() for line in named.stdout.splitlines()] == [
        line.strip() for line in expected.splitlines()
    ]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nothing.csv"], 1, "no such file or folder"),
        (["nothing.npz"], 1, "no such checkpoint"),
        (["."], 1, "holds no run records"),
        (["own.csv", "--tokens", "tokens"], 2, "--tokens: it is for checkpoints"),
        (["own.csv", "--seed", "1"], 2, "--seed: it is for checkpoints"),
        (["own.csv", "--threads", "2"], 2, "--threads: it is for checkpoints"),
        (["a.npz", "--windows", "2"], 2, "--windows: a checkpoint has no stretches"),
        (["own.csv", "--windows", "0"], 2, "--windows"),
        (["own.csv", "--level", "1"], 2, "between 0 and 1"),
        (["own.csv", "--columns", "small"], 2, "--columns 'small' is not of the form small=b"),
        (["own.csv", "--columns", "small=x"], 1, "own.csv: no column x"),
        (["words.csv"], 1, "words.csv: no column small, big, sq_small, sq_big"),
        (["RUN.ckpt.npz"], 1, "there are no token ids in tokens; name their folder with --tokens"),
    ],
)
def test_wrong_input_is_one_line(
    isoloss: Command, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    write_table(tmp_path / "own.csv", norms(20))
    (tmp_path / "words.csv").write_text("a,b\n1,2\n", "utf-8")
    (tmp_path / "RUN.ckpt.npz").write_bytes(b"PK")
    done = isoloss("gns", *words)
    assert done.returncode == code
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


# With torch ------------------------------------------------------------------------------------

RUN = """
[defaults]
corpus = "text.txt"
lr = 0.01
batch = 512
eval_points = 4
eval_block = 2048
eval_final = 4096
[defaults.shape]
vocab = 256
n_ctx = 32
n_layer = 1
n_heads = 2
d_model = 8
[[run]]
tokens = 16384
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")
    rng = np.random.default_rng(7)
    words = np.array(["the", "law", "of", "small", "runs", "says", "how", "large"])
    paragraphs = (" ".join(rng.choice(words, 60)) for _ in range(400))
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    path = tmp_path / "run.toml"
    path.write_text(RUN, encoding="utf-8")
    return path


def test_train_measures_and_keeps_states_that_gns_reads(
    isoloss: Command, run_file: Path, tmp_path: Path
) -> None:
    plain = isoloss("train", run_file.name, "--out", "plain", "--json")
    words = ("--noise-every", 2, "--keep", 16, "--keep", 32)
    done = isoloss("train", run_file.name, "--out", "records", *words, "--json")
    assert done.returncode == 0, done.stderr
    told, expected = json.loads(done.stdout), json.loads(plain.stdout)
    assert told["end"]["loss"] == expected["end"]["loss"]
    run = read_record(tmp_path / told["record"])
    again = isoloss("train", run_file.name, "--out", "records", *words)
    assert "nothing is left to do, --noise-every or --keep neither" in again.stderr
    for option in ("--noise-every", "--keep"):
        late = isoloss("train", run_file.name, "--out", "late", option, 33)
        assert f"{option} is 33, and the run ends after 32 steps" in late.stderr
    assert [line.step for line in run.noise] == list(range(2, 33, 2))
    assert isoloss("gns", told["record"]).returncode in (0, 3)
    assert "no noise lines" not in isoloss("gns", "records").stderr
    missing = isoloss("gns", "plain")
    assert missing.returncode == 1
    assert "measure while it trains with --noise-every" in missing.stderr

    first, last = (f"records/{run.run_id}.step{step}.npz" for step in (16, 32))
    options = ("--batches", 24, "--batch", 1024)
    done = isoloss("gns", last, *options)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "after 32 steps: 24 batches of 1,024 tokens, 768 sequences of text" in said
    assert "measuring, 24.0 of 24.0 batches" in done.stderr
    found = json.loads(isoloss("gns", last, *options, "--json").stdout)
    assert found["scale"]["low"] < found["scale"]["b_simple"] < found["scale"]["high"]
    assert (found["step"], found["same_text"]) == (32, True)
    before = json.loads(isoloss("gns", first, *options, "--json").stdout)
    assert before["scale"]["b_simple"] < found["scale"]["b_simple"]
    other = json.loads(isoloss("gns", last, *options, "--seed", 1, "--json").stdout)
    assert other["scale"]["b_simple"] != found["scale"]["b_simple"]
    assert other["scale"]["low"] < found["scale"]["high"]

    few = isoloss("gns", last, "--batches", 4)
    assert few.returncode == 3
    assert "not yet measurable" in few.stdout
    for words, says in (
        (("--batches", 100_000), "take fewer, or a smaller batch"),
        (("--batch", 32), "two or more sequences of 32, such as 64"),
        (("--batch", 100), "such as 96"),
        (("--device", "tpu"), "use cpu, cuda or cuda:N"),
        (("--tokens", "nowhere"), "nowhere"),
    ):
        done = isoloss("gns", last, *words)
        assert done.returncode == 1
        assert says in done.stderr
    _damage(tmp_path / last)
    done = isoloss("gns", last)
    assert done.returncode == 1
    assert "is no whole checkpoint" in done.stderr
    (tmp_path / "records" / f"{run.run_id}.jsonl").unlink()
    done = isoloss("gns", first)
    assert done.returncode == 1
    assert "is not beside it" in done.stderr


def test_gns_takes_token_ids_of_one_file_as_train_does(
    isoloss: Command, run_file: Path, tmp_path: Path
) -> None:
    done = isoloss("train", run_file.name, "--out", "records", "--keep", 32, "--json")
    assert done.returncode == 0, done.stderr
    (state,) = (tmp_path / "records").glob("*.step32.npz")
    assert isoloss("corpus", "pack", "records/tokens", "set.zip").returncode == 0
    before = sorted(path.name for path in tmp_path.rglob("*"))
    words = ("gns", state.relative_to(tmp_path), "--batches", 16, "--batch", 1024, "--json")
    beside = isoloss(*words)
    packed = isoloss(*words, "--tokens", "set.zip")
    assert packed.returncode == beside.returncode, packed.stderr
    assert packed.stdout == beside.stdout
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    ids = np.random.default_rng(0).integers(0, 256, 60_000).astype("<u2")
    (tmp_path / "other.bin").write_bytes(ids.tobytes())
    other = isoloss(*words, "--tokens", "other.bin")
    assert other.returncode in (0, 3), other.stderr
    assert json.loads(other.stdout)["same_text"] is False
    assert "is not the text that" in other.stderr
    wrong = isoloss(*words, "--tokens", "text.txt")
    assert wrong.returncode == 1
    assert "holds no token ids; give a .bin file" in wrong.stderr


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_sweep_measures_too_and_refuses_what_it_cannot(
    isoloss: Command, run_file: Path, tmp_path: Path
) -> None:
    done = isoloss("sweep", run_file.name, "--workers", 1, "--noise-every", 4)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "run").glob("*.jsonl")
    assert [line.step for line in read_record(record).noise] == list(range(4, 33, 4))
    run_file.write_text(RUN.replace("batch = 512", "batch = 32"), "utf-8")
    for verb in ("sweep", "train"):
        done = isoloss(verb, run_file.name, "--noise-every", 4, "--out", "other")
        assert done.returncode == 1
        assert "leave out --noise-every" in done.stderr
        assert not list((tmp_path / "other").glob("*.jsonl"))
    assert isoloss("train", run_file.name, "--noise-every", 0).returncode == 2
