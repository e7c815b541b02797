"""The benchmark of a GPU, tried out where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    """Run it, and see that it writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in (FOLDER / "results").glob("gpu*")}
    command = [sys.executable, str(FOLDER / "gpu.py"), *words]
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert before == {path: path.stat().st_mtime_ns for path in (FOLDER / "results").glob("gpu*")}
    return done


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_skipped() -> None:
    done = benchmark()
    assert done.returncode == 0
    assert done.stdout == "gpu: skipped, for there is no GPU here\n"


@pytest.mark.full
def test_all_of_it_runs_on_toy_sizes() -> None:
    done = benchmark("--device", "cpu", "--small", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    first = [row[0].strip("| ") for row in rows]
    assert first == [
        "what",
        "measured peak, TFLOP/s",
        "124M, tokens/s",
        "124M, part of the peak",
        "124M, peak memory, GB",
        "sweep of 3 runs, s (opponent: 3 timed)",
    ]
    for row in (rows[2], rows[5]):
        ours, plain, ratio = (float(cell.replace(",", "")) for cell in row[1:4])
        assert ours > 0
        assert plain > 0
        assert ratio > 0
