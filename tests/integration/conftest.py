"""A table of runs simulated from published coefficients, and the command line as a user runs it."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isoloss import published
from isoloss.cli.app import run

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def simulate(sizes: int = 8, budgets: tuple[float, ...] = (1e18, 1e19, 1e20, 1e21)) -> str:
    """IsoFLOP runs from Besiroglu's law with 0.3 % noise, as CSV with common column names."""
    rng = np.random.default_rng(20240415)
    rows = ["params,tokens,flops,val_loss"]
    for budget in budgets:
        best = 0.1 * np.sqrt(budget)
        for n in best * np.geomspace(0.2, 6.0, sizes):
            d = budget / (6 * n)
            loss = float(published.BESIROGLU_2024(n, d)) * np.exp(0.003 * rng.standard_normal())
            rows.append(f"{n:.6g},{d:.6g},{budget:.6g},{loss:.6f}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def runs_csv(tmp_path: Path) -> Path:
    """A CSV of 32 simulated runs in an empty folder."""
    path = tmp_path / "runs.csv"
    path.write_text(simulate(), encoding="utf-8")
    return path


@pytest.fixture
def isoloss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `isoloss WORDS` in the test's folder, in this process, and return what came of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # `train` sets it: put back what was there

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        given = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["isoloss", *given])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(given)
        return subprocess.CompletedProcess(given, code, out.getvalue(), err.getvalue())

    return command


@pytest.fixture
def isoloss_process(tmp_path: Path) -> Command:
    """Run `python -m isoloss WORDS` in the test's folder, as a process of its own."""

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "isoloss", *map(str, words)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return command
