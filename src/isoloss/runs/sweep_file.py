"""Writing a sweep file: TOML that `read_sweep` turns into the same runs again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoloss.errors import InputError
from isoloss.files import write_whole
from isoloss.runs.spec import RunSpec

_FIRST = ("group", "shape", "tokens", "batch", "lr")


def sweep_text(specs: Sequence[RunSpec], *, title: str = "") -> str:
    """Write runs as the text of a sweep file, one [[run]] for each.

    What all runs share stands under [defaults], in shapes and schedules too. title: a comment.
    Returns TOML. Raises InputError if there is no run.
    """
    if not specs:
        raise InputError("a sweep file lists at least one run; there is none to write")
    tables = [spec.to_dict() for spec in specs]
    shared = _shared(tables)
    nested = {name: _shared([table[name] for table in tables]) for name in ("shape", "schedule")}
    lines = [f"# {line}" for line in title.splitlines()]
    lines.append("[defaults]")
    lines += [f"{name} = {_value(value)}" for name, value in shared.items() if name not in nested]
    for name, values in nested.items():
        if values:
            lines += [f"[defaults.{name}]", *(f"{k} = {_value(v)}" for k, v in values.items())]
    for table in tables:
        own = {name: value for name, value in table.items() if name not in shared}
        for name, values in nested.items():
            own |= {name: {k: v for k, v in table[name].items() if k not in values}}
        named = sorted(own, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
        written = [f"{name} = {_value(own[name])}" for name in named if own[name] != {}]
        lines += ["", "[[run]]", *written]
    return "\n".join(lines) + "\n"


def write_sweep(path: str | Path, specs: Sequence[RunSpec], *, title: str = "") -> None:
    """Write runs as a sweep file, whole or not at all; see `sweep_text`.

    Raises InputError if there is no run, or the file cannot be written.
    """
    write_whole(path, sweep_text(specs, title=title))


def _shared(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = tables[0]
    return {k: v for k, v in first.items() if all(k in t and t[k] == v for t in tables)}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} = {_value(one)}" for name, one in value.items())
        return f"{{ {inner} }}"
    # TOML's basic strings, numbers and booleans are JSON's, but for the delete character.
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")
