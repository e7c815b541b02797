"""One run by two processes: the loss of one, one record, checkpoints that any number can read.

Processes are real ones, started by torchrun or by the command line, and speak over gloo.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, prepare
from isoloss.runs import Run, RunSpec, Schedule, read_record, trunk_of

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.engine import PLAIN  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402
from isoloss.lab.parallel.launch import _Heard, _reason  # noqa: E402
from isoloss.lab.parallel.rows import rows_each  # noqa: E402
from isoloss.lab.parallel.team import ALONE, Team, spread, team_of  # noqa: E402
from isoloss.lab.train import Progress, seed_dropout  # noqa: E402
from isoloss.lab.train import train as train_run  # noqa: E402
from isoloss.lab.training.batches import Batches  # noqa: E402

SHAPE = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=32)
SPEC = RunSpec(
    SHAPE, tokens=8_000, batch=256, lr=0.01, eval_points=6, eval_block=2048, eval_final=8192
)
MODERN = replace(SHAPE, positions="rotary", gated=True, norm="rmsnorm", bias=False, tied=False)
LONG_ENOUGH = replace(SPEC, tokens=64_000)  # to be killed in the midst of
MODELS = {
    "untied": replace(SPEC, shape=replace(SHAPE, tied=False)),
    "modern": replace(SPEC, shape=MODERN),
    "used again": replace(SPEC, shape=replace(SHAPE, reuse=2)),
    "lstm": replace(SPEC, shape=Shape.lstm(n_layer=2, d_model=16, vocab=256, n_ctx=32)),
    "uneven": replace(SPEC, shape=replace(SHAPE, vocab=257, d_model=18, n_layer=1)),
}
OPTIONS = {
    "adam": replace(SPEC, optimizer="adam"),
    "adafactor": replace(SPEC, optimizer="adafactor"),
    "sgd": replace(SPEC, optimizer="sgd"),
    "in parts": replace(SPEC, micro_batch=64),
    "unclipped": replace(SPEC, clip=0.0),
    "mup": replace(SPEC, parametrization="mup", base_width=8),
    "stopped early": replace(
        SPEC,
        tokens=16_000,
        unique_tokens=512,
        patience=1,
        eval_points=12,
        eval_block=1024,
        eval_final=2048,
    ),
}
LINUX = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="finds the processes in /proc"
)


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def job(
    spec: RunSpec, folder: Path, kind: str, *, kill: int = 0, keep: Any = (), noise_every: int = 0
) -> dict[str, Any]:
    """What `team_trainer` is to do."""
    told = {"spec": spec.to_dict(), "folder": str(folder), "kind": kind}
    return {**told, "kill": kill, "keep": list(keep), "noise_every": noise_every}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def by_torchrun(tokens: TokenSet, *jobs: dict[str, Any]) -> int:
    """Do the jobs with two processes, and return torchrun's exit code."""
    script = Path(__file__).with_name("team_trainer.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr"]
    command += ["127.0.0.1", "--nproc-per-node", "2", str(script)]
    command += [json.dumps({"tokens": str(tokens.folder), "jobs": jobs})]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0 or any(job["kill"] for job in jobs), done.stderr[-3000:]
    return done.returncode


def train(spec: RunSpec, tokens: TokenSet, folder: Path, **more: Any) -> None:
    """Train with one process, in the one plain way, so that only the processes differ."""
    train_run(spec, tokens, folder, engine=PLAIN, **more)


def record(spec: RunSpec, folder: Path) -> Run:
    path = folder / f"{spec.run_id}.jsonl"
    run = read_record(path)
    assert path.read_text().count('"kind": "spec"') == 1
    assert {one.name for one in folder.iterdir()} == {path.name}  # nothing is left lying about
    return run


