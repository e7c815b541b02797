"""Append a dated table, with the machine it was measured on, to `benchmarks/results/NAME.md`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from isoloss.runs import describe_machine, versions

FOLDER = Path(__file__).parent / "results"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *notes: str) -> str:
    """A dated Markdown table with its notes and the machine."""
    machine, used = describe_machine(), versions()
    described = ", ".join(f"{key} {value}" for key, value in machine.items() if value)
    libraries = ", ".join(f"{key} {value}" for key, value in used.items() if value)
    lines = [f"## {datetime.date.today().isoformat()}", "", f"{described}; {libraries}.", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    lines += ["", *notes, ""]
    return "\n".join(lines)


def append(name: str, header: Sequence[str], rows: Sequence[Sequence[object]], *notes: str) -> None:
    """Print a Markdown table with its notes, and append it to the results of `name`."""
    text = table(header, rows, *notes)
    print(text)
    path = FOLDER / f"{name}.md"
    FOLDER.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else f"# {name}\n\n"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(before + text + "\n", encoding="utf-8")
    temporary.replace(path)
