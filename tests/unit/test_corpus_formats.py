"""Archives, dictionaries, Bible modules, R data and manual pages, made small and read back."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zlib
from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus.archives import read_members
from isoloss.lab.corpus.formats import dictionary_entries, r_strings, sword_chapters
from isoloss.lab.corpus.roff import man_page, split_arguments, unescape


def make_tar(files: dict[str, bytes]) -> bytes:
    """A tar of regular files, and of what must never be followed: links and a device."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, kind in (("link.txt", tarfile.SYMTYPE), ("hard.txt", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        device = tarfile.TarInfo("device.txt")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    return out.getvalue()


def make_deb(files: dict[str, bytes], compression: str = "xz") -> bytes:
    """A Debian package: an ar archive of debian-binary, control.tar and data.tar."""
    data = make_tar({f"./{name}": content for name, content in files.items()})
    if compression == "xz":
        data = lzma.compress(data)
    elif compression == "gz":
        data = gzip.compress(data)
    elif compression == "zst":
        data = pytest.importorskip("zstandard").compress(data)
    suffix = f".{compression}" if compression else ""
    members = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", f"data.tar{suffix}": data}
    out = b"!<arch>\n"
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        out += header.encode() + content + b"\n" * (len(content) % 2)
    return out


@pytest.mark.parametrize("compression", ["xz", "gz", "zst", ""])
def test_a_debian_package_is_read_without_unpacking(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "p_1_all.deb"
    files = {
        "usr/a.txt": b"alpha",
        "usr/b.txt.gz": gzip.compress(b"beta"),
        "usr/c.bin": b"no",
        "../../outside.txt": b"named badly, and only named",
    }
    path.write_bytes(make_deb(files, compression))
    found = dict(read_members(path, lambda name: name.endswith(".txt")))
    assert found == {
        "usr/a.txt": b"alpha",
        "usr/b.txt": b"beta",
        "../../outside.txt": b"named badly, and only named",
    }
    assert [child.name for child in tmp_path.iterdir()] == ["p_1_all.deb"]


def test_a_tarball_is_read_and_a_torn_one_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(make_tar({"p/a.txt": b"alpha" * 5_000}))
    path = tmp_path / "p.tgz"
    path.write_bytes(whole)
    assert dict(read_members(path, lambda name: True)) == {"p/a.txt": b"alpha" * 5_000}
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"p\.tgz is damaged"):
        list(read_members(path, lambda name: True))


@pytest.mark.parametrize("content", [b"", b"!<arch>\n", b"not an archive at all"])
def test_what_is_no_package_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p_1_all.deb"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"p_1_all\.deb"):
        list(read_members(path, lambda name: True))


