"""The rooms of `isoloss.planning`: which may look into which, and what their names may not be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from isoloss import planning

HOME = Path(planning.__file__).parent
BOTTOM = {"budget", "estimate"}
MIDDLE = {"doubt", "training", "designs", "walks"}
BELOW = {
    **dict.fromkeys(MIDDLE, BOTTOM),
    "plans": BOTTOM | MIDDLE,
    "beyond": BOTTOM | MIDDLE | {"plans"},
}
MODULES = sorted(path.relative_to(HOME) for path in HOME.glob("*/*.py"))


def looked_into(path: Path) -> set[str]:
    """The rooms and bottom modules that a module imports, inside functions too."""
    nodes = ast.walk(ast.parse((HOME / path).read_text(encoding="utf-8")))
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert "isoloss.planning" not in modules, f"{path} imports what is over it"
    return {name.split(".")[2] for name in modules if name.startswith("isoloss.planning.")}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_room_looks_only_down(path: Path) -> None:
    room = path.parts[0]
    assert looked_into(path) <= BELOW[room] | {room}


def test_the_bottom_looks_into_no_room() -> None:
    assert {path.stem for path in HOME.glob("*.py")} == {"__init__", *BOTTOM}
    for name in BOTTOM:
        assert looked_into(Path(f"{name}.py")) <= BOTTOM


def test_no_room_hides_a_public_name() -> None:
    assert not {path.parts[0] for path in MODULES} & set(planning.__all__)


@pytest.mark.parametrize("name", planning.__all__)
def test_every_public_name_loads_and_is_listed(name: str) -> None:
    assert getattr(planning, name).__name__ == name
    assert name in dir(planning)
