"""The standard library as text: what is read of it, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus.python_stdlib import read_python_stdlib, source_files, stdlib_folder
from isoloss.lab.corpus.split import choose_validation


def _write(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "python3"
    for name in (
        *("abc.py", "json/__init__.py", "json/decoder.py", "site-packages/numpy/core.py"),
        *("dist-packages/x.py", "test/test_abc.py", "json/tests/test_decoder.py"),
        *("encodings/cp1.py", "_sysconfigdata_linux.py", "idlelib/idle.py", "lib2to3/pgen.py"),
        *("pydoc_data/topics.py", "json/__pycache__/decoder.py", "abc.txt"),
    ):
        _write(folder, name, f"# {name}\nvalue = {name!r}\nother = 1\n")
    _write(folder, "latin.py", "# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n".encode("latin-1"))
    _write(folder, "broken.py", b"name = 'caf\xe9'\n")
    _write(folder, "blank.py", "\n\n")
    return folder


def test_what_is_read_and_what_is_left_out(library: Path) -> None:
    documents = list(read_python_stdlib(library))
    assert [(document.name, document.unit) for document in documents] == [
        ("abc.py", "abc"),
        ("json/__init__.py", "json"),
        ("json/decoder.py", "json"),
        ("latin.py", "latin"),
    ]
    assert "caf\xe9" in documents[-1].text


def test_the_tests_are_another_corpus(library: Path) -> None:
    names = [document.name for document in read_python_stdlib(library, tests=True)]
    assert names == ["json/tests/test_decoder.py", "test/test_abc.py"]


def test_near_identical_files_are_read_once(library: Path) -> None:
    table = "\n".join(f"0x{i:02x}: {i * i}," for i in range(100))
    _write(library, "table_a.py", f"NAME = 'a'\n{table}\n")
    _write(library, "table_b.py", f"NAME = 'b'\n{table}\nLAST = 1\n")
    names = [document.name for document in read_python_stdlib(library)]
    assert "table_a.py" in names
    assert "table_b.py" not in names


def test_links_out_of_the_library_are_not_followed(library: Path, tmp_path: Path) -> None:
    _write(tmp_path, "outside.py", "secret = 1\n")
    (library / "outside.py").symlink_to(tmp_path / "outside.py")
    (library / "inside.py").symlink_to(library / "abc.py")
    found = {path.name for path in source_files(library)}
    assert "outside.py" not in found
    assert "inside.py" in found


def test_an_empty_library_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose another corpus"):
        list(read_python_stdlib(tmp_path))


def test_the_running_librarys_size_and_split() -> None:
    sizes: dict[str, int] = {}
    for path in source_files(stdlib_folder()):
        unit = path.relative_to(stdlib_folder()).as_posix().removesuffix(".py").split("/")[0]
        sizes[unit] = sizes.get(unit, 0) + path.stat().st_size
    total = sum(sizes.values())
    assert 5e6 < total < 30e6
    chosen = choose_validation(sizes, 0.05)
    assert chosen is not None
    held = sum(sizes[unit] for unit in chosen)
    assert 0.045 < held / total < 0.055
    assert held > 300_000 or total < 6e6
