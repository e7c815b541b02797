"""A small real-looking corpus and a small spec, for tests that train."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.lab.tokens import TokenSet, prepare
from isoloss.runs import RunSpec

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    """About 180 kB of made-up words in 60 documents: learnable, and never the same twice."""
    rng = np.random.default_rng(11)
    words = ["".join(rng.choice(list("abcdefgh"), size=n)) for n in rng.integers(2, 8, 200)]
    folder = tmp_path_factory.mktemp("text")
    for index in range(60):
        chosen = rng.zipf(1.4, 600) % len(words)
        (folder / f"{index:02d}.txt").write_text(" ".join(words[i] for i in chosen))
    return prepare(folder, tmp_path_factory.mktemp("tokens") / "set", val_fraction=0.2)


@pytest.fixture
def spec() -> RunSpec:
    shape = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=32)
    return RunSpec(
        shape, tokens=24_000, batch=256, lr=0.01, eval_points=6, eval_block=2048, eval_final=8192
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"
