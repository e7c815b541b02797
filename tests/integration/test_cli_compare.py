"""`isoloss compare` as a stranger meets it: the verdict, what puts it in doubt, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss import published


def write(path: Path, name: str, seed: int, factor: float = 1.0, **changed: object) -> None:
    """Twelve runs of Besiroglu's law with 0.3 % noise; `changed` replaces loss factors by row."""
    random = np.random.default_rng(seed)
    n, d = (x.ravel() for x in np.meshgrid([3e7, 1e8, 3e8, 9e8], [1e9, 4e9, 1.6e10]))
    loss = published.BESIROGLU_2024(n, d) * factor * np.exp(0.003 * random.standard_normal(12))
    if "flat" in changed:
        loss = np.full(12, 3.0)
    if "outlier" in changed:
        loss[4] *= 1.6
    rows = [f"{a:.6g},{b:.6g},{c:.6f}" for a, b, c in zip(n, d, loss, strict=True)]
    text = "params_total,tokens,loss\n" + "\n".join(rows) + "\n"
    (path / name).write_text(text, encoding="utf-8")


def test_good_arms_are_compared_without_a_doubt(isoloss: Command, tmp_path: Path) -> None:
    write(tmp_path, "a.csv", 1)
    write(tmp_path, "b.csv", 2)
    done = isoloss("compare", "a.csv", "b.csv")
    assert done.returncode == 0
    assert done.stdout.startswith("not distinguishable: a.csv needs ")
    assert "doubt" not in done.stdout
    assert "seen" not in done.stdout
    read = json.loads(isoloss("compare", "a.csv", "b.csv", "--json").stdout)
    assert (read["status"], read["findings"]) == ([], [])


def test_a_bad_arm_is_named_by_its_file(isoloss: Command, tmp_path: Path) -> None:
    write(tmp_path, "adamw.csv", 1)
    write(tmp_path, "muon.csv", 2, outlier=True)
    done = isoloss("compare", "adamw.csv", "muon.csv")
    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    assert "arm a is adamw.csv, arm b is muon.csv" in told
    assert "doubt (outlier): a run lies far from the law" in told
    assert "seen (outlier): run 5 of arm b lies " in told
    assert max(map(len, done.stdout.splitlines())) <= 80
    read = json.loads(isoloss("compare", "adamw.csv", "muon.csv", "--json").stdout)
    assert [one["code"] for one in read["status"]] == ["outlier"]
    assert read["findings"][0]["detail"].startswith("run 5 of arm b")


@pytest.mark.parametrize("more", [(), ("--asymptote", "free")])
def test_a_compute_far_beyond_the_arms(
    isoloss: Command, tmp_path: Path, more: tuple[str, ...]
) -> None:
    write(tmp_path, "a.csv", 1)
    write(tmp_path, "b.csv", 2, 0.97)
    done = isoloss("compare", "a.csv", "b.csv", *more, "--at", "1e60")
    assert done.returncode == 0
    assert "warning" not in done.stderr
    assert "doubt (extrapolated)" in done.stdout
    assert "seen (extrapolated): 1e+60 FLOPs is 1.16e+40 times the most of arm a" in " ".join(
        done.stdout.split()
    )
    beyond = isoloss("compare", "a.csv", "b.csv", *more, "--at", "1e999")
    assert beyond.returncode == 2
    assert beyond.stdout == ""
    assert beyond.stderr.splitlines()[-1] == (
        "isoloss: Invalid value for --at: 1e999 is not positive and finite (try --help)"
    )


def test_an_arm_of_one_loss_is_refused(isoloss: Command, tmp_path: Path) -> None:
    write(tmp_path, "a.csv", 1)
    write(tmp_path, "b.csv", 2, flat=True)
    done = isoloss("compare", "a.csv", "b.csv", "--json")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "every run of arm b has the same loss" in done.stderr
