"""What the README tells people to type works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import Command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_blocks_run(runs_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(runs_csv.parent)
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    plan = names["plan"]
    assert plan.n.low < plan.n.mid < plan.n.high  # type: ignore[attr-defined]
    assert (runs_csv.parent / "report.html").stat().st_size > 1000


def test_the_shell_blocks_run(runs_csv: Path, isoloss: Command) -> None:
    pytest.importorskip("matplotlib")
    (script,) = blocks("sh")
    lines = [shlex.split(line, comments=True) for line in script.splitlines()]
    for words in filter(None, lines):
        assert words[0] == "isoloss"
        done = isoloss(*words[1:])
        assert done.returncode == 0, done.stderr


def test_the_readme_fits_one_screen_and_its_links_exist() -> None:
    assert len(README.splitlines()) <= 80
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_make_has_the_targets_the_readme_names() -> None:
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^ {4}make (\w[\w-]*)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", rules, flags=re.MULTILINE), target