def assert_same(run: Run, other: Run, *, rel: float = 1e-5) -> None:
    """The same learning curve, training losses and final loss, to rounding."""
    assert run.end is not None
    assert other.end is not None
    assert run.end.status == other.end.status == "finished"
    assert (run.end.step, run.end.tokens) == (other.end.step, other.end.tokens)
    assert [point.step for point in run.points] == [point.step for point in other.points]
    for name in ("loss", "train_loss", "se"):
        ours, theirs = ([getattr(point, name) for point in one.points] for one in (run, other))
        # A standard error is a spread of losses, and as exact as they are.
        exact = rel * other.end.loss if name == "se" else 0.0
        assert np.allclose(ours, theirs, rtol=rel, atol=exact, equal_nan=True), name
    assert run.end.loss == pytest.approx(other.end.loss, rel=rel)


# What needs no second process ------------------------------------------------------------------


def test_the_rows_of_the_processes_are_the_batch_of_one(tokens: TokenSet) -> None:
    whole = Batches(tokens, SPEC)
    parts = [Batches(tokens, SPEC, Team(rank, 4)) for rank in range(4)]
    for step in (0, 7, whole.per_epoch + 3):
        ids, targets = zip(*(part(step) for part in parts), strict=True)
        assert {len(one) for one in ids} == {2}
        assert torch.equal(torch.cat(ids), whole(step)[0])
        assert torch.equal(torch.cat(targets), whole(step)[1])


def test_rows_that_do_not_divide_are_refused_with_numbers_that_do(tokens: TokenSet) -> None:
    assert [rows_each(SPEC, n) for n in (1, 2, 4, 8)] == [8, 4, 2, 1]
    with pytest.raises(InputError, match=r"8 rows of 32, which 3 processes.*use 2 or 4 or 8"):
        rows_each(SPEC, 3)
    with pytest.raises(InputError, match=r"1 rows of 32, which 2 processes.*use one"):
        rows_each(replace(SPEC, batch=32), 2)
    with pytest.raises(InputError, match="share evenly"):
        Batches(tokens, SPEC, Team(0, 16))


def test_one_process_alone_is_what_it_was() -> None:
    model = make_model(SHAPE)
    assert spread(model, ALONE) is model
    assert team_of(model) == ALONE
    assert ALONE.facts() == {}
    assert not torch.distributed.is_initialized()


def test_what_is_dropped_is_another_for_every_process_and_the_same_again() -> None:
    def drawn(step: int, rank: int) -> list[float]:
        seed_dropout(replace(SPEC, dropout=0.1), step, rank)
        return [float(number) for number in torch.rand(4)]

    assert drawn(3, 1) == drawn(3, 1)
    different = [drawn(3, 0), drawn(3, 1), drawn(4, 1), drawn(4, 0)]
    assert len({tuple(numbers) for numbers in different}) == 4


