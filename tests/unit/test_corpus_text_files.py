"""Text files, folders, globs and JSON lines, read as documents."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus import text_files
from isoloss.lab.corpus.documents import corpus_name, fingerprint, read_documents
from isoloss.lab.corpus.text_files import SEPARATOR_LINE, cut

PARAGRAPH = "A few plain words that stand for a paragraph of some length.\n\n"


def test_a_file_without_separators_is_one_unit_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(PARAGRAPH * 200, "utf-8")
    documents = list(read_documents(path))
    assert len(documents) > 10
    assert {document.unit for document in documents} == {"book.txt#0"}
    assert len({document.name for document in documents}) == len(documents)
    joined = "".join("".join(document.text.split()) for document in documents)
    assert joined == "".join((PARAGRAPH * 200).split())


def test_separator_lines_end_documents_and_units(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text(f"one\n{SEPARATOR_LINE}\ntwo\nlines\n{SEPARATOR_LINE}\nthree", "utf-8")
    documents = list(read_documents(path))
    assert [document.text for document in documents] == ["one", "two\nlines", "three"]
    assert len({document.unit for document in documents}) == 3


@pytest.mark.parametrize("read", [1, 2, 3, 7, 64])
def test_the_size_of_a_read_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    path = tmp_path / "mixed.txt"
    text = f"\ufeffcafé\r\n\r\nnaïve\r{SEPARATOR_LINE}\r\n\u20ac and \U0001f600\n" * 3
    path.write_bytes(text.encode("utf-8"))
    whole = list(read_documents(path))
    monkeypatch.setattr(text_files, "_READ", read)
    assert list(read_documents(path)) == whole
    assert whole[0].text == "café\n\nnaïve"


@pytest.mark.parametrize("read", [1, 2, 5, 40, 4096])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_may_be_longer_than_a_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int, end: bytes
) -> None:
    texts = ["a", "caf\xe9 " * 9, "", "last"]
    rows = [json.dumps({"text": text}).encode() for text in texts]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([rows[0], b"", *rows[1:]]) + end)
    monkeypatch.setattr(text_files, "_READ", read)
    documents = list(read_documents(path))
    assert [document.text for document in documents] == texts
    assert [document.name for document in documents] == [f"rows.jsonl:{n}" for n in (1, 3, 4, 5)]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_json_lines_in_every_compression(tmp_path: Path, suffix: str) -> None:
    raw = b"".join(json.dumps({"text": f"document {i}"}).encode() + b"\n" for i in range(3))
    path = tmp_path / f"rows.jsonl{suffix}"
    if suffix == ".gz":
        raw = gzip.compress(raw)
    elif suffix == ".xz":
        raw = lzma.compress(raw)
    elif suffix == ".zst":
        raw = pytest.importorskip("zstandard").compress(raw)
    path.write_bytes(raw)
    assert [document.text for document in read_documents(path)] == [
        "document 0",
        "document 1",
        "document 2",
    ]


def test_a_folder_is_read_in_order_without_hidden_and_binary_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", ".git/config", "picture.png", "a/.hidden"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}", "utf-8")
    documents = list(read_documents(tmp_path / "docs"))
    assert [document.text for document in documents] == ["text of a/z.md", "text of b.txt"]
    assert not any(str(tmp_path) in document.name for document in documents)


def test_a_glob_names_files(tmp_path: Path) -> None:
    for name in ("x/1.txt", "y/2.txt", "y/3.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, "utf-8")
    documents = list(read_documents(f"{tmp_path}/**/*.txt"))
    assert [document.text for document in documents] == ["x/1.txt", "y/2.txt"]


def test_bytes_that_are_not_utf8_are_named_with_their_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("é".encode() * 10 + b"caf\xe9 au lait")
    for read in (1, 5, 4096):
        monkeypatch.setattr(text_files, "_READ", read)
        with pytest.raises(InputError, match=r"latin\.txt is not UTF-8 text: byte 23 "):
            list(read_documents(path))


def test_a_character_cut_off_at_the_end_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "torn.txt"
    path.write_bytes(b"plain " + "é".encode()[:1])
    with pytest.raises(InputError, match="byte 6 "):
        list(read_documents(path))


CUT_SHORT = gzip.compress(b"text " * 1000, mtime=0)[:-20]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{broken\n', r"a\.jsonl, line 2 is not JSON"),
        ("b.jsonl", b'{"content": "x"}\n', r"b\.jsonl, line 1 has no string under 'text'"),
        ("c.jsonl", b'{"text": 5}\n', r"c\.jsonl, line 1 has no string"),
        ("d.jsonl", b'{"text": "caf\xe9"}\n', r"d\.jsonl, line 1 is not JSON"),
        ("e.jsonl.gz", b"not gzip", r"e\.jsonl\.gz cannot be decompressed"),
        ("f.txt.gz", CUT_SHORT, r"f\.txt\.gz cannot be decompressed"),
        ("g.txt.xz", b"not xz", r"g\.txt\.xz cannot be decompressed"),
    ],
)
def test_damage_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(read_documents(path))
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file, folder or catalogue entry"):
        read_documents(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="no file matches"):
        read_documents(f"{tmp_path}/*.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no text files"):
        read_documents(tmp_path / "empty")


def test_names_have_no_path_in_them(tmp_path: Path) -> None:
    assert corpus_name(tmp_path / "book.v2.txt") == "book"
    assert corpus_name(f"{tmp_path}/*.txt") == "*.txt"
    assert corpus_name("python-stdlib") == "python-stdlib"
    assert corpus_name("hf:/data/mine") == "mine"


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one", "utf-8")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    path.write_text("longer", "utf-8")
    assert fingerprint(tmp_path) != before


def test_cut_prefers_paragraphs_then_lines_then_spaces() -> None:
    assert list(cut("aaaaaaa\n\nbbb bbb", 12)) == ["aaaaaaa", "bbb bbb"]
    assert list(cut("aaaaaaa\nbbb bbb", 12)) == ["aaaaaaa", "bbb bbb"]
    assert list(cut("aaaaaaa bbbb", 10)) == ["aaaaaaa ", "bbbb"]
    assert list(cut("abcdefgh", 3)) == ["abc", "def", "gh"]
    assert list(cut(" \n ", 10)) == []