def _base64(number: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    digits = ""
    while number or not digits:
        digits, number = alphabet[number % 64] + digits, number // 64
    return digits


def test_dictionary_entries_come_once_in_order_of_the_text() -> None:
    entries = [
        "00-database-short\n  A test",
        "apple\n\n   A fruit.\n",
        "zebra\n\n   Striped.\n" * 9,
    ]
    places, text = [], ""
    for entry in entries:
        places.append((len(text), len(entry)))
        text += entry
    words = [("zebra", 2), ("Apple", 1), ("apple", 1), ("00databaseshort", 0)]
    index = "".join(
        f"{word}\t{_base64(places[at][0])}\t{_base64(places[at][1])}\n" for word, at in words
    )
    found = list(dictionary_entries(index.encode(), gzip.compress(text.encode())))
    assert found == [entries[1].strip("\n"), entries[2].strip("\n")]


def test_sword_chapters_are_read_in_order_without_markup() -> None:
    slots = [
        '<milestone type="x"/>',
        '<div type="book"/><title>Genesis</title>',
        '<chapter osisID="Gen.1"/>',
        'In the <w lemma="strong:H1">beginning</w> God &amp; heaven.<note>a note</note>',
        "And the earth.",
        '<div type="x-p"/> <chapter osisID="Gen.2"/>',
        "Thus the heavens.",
    ]
    content = "".join(slots).encode()
    packed = zlib.compress(content)
    blocks = struct.pack("<III", 3, len(packed), len(content))
    verses, at = struct.pack("<IIH", 0, 0, 0), 0
    for slot in slots:
        size = len(slot.encode())
        verses += struct.pack("<IIH", 0, at, size)
        at += size
    assert list(sword_chapters(blocks, verses, b"pad" + packed)) == [
        ("Gen.1", "In the beginning God & heaven.\nAnd the earth."),
        ("Gen.2", "Thus the heavens."),
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_r_character_vectors_are_read(version: int) -> None:
    def vector(strings: list[tuple[bytes | None, int]]) -> bytes:
        out = b"X\n" + struct.pack(">iii", version, 0, 0)
        if version == 3:
            out += struct.pack(">i", 5) + b"UTF-8"
        out += struct.pack(">Ii", 16, len(strings))
        for raw, flags in strings:
            out += struct.pack(">Ii", flags, -1 if raw is None else len(raw)) + (raw or b"")
        return out

    first = vector([(b"EMMA", 0x40009), ("caf\xe9".encode(), 0x8009), (None, 9)])
    latin = vector([(b"caf\xe9", 0x4009)])
    number = b"X\n" + struct.pack(">iiiIi", 2, 0, 0, 14, 1) + struct.pack(">d", 1.0)
    data = b"".join(struct.pack(">I", len(x)) + zlib.compress(x) for x in (first, number, latin))
    assert list(r_strings(data)) == [["EMMA", "caf\xe9"], ["caf\xe9"]]


MAN = r"""
.\" A comment
.TH OPEN 2 2022 "Linux"
.SH NAME
open, creat \- open and possibly create a file
.SH SYNOPSIS
.nf
.BI "int open(const char *" pathname ", int " flags );
.fi
.SH EMPTY
.SH DESCRIPTION
The
.BR open ()
call opens the file \(lqnamed\(rq by
.IR pathname .
It isn\(aqt \fBmagic\fP.
.TP
.B O_APPEND
Append, as with
.BR lseek (2).
.EX
code();
.EE
.TS
a table
.TE
.PP
Done \(em at last\c
.
"""

MDOC = r"""
.Dd March 20, 2018
.Dt ALTQ 4
.Sh NAME
.Nm ALTQ
.Nd alternate queuing of network packets
.Sh DESCRIPTION
The
.Nm
system uses
.Xr pfctl 8 ,
the
.Fl v
flag
.Pq see Dq below ,
and
.Ar file .
.Bd -literal
code();
.Ed
.Bl -tag
.It Dv ALTQ_RED
Build the
.Dq Random Early
extension.
.El
"""


def test_a_man_page_becomes_prose() -> None:
    assert man_page(MAN) == [
        "NAME",
        "open, creat - open and possibly create a file",
        "SYNOPSIS",
        "int open(const char *pathname, int flags);",
        "DESCRIPTION",
        'The open() call opens the file "named" by pathname. It isn\'t magic.',
        "O_APPEND Append, as with lseek(2).",
        "Done -- at last",
    ]


def test_an_mdoc_page_becomes_prose() -> None:
    assert man_page(MDOC) == [
        "NAME",
        "ALTQ - alternate queuing of network packets",
        "DESCRIPTION",
        'The ALTQ system uses pfctl(8), the -v flag (see "below"), and file.',
        'ALTQ_RED Build the "Random Early" extension.',
    ]


def test_a_page_that_only_points_elsewhere_is_empty() -> None:
    assert man_page(".so man2/open.2\n") == []


def test_escapes_and_arguments() -> None:
    assert unescape(r"a\-b \(bu \[em] \fIx\fR \s-1SMALL\s0 \e \[u00E9]\|!") == (
        "a-b * -- x SMALL \\ \xe9!"
    )
    assert split_arguments('one "two three" four') == ["one", "two three", "four"]
    assert split_arguments('"a ""quoted"" word" end') == ['a "quoted" word', "end"]
