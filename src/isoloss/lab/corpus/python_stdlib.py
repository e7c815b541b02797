"""The source of the running interpreter's standard library: real text that is always there.

About 9 MB. Left out: installed packages, tests, tables of encodings, documentation data, the
bundled editor and converter, build configuration, files that do not decode, and files most of which
has been seen in an earlier one. A package folder or a top-level module is one unit of the split.
The text differs between Python versions, so the version is recorded beside the hash and neither is
asserted.
Licence: PSF-2.0.
"""

from __future__ import annotations

import os
import platform
import sysconfig
import tokenize
import zlib
from collections.abc import Iterator
from pathlib import Path

from isoloss.errors import InputError
from isoloss.lab.corpus.text_files import Document

LEFT_OUT = frozenset(
    (
        *("site-packages", "dist-packages", "test", "tests", "encodings"),
        *("pydoc_data", "idlelib", "lib2to3", "__pycache__"),
    )
)
_TESTS = frozenset(["test", "tests", "idle_test"])
_WINDOW = 4  # lines in a shingle
_SEEN_SHARE = 0.5


def read_python_stdlib(folder: Path | None = None, *, tests: bool = False) -> Iterator[Document]:
    """Yield the source files of the standard library in the order of their path, one document each.

    folder: the library's folder; None is the running interpreter's.
    tests: the test files instead, which some systems package apart.
    Raises InputError where there are no source files.
    """
    folder = stdlib_folder() if folder is None else folder
    seen: set[int] = set()
    found = False
    for path in source_files(folder, tests=tests):
        text = _source(path)
        if text is None or not text.strip() or _mostly_seen(text, seen):
            continue
        found = True
        name = path.relative_to(folder).as_posix()
        yield Document(text, _unit(name, tests=tests), name)
    if not found:
        what = "tests of the standard library" if tests else "standard library's source"
        raise InputError(f"this Python has no {what}; choose another corpus")


def source_files(folder: Path, *, tests: bool = False) -> list[Path]:
    """The files read, sorted by path; links that lead out of the folder are not followed."""
    root = folder.resolve()
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        inside = _is_test(Path(parent).relative_to(folder).parts)
        folders[:] = [name for name in folders if _enter(name, inside=inside, tests=tests)]
        if inside != tests:
            continue
        for name in names:
            path = Path(parent, name)
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    continue
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def stdlib_folder() -> Path:
    """The folder that holds the running interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def interpreter() -> str:
    """The interpreter that the text belongs to, such as `CPython 3.11.7`."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def _enter(name: str, *, inside: bool, tests: bool) -> bool:
    if tests and (inside or name in _TESTS):
        return name != "__pycache__"
    return name not in LEFT_OUT or (tests and name in ("idlelib", "lib2to3"))


def _is_test(parts: tuple[str, ...]) -> bool:
    return any(part in _TESTS for part in parts)


def _unit(name: str, *, tests: bool) -> str:
    parts = name.removesuffix(".py").split("/")
    # The tests are nearly all in one package, `test`: there the unit is one level deeper.
    return "/".join(parts[:2]) if tests else parts[0]


def _source(path: Path) -> str | None:
    """The file's text by its own declared coding, or None if it does not decode."""
    try:
        with tokenize.open(path) as stream:
            return stream.read()
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {path.name} of the standard library: {error}") from None


def _mostly_seen(text: str, seen: set[int]) -> bool:
    """Whether over half of the shingles of four lines were seen; if not, they are from now on."""
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    shingles = {
        zlib.crc32("\n".join(lines[at : at + _WINDOW]).encode("utf-8", "replace"))
        for at in range(max(1, len(lines) - _WINDOW + 1))
    }
    if len(shingles & seen) > _SEEN_SHARE * len(shingles):
        return True
    seen |= shingles
    return False
