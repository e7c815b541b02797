"""A whole sweep where only numpy and torch are there: from one file of ids to one of results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from isoloss.lab.tokens import TokenSet
from isoloss.lab.tokens.pack import pack_tokens
from isoloss.runs import read_runs

SWEEP = """
[defaults]
batch = 128
lr = 0.01
eval_points = 4
eval_block = 512
eval_final = 1024
tokens = "6K"
[defaults.shape]
n_layer = 1
n_heads = 2
vocab = 256
n_ctx = 32
d_model = 8
[[run]]
seed = [0, 1]
"""

# Loaded by every Python that is started with this folder on its path, the workers' too.
SITE = """
import sys
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {blocked!r}
        return None if absent else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
"""


def installed_with(*names: str) -> set[str]:
    """These distributions and what they ask for, by name."""
    found: set[str] = set()
    ask = list(names)
    while ask:
        name = re.sub(r"[-_.]+", "-", ask.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        ask += [re.split(r"[^\w.-]", line)[0] for line in wanted if "extra ==" not in line]
    return found


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment in which no library but numpy, torch and theirs can be imported."""
    kept = installed_with("numpy", "torch") | {"isoloss"}
    blocked = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & kept
    }
    assert {"cyclopts", "rich", "pytest"} <= blocked
    assert not {"numpy", "torch", "isoloss"} & blocked
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE.format(blocked=sorted(blocked)))
    path = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def lab(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isoloss.lab", "sweep.toml", "--workers", "1", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_sweep_from_one_packed_file_to_one_packed_file(
    tokens: TokenSet, tmp_path: Path, bare: dict[str, str]
) -> None:
    blocked = [sys.executable, "-c", "import rich"]
    assert subprocess.run(blocked, env=bare, capture_output=True).returncode == 1
    (tmp_path / "sweep.toml").write_text(SWEEP)
    pack_tokens(tokens.folder, tmp_path / "text.zip")
    done = lab(tmp_path, bare, "--tokens", "text.zip")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 of 2 runs done; records in sweep",
        "packed in sweep.results.zip",
    ]
    runs = read_runs(tmp_path / "sweep.results.zip")
    assert len(runs) == 2
    assert runs.hash == read_runs(tmp_path / "sweep").hash
    assert 1.0 < float(runs.loss.max()) < 5.6
    before = (tmp_path / "sweep.results.zip").read_bytes()
    again = lab(tmp_path, bare, "--tokens", "text.zip")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "sweep.results.zip").read_bytes() == before


@pytest.mark.full
def test_a_sweep_from_ids_of_another_program_that_cannot_all_be_trained(
    tmp_path: Path, bare: dict[str, str]
) -> None:
    rng = np.random.default_rng(0)
    ids = (rng.zipf(1.3, 60_000) % 200).astype("<u2")
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, len(ids)
    (tmp_path / "ids.bin").write_bytes(header.tobytes() + ids.tobytes())  # as llm.c writes them
    text = SWEEP.replace("seed = [0, 1]", "seed = 0\n[[run]]\nseed = 1\nlr = 1e30")
    text = text.replace("lr = 0.01", 'lr = 0.01\noptimizer = "sgd"\nclip = 0')
    (tmp_path / "sweep.toml").write_text(text)
    shown = lab(tmp_path, bare, "--tokens", "ids.bin", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert not (tmp_path / "sweep").exists()
    done = lab(tmp_path, bare, "--tokens", "ids.bin", "--results", "out.zip")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of 2 runs done (1 diverged)")
    runs = read_runs(tmp_path / "out.zip")
    assert len(runs) == 1
    assert any("1 of 2 runs diverged" in note for note in runs.notes)
    for words in (("--tokens", "sweep.toml"), ("--tokens", "nowhere.bin")):
        refused = lab(tmp_path, bare, *words, "--out", "other")
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1
        assert "token" in refused.stderr
