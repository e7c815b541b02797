"""Kill a sweep that trains real models, anywhere, as often as you like: nothing is lost or redone.

Each test starts `python -m isoloss.lab` on one sweep file, kills the parent or a worker at random
moments (seeded), starts the same command again, and at the end compares the records with those of
a sweep left alone. Only processes started here are killed, each by its number.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isoloss.lab.tokens import TokenSet
from isoloss.runs import content, read_record, read_runs

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="finds the workers in /proc"
)

SWEEP = """
[defaults]
batch = 128
lr = 0.01
eval_points = 8
eval_block = 1024
eval_final = 2048
[defaults.shape]
n_layer = 1
n_heads = 2
vocab = 256
n_ctx = 32

[[run]]
shape = { d_model = 16 }
tokens = ["12K", "24K"]
[[run]]
shape = { d_model = 8 }
tokens = "16K"
seed = [1, 2, 3]
"""
RUNS = 5
BLOCKED = ("rich", "cyclopts", "narwhals", "polars", "pandas", "matplotlib", "scipy", "tokenizers")


@dataclass(frozen=True)
class Sweep:
    """A sweep file, its tokens, and the folder of its records."""

    file: Path
    tokens: Path
    folder: Path

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """The same command every time."""
        command = [sys.executable, "-m", "isoloss.lab", str(self.file), "--out", str(self.folder)]
        command += ["--tokens", str(self.tokens), "--workers", "2", "--checkpoint-seconds", "0.05"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment
        )

    def finish(self, **environment: str) -> tuple[str, str]:
        """Run the command to its end; what it said on standard output and standard error."""
        process = self.start(**environment)
        out, err = (text.decode() for text in process.communicate(timeout=300))
        assert process.returncode == 0, err
        return out, err

    def records(self) -> dict[str, Any]:
        return {path.name: read_record(path) for path in self.folder.glob("*.jsonl")}

    def contents(self) -> dict[str, Any]:
        """The records in everything but time and machine."""
        return {name: content(run) for name, run in self.records().items()}

    def finished(self) -> dict[str, tuple[bytes, int]]:
        """The finished records: their bytes, and when they were last written."""
        found: dict[str, tuple[bytes, int]] = {}
        for name, run in self.records().items():
            if run.finished:
                path = self.folder / name
                found[name] = (path.read_bytes(), path.stat().st_mtime_ns)
        return found

    def lines(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("*.jsonl"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "sweep.toml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="module")
def undisturbed(
    file: Path, tokens: TokenSet, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The records of a sweep left alone, where only numpy and torch can be imported."""
    sweep = Sweep(file, tokens.folder, tmp_path_factory.mktemp("alone") / "runs")
    shadow = tmp_path_factory.mktemp("shadow")
    for name in BLOCKED:
        (shadow / f"{name}.py").write_text("raise ModuleNotFoundError(name=__name__)")
    path = os.pathsep.join([str(shadow), *filter(None, [os.environ.get("PYTHONPATH")])])
    out, err = sweep.finish(PYTHONPATH=path)
    packed = sweep.folder.with_name("runs.results.zip")
    assert out == f"5 of 5 runs done; records in {sweep.folder}\npacked in {packed}\n"
    assert len(read_runs(packed)) == RUNS
    assert "sweep: 5 runs: 0 done before, 0 to resume, 5 to begin; 2 workers" in err
    assert sum("finished: loss" in line for line in err.splitlines()) == RUNS
    assert {path.suffix for path in sweep.folder.iterdir()} == {".jsonl"}
    return sweep.contents()


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


def wait_at_random(sweep: Sweep, process: subprocess.Popen[bytes], rng: random.Random) -> None:
    """Some moment of a sweep: now and then while it starts, mostly while it trains.

    Counted in lines of the records, of which a whole sweep has about forty, so that a fast machine
    and a busy one are hit alike.
    """
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 1.0))
        return
    until = sweep.lines() + rng.randrange(1, 10)
    while sweep.lines() < until and process.poll() is None:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))


def kill_parent(process: subprocess.Popen[bytes]) -> bool:
    """Kill it and see its workers go with it; False if it had already ended."""
    if process.poll() is not None:
        return False
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while any(map(is_alive, workers)):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.01)
    return True


def kill_worker(process: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill one of its workers; False if it has none."""
    workers = children_of(process.pid) if process.poll() is None else []
    if not workers:
        return False
    os.kill(rng.choice(workers), signal.SIGKILL)
    return True


def assert_kept(sweep: Sweep, before: dict[str, tuple[bytes, int]]) -> None:
    """What was finished is as it was, byte for byte, and was not written again."""
    after = sweep.finished()
    assert {name: after.get(name) for name in before} == before


def torment(sweep: Sweep, parents: int, workers: int, rng: random.Random) -> tuple[int, int]:
    """Kill the parent and workers so many times in random order; finish; return kills made."""
    plan = ["parent"] * parents + ["worker"] * workers
    rng.shuffle(plan)
    made = {"parent": 0, "worker": 0}
    process, lost, before = sweep.start(), 0, sweep.finished()
    for target in plan:
        wait_at_random(sweep, process, rng)
        if target == "parent" or lost == 2:  # a run may lose its worker twice
            made["parent"] += kill_parent(process)
            assert_kept(sweep, before)
            before, lost = sweep.finished(), 0
            process = sweep.start()
        elif kill_worker(process, rng):
            made["worker"] += 1
            lost += 1
    process.communicate(timeout=300)
    assert_kept(sweep, before)
    before = sweep.finished()
    sweep.finish()
    assert_kept(sweep, before)
    return made["parent"], made["worker"]


def torment_until(
    enough: int, each: int, folder: Path, file: Path, tokens: TokenSet, undisturbed: dict[str, Any]
) -> None:
    """Torment sweep after sweep until so many parents and so many workers have been killed."""
    parents = workers = 0
    for seed in range(4 * enough):
        sweep = Sweep(file, tokens.folder, folder / f"runs-{seed}")
        more_parents, more_workers = torment(sweep, each, each, random.Random(seed))
        assert len(undisturbed) == RUNS
        assert sweep.contents() == undisturbed
        assert {path.suffix for path in sweep.folder.iterdir()} == {".jsonl"}
        parents, workers = parents + more_parents, workers + more_workers
        if parents >= enough and workers >= enough:
            return
    pytest.fail(f"only {parents} parents and {workers} workers were there to be killed")


def test_a_sweep_survives_a_killed_worker_and_a_killed_parent(
    file: Path, tokens: TokenSet, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    torment_until(1, 1, tmp_path, file, tokens, undisturbed)


@pytest.mark.full
def test_a_sweep_survives_ten_killed_parents_and_ten_killed_workers(
    file: Path, tokens: TokenSet, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    torment_until(10, 3, tmp_path, file, tokens, undisturbed)


@pytest.mark.full
def test_two_sweeps_of_one_folder_train_each_run_once(
    file: Path, tokens: TokenSet, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    sweep = Sweep(file, tokens.folder, tmp_path / "runs")
    first, second = sweep.start(), sweep.start()
    said = "".join(process.communicate(timeout=300)[1].decode() for process in (first, second))
    assert sweep.contents() == undisturbed
    finishes = [line.split(":")[1] for line in said.splitlines() if "finished: loss" in line]
    assert len(set(finishes)) == RUNS
