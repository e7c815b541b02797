"""The pages: their examples run, their links lead somewhere, and they build without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_in_order(page: Path) -> None:
    cells = re.findall(
        r"```\{code-cell\}[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, str(page.name), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        aim = page.parent / target if target else page
        assert aim.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", aim.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w]+", "-", h.lower()).strip("-") for h in headings}


@pytest.mark.full
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb", reason="Sphinx is not here: make test-full installs it")
    pytest.importorskip("furo")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*build, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "html" / "methods" / "fitting.html").exists()
