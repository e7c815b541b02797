"""Whether a file that a result is to be written to may be: decided before any work is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from isoloss.errors import InputError
from isoloss.files import beside, check_replaced

_KEYS = (
    {"form", "law", "residuals"},
    {"approaches", "disagreement"},
    {"rows", "movement"},
    {"b_crit", "s_min", "e_min"},
)
"""What the results of `isoloss fit` hold: a fit, the three approaches, the conventions, a critical
batch."""

_LOOKED_AT = 1 << 14
_OPTIMA = b"run,group,params,tokens,flops,loss,"
_PAGE = b"default-src 'none'; style-src 'unsafe-inline'"
_DESIGN = b"# A design of kind "
_MAKER = b"isoloss"  # `figures.svg.MAKER`, which is slow to load
_FIGURES = (b"<?xml", b"<svg", b"\x89PNG", b"%PDF")

Kind = Callable[[Path], bool]
"""Whether a file holds a result of the kind that is to be written."""


def check_output(path: Path, source: Path, kind: Kind) -> None:
    """Refuse, before any work, a file that cannot be written or that is no result of ours.

    source: what is being read, which is never replaced, nor what lies in it. A file that is there
    is replaced if it is empty or of the kind that will be written.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a file")
        there = path.exists()
        if there and not path.is_file():
            raise InputError(f"{path}: is no plain file; leave the option out to print")
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}; make it first")
        if there and source.exists() and path.samefile(source):
            raise InputError(f"{path}: holds the runs themselves; write the result to another file")
        if there and source.is_dir() and source.resolve() in path.resolve().parents:
            raise InputError(f"{path}: lies among the runs; write the result to another file")
        check_replaced(path, kind)
        _try_writing(path.resolve())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _try_writing(path: Path) -> None:
    """Make and remove the file that will stand beside `path` until the result is whole."""
    temporary = beside(path)
    temporary.touch()
    temporary.unlink()


def is_fit(path: Path) -> bool:
    """Whether a file holds what `isoloss fit --out` writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and any(keys <= content.keys() for keys in _KEYS)


def is_optima(path: Path) -> bool:
    """Whether a file holds the table that `isoloss tune --out` writes."""
    header, _, rows = _begins(path).partition(b"\n")
    return header.startswith(_OPTIMA) and rows.startswith(b"optimum of ")


def is_design(path: Path) -> bool:
    """Whether a file is a sweep, as `isoloss sweep design --out` writes it."""
    return _begins(path).startswith(_DESIGN)


def is_figure(path: Path) -> bool:
    """Whether a file is an SVG, a PNG or a PDF that says that isoloss made it."""
    return _begins(path).startswith(_FIGURES) and _MAKER in path.read_bytes()


def is_report(path: Path) -> bool:
    """Whether a file is a page of `isoloss report`."""
    text = _begins(path)
    markdown = text.startswith(b"# ") and b"\nWritten on " in text and b"\n## Summary" in text
    return markdown or (text.startswith(b"<!doctype html>") and _PAGE in text)


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LOOKED_AT)
