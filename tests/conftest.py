"""Fixtures every test may use."""

from __future__ import annotations

import os

# Two BLAS threads on the oracles' tiny arrays cost ten times what one does; numpy reads this when
# it loads. Torch does not, so what the lab says about its own threads is still tested.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full` as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    skip = pytest.mark.skip(reason="slow: run by make test-full")
    for item in items:
        if "full" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def own_speeds() -> Iterator[None]:
    """What tests measure of the machine stays with them, and what was measured before is not read.

    In the environment, because the processes that tests start read it there.
    """
    before = os.environ.get("ISOLOSS_SPEEDS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ISOLOSS_SPEEDS"] = folder
        yield
    if before is None:
        del os.environ["ISOLOSS_SPEEDS"]
    else:
        os.environ["ISOLOSS_SPEEDS"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public run tables beside the checkout; without them the test skips."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public run tables (../shared/data) are not beside this checkout")
    return folder