def test_the_command_refuses_what_cannot_be_shared(
    tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from isoloss.cli.app import run

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = write_run(tmp_path, SPEC)
    words = ["train", str(file), "--tokens", str(tokens.folder)]
    refusals = {
        ("--nproc", "3"): ("8 rows of 32, which 3 processes cannot share evenly", 1),
        ("--nproc", "0"): ("nproc", 2),
        ("--parallel", "fsdp"): ("give --nproc too", 2),
        ("--nproc", "2", "--parallel", "magic"): ("parallel", 2),
    }
    for more, (said, code) in refusals.items():
        assert run([*words, *more]) == code
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line.lower() or said in line
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert run([*words, "--nproc", "2"]) == 2
    assert "-m isoloss.lab.member" in capsys.readouterr().err
    assert not list(tmp_path.glob("run/*"))


REPORT = """
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 11)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 12)  (SIGKILL)
"""


def test_the_reason_of_an_end_is_the_one_that_came_first() -> None:
    def reason(said: str = "", broke: str = "", report: str = "") -> str:
        return _reason(_Heard(said, broke), 1, 2, io.BytesIO(report.encode()))

    gone = "RuntimeError: connection closed by peer"
    assert reason("the text is gone", gone, REPORT) == "the text is gone"
    assert "process 2 of 2 was killed by SIGKILL" in reason("", gone, REPORT)
    assert gone in reason("", gone, REPORT.replace("-9", "1"))
    assert "process 1 of 2 was killed by SIGTERM" in reason("", "", REPORT.replace("-9", "1"))
    assert "no such module" in reason("", "", "Traceback\n no such module\n")
    assert "status 1" in reason()


# Two processes ---------------------------------------------------------------------------------


def test_two_processes_give_the_loss_of_one(tokens: TokenSet, tmp_path: Path) -> None:
    jobs = [job(SPEC, tmp_path / kind, kind) for kind in ("ddp", "fsdp")]
    by_torchrun(tokens, *jobs)
    train(SPEC, tokens, tmp_path / "alone")
    alone = record(SPEC, tmp_path / "alone")
    assert "processes" not in alone.machine
    for kind in ("ddp", "fsdp"):
        together = record(SPEC, tmp_path / kind)
        assert_same(together, alone)
        assert (together.machine["processes"], together.machine["parallel"]) == (2, kind)


@pytest.mark.full
def test_every_model_and_option_gives_the_loss_of_one(tokens: TokenSet, tmp_path: Path) -> None:
    cases = {**MODELS, **OPTIONS}
    jobs = [job(one, tmp_path / kind, kind) for one in cases.values() for kind in ("ddp", "fsdp")]
    for kind in ("ddp", "fsdp"):
        for one in cases.values():
            (tmp_path / kind / one.run_id).mkdir(parents=True)
    jobs = [{**one, "folder": f"{one['folder']}/{run_id(one)}"} for one in jobs]
    by_torchrun(tokens, *jobs)
    for name, one in cases.items():
        train(one, tokens, tmp_path / "alone" / one.run_id)
        alone = record(one, tmp_path / "alone" / one.run_id)
        assert_same(record(one, tmp_path / "ddp" / one.run_id), alone)
        if name == "adafactor":
            for rank in (0, 1):
                said = (tmp_path / "fsdp" / one.run_id / f"refused-{rank}").read_text()
                assert "ddp" in said
        else:
            assert_same(record(one, tmp_path / "fsdp" / one.run_id), alone)
    stopped = record(OPTIONS["stopped early"], tmp_path / "fsdp" / OPTIONS["stopped early"].run_id)
    assert stopped.end is not None
    assert "no lower loss" in stopped.end.reason


def run_id(one: dict[str, Any]) -> str:
    return RunSpec.from_dict(one["spec"]).run_id


@pytest.mark.full
def test_a_team_measures_its_gradient_noise_and_its_losses_are_the_same(
    tokens: TokenSet, tmp_path: Path
) -> None:
    """Two processes, each with its half of a batch of 8 sequences, whole or in parts of two."""
    specs = {
        128: replace(SPEC, tokens=2_048),
        64: replace(SPEC, tokens=2_048, micro_batch=64),
    }
    jobs = [
        job(spec, tmp_path / f"{kind}-{small}-{every}", kind, noise_every=every)
        for small, spec in specs.items()
        for kind in ("ddp", "fsdp")
        for every in (0, 2)
    ]
    by_torchrun(tokens, *jobs)
    for small, spec in specs.items():
        train(spec, tokens, tmp_path / f"alone-{small}", noise_every=2)
        alone = record(spec, tmp_path / f"alone-{small}")
        for kind in ("ddp", "fsdp"):
            measured, plain = (
                record(spec, tmp_path / f"{kind}-{small}-{every}") for every in (2, 0)
            )
            assert measured.points[-1].loss == plain.points[-1].loss
            assert measured.end is not None
            assert plain.end is not None
            assert (measured.end.loss, plain.noise) == (plain.end.loss, ())
            assert [line.step for line in measured.noise] == [2, 4, 6, 8]
            for line, expected in zip(measured.noise, alone.noise, strict=True):
                assert (line.small, line.big) == (small, 256)
                assert line.sq_big == pytest.approx(expected.sq_big, rel=1e-4)
                if small == expected.small:  # one process alone in parts of two has these too
                    assert line.sq_small == pytest.approx(expected.sq_small, rel=1e-4)


@pytest.mark.full
def test_muon_gives_the_loss_of_one_to_the_rounding_of_its_16_bits(
    tokens: TokenSet, tmp_path: Path
) -> None:
    muon = replace(SPEC, optimizer="muon")
    by_torchrun(tokens, *(job(muon, tmp_path / kind, kind) for kind in ("ddp", "fsdp")))
    train(muon, tokens, tmp_path / "alone")
    for kind in ("ddp", "fsdp"):
        assert_same(record(muon, tmp_path / kind), record(muon, tmp_path / "alone"), rel=1e-3)


@pytest.mark.full
def test_dropout_is_drawn_anew_for_other_rows_and_the_same_for_a_run_resumed(
    tokens: TokenSet, tmp_path: Path
) -> None:
    dropped = replace(SPEC, dropout=0.2)
    assert by_torchrun(tokens, job(dropped, tmp_path / "torn", "ddp", kill=13)) != 0
    places = ("torn", "whole", "other")
    by_torchrun(
        tokens,
        *(job(dropped, tmp_path / place, "ddp") for place in places[:2]),
        job(dropped, tmp_path / "other", "fsdp"),
    )
    train(dropped, tokens, tmp_path / "alone")
    torn, whole, other = (record(dropped, tmp_path / place) for place in places)
    assert_same(torn, whole)
    assert_same(other, whole)
    alone = record(dropped, tmp_path / "alone")
    assert alone.end is not None
    assert whole.end is not None
    assert whole.end.loss != pytest.approx(alone.end.loss, rel=1e-5)  # the docs say so
    assert whole.end.loss == pytest.approx(alone.end.loss, rel=0.1)


@pytest.mark.full
def test_checkpoints_go_from_any_number_of_processes_to_any(
    tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are killed as a machine is, and one goes on; one is killed, and two go on; and so on."""
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)
    train(SPEC, tokens, tmp_path / "whole")

    def kill(progress: Progress) -> None:
        if progress.step == 13:
            raise Killed

    for place in ("one to ddp", "one to fsdp"):
        with pytest.raises(Killed):
            train(SPEC, tokens, tmp_path / place, on_progress=kill, checkpoint_seconds=0.0)
    for place, kind in (("ddp to one", "ddp"), ("fsdp to one", "fsdp"), ("fsdp to ddp", "fsdp")):
        assert by_torchrun(tokens, job(SPEC, tmp_path / place, kind, kill=13)) != 0
        assert (tmp_path / place / f"{SPEC.run_id}.ckpt.npz").exists()
    by_torchrun(
        tokens,
        job(SPEC, tmp_path / "one to ddp", "ddp"),
        job(SPEC, tmp_path / "one to fsdp", "fsdp"),
        job(SPEC, tmp_path / "fsdp to ddp", "ddp"),
    )
    for place in ("ddp to one", "fsdp to one"):
        steps: list[int] = []
        on_progress = lambda progress, steps=steps: steps.append(progress.step)  # noqa: E731
        train(SPEC, tokens, tmp_path / place, on_progress=on_progress)
        assert steps[0] in (13, 14)  # not from the beginning
    whole = record(SPEC, tmp_path / "whole")
    for place in ("one to ddp", "one to fsdp", "fsdp to ddp", "ddp to one", "fsdp to one"):
        assert_same(record(SPEC, tmp_path / place), whole)


@pytest.mark.full
def test_a_branch_leaves_a_trunk_that_a_team_has_trained(tokens: TokenSet, tmp_path: Path) -> None:
    cooled = replace(SPEC, schedule=Schedule("wsd_sqrt", warmup=0.05, decay=0.4))
    branch = replace(cooled, trunk=SPEC.tokens)
    trunk = trunk_of(branch)
    train(cooled, tokens, tmp_path / "whole")
    jobs = []
    for kind in ("ddp", "fsdp"):
        jobs.append(job(trunk, tmp_path / kind, kind, keep=[branch.branch_step]))
        jobs.append(job(branch, tmp_path / kind, kind))
    by_torchrun(tokens, *jobs)
    whole = record(cooled, tmp_path / "whole")
    for kind in ("ddp", "fsdp"):
        left = read_record(tmp_path / kind / f"{branch.run_id}.jsonl")
        assert left.end is not None
        assert left.end.start == branch.branch_step > 0
        assert whole.end is not None
        assert left.end.loss == pytest.approx(whole.end.loss, rel=1e-5)


# The command -----------------------------------------------------------------------------------


def write_run(folder: Path, spec: RunSpec) -> Path:
    told = {name: value for name, value in spec.to_dict().items() if name in ("lr", "batch")}
    told |= {name: getattr(spec, name) for name in ("eval_points", "eval_block", "eval_final")}
    lines = ["[[run]]", f"tokens = {spec.tokens}"]
    lines += [f"{name} = {value}" for name, value in told.items()]
    shape = spec.shape
    sizes = ("n_layer", "d_model", "n_heads", "vocab", "n_ctx")
    if spec.eval_corpora:
        lines.append(f"eval_corpora = {json.dumps(spec.eval_corpora)}")
    lines += ["[run.shape]", *(f"{name} = {getattr(shape, name)}" for name in sizes)]
    path = folder / "run.toml"
    path.write_text("\n".join(lines))
    return path


def command(file: Path, tokens: TokenSet, *more: str) -> list[str]:
    words = [sys.executable, "-m", "isoloss", "train", str(file), "--tokens", str(tokens.folder)]
    return [*words, "--nproc", "2", *more]


@pytest.mark.full
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_command_trains_with_two_processes(tokens: TokenSet, tmp_path: Path, kind: str) -> None:
    words = command(write_run(tmp_path, SPEC), tokens, "--parallel", kind)
    done = subprocess.run(
        [*words, "--json"], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["run"] == SPEC.run_id
    assert "training, 31.0 of 31.0 steps, loss" in done.stderr
    assert "Traceback" not in done.stderr
    train(SPEC, tokens, tmp_path / "alone")
    run = record(SPEC, tmp_path / "run")
    assert_same(run, record(SPEC, tmp_path / "alone"))
    assert run.end is not None
    assert told["end"]["loss"] == run.end.loss
    again = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)
    assert again.returncode == 0
    assert again.stdout.startswith(f"finished: loss {run.end.loss:.4f}")
    (tmp_path / "other.txt").write_text("another text, of the same run\n\n" * 4000)
    other = prepare(tmp_path / "other.txt", tmp_path / "other", val_fraction=0.2)
    words = command(tmp_path / "run.toml", other, "--parallel", kind)
    refused = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)
    assert refused.returncode == 1
    assert "was trained on the corpus" in refused.stderr


@pytest.mark.full
def test_two_processes_measure_other_corpora_in_16_bits_as_one_does(
    tokens: TokenSet, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("\n\n".join(f"line {n} of {n * n}" for n in range(4000)))
    other = prepare(tmp_path / "other.txt", tmp_path / "other", val_fraction=0.2)
    spec = replace(SPEC, eval_corpora=("other",))
    words = command(write_run(tmp_path, spec), tokens, "--precision", "bfloat16")
    words += ["--eval-tokens", f"other={other.folder}"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    narrow = replace(PLAIN, precision="bfloat16")
    train_run(spec, tokens, tmp_path / "alone", engine=narrow, eval_sets={"other": other})
    together, alone = record(spec, tmp_path / "run"), record(spec, tmp_path / "alone")
    assert together.machine["engine"]["precision"] == "bfloat16"
    assert_same(together, alone, rel=2e-3)  # sums of 16 bits, taken in another order
    assert [one.corpus for one in together.held_out] == [one.corpus for one in alone.held_out]
    assert together.held_out[1].loss == pytest.approx(alone.held_out[1].loss, rel=2e-3)
    wide = replace(PLAIN, precision="float32")
    train_run(spec, tokens, tmp_path / "wide", engine=wide, eval_sets={"other": other})
    assert record(spec, tmp_path / "wide").end != alone.end


@pytest.mark.full
def test_a_run_that_diverges_does_so_in_all_processes(tokens: TokenSet, tmp_path: Path) -> None:
    words = command(write_run(tmp_path, replace(SPEC, lr=1e18)), tokens)
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)
    (path,) = (tmp_path / "run").glob("*.jsonl")
    run = read_record(path)
    assert run.diverged
    assert done.returncode == 1
    assert done.stdout.startswith("diverged: ")


def children_of(parent: int) -> list[int]:
    """The processes started by this one, the dead but unburied left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(its_parent) == parent and state != "Z":
            found.append(int(entry.parent.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Started:
    """The command under way, its record begun: `torchrun` and the two processes are there."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            words,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Tests in the background of a shell ignore Ctrl-C, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        path = folder / f"{LONG_ENOUGH.run_id}.jsonl"
        until = time.monotonic() + 120
        while not (path.exists() and '"kind": "point"' in path.read_text()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "the run did not begin"
            time.sleep(0.005)
        (self.torchrun,) = children_of(self.process.pid)
        self.members = children_of(self.torchrun)
        assert len(self.members) == 2

    def end(self) -> tuple[int, str]:
        """Its exit code and its last line; nothing that it started is left."""
        err = self.process.communicate(timeout=120)[1]
        until = time.monotonic() + 30
        while any(map(is_alive, (self.torchrun, *self.members))):
            assert time.monotonic() < until, "a process outlived the command"
            time.sleep(0.01)
        assert "Traceback" not in err
        return self.process.returncode, err.strip().splitlines()[-1]


@pytest.fixture
def begun(tokens: TokenSet, tmp_path: Path) -> Iterator[Started]:
    words = command(write_run(tmp_path, LONG_ENOUGH), tokens)
    started = Started(words, tmp_path / "run")
    yield started
    started.process.kill()
    started.process.communicate()


@LINUX
@pytest.mark.full
def test_a_process_that_dies_ends_the_command_and_the_same_command_resumes(
    begun: Started, tokens: TokenSet, tmp_path: Path
) -> None:
    os.kill(begun.members[1], signal.SIGKILL)
    code, line = begun.end()
    assert code == 1
    assert re.fullmatch(
        r"isoloss: process [12] of 2 was killed by SIGKILL \(out of memory\?\); the same command "
        "goes on from the last checkpoint",
        line,
    )
    words = command(tmp_path / "run.toml", tokens)
    assert subprocess.run(words, env=environment(), capture_output=True).returncode == 0
    train(LONG_ENOUGH, tokens, tmp_path / "alone")
    alone = record(LONG_ENOUGH, tmp_path / "alone")
    assert_same(record(LONG_ENOUGH, tmp_path / "run"), alone)


@LINUX
@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_ends_its_processes(begun: Started, how: signal.Signals) -> None:
    begun.process.send_signal(how)
    code, line = begun.end()
    assert code == 130
    assert line.startswith("isoloss: ")
    assert "same command" in line


@LINUX
@pytest.mark.full
def test_nothing_outlives_a_command_that_is_killed(begun: Started) -> None:
    begun.process.kill()
    begun.process.communicate()
    until = time.monotonic() + 60
    while any(map(is_alive, (begun.torchrun, *begun.members))):
        assert time.monotonic() < until, "a process outlived the command"
        time.sleep(0.01)


@pytest.mark.full
def test_two_machines_train_a_run_under_ones_own_torchrun(tokens: TokenSet, tmp_path: Path) -> None:
    file = write_run(tmp_path, SPEC)
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    words += ["--nproc-per-node", "1", "--local-addr", "127.0.0.1", "--rdzv-backend", "c10d"]
    # They meet by a file, as no port is known to be free.
    words += ["--rdzv-endpoint", str(tmp_path / "meet"), "--rdzv-conf", "store_type=file"]
    words += ["--rdzv-id", "two", "-m", "isoloss.lab.member", str(file), "--parallel", "fsdp"]
    words += ["--tokens", str(tokens.folder)]
    nodes = [
        subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(node.communicate(timeout=300)[0] for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0]
    train(SPEC, tokens, tmp_path / "alone")
    run = record(SPEC, tmp_path / "run")
    assert_same(run, record(SPEC, tmp_path / "alone"))
    assert run.end is not None
    assert said.count(f"finished: loss {run.end.loss:.4f} nats per token; record: ") == 1
