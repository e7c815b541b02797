"""A sweep's records in one file: read as the folder is, refused in one line where it is none."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import isoloss
from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.runs import RecordWriter, RunSpec, pack_records, read_runs, stored

SPEC = RunSpec(
    Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64), tokens=40_960, batch=512, lr=0.01
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three finished runs, one diverged, one unfinished, one torn in its first line."""
    for seed, status in enumerate(["finished"] * 3 + ["diverged", None]):
        spec = replace(SPEC, seed=seed, lr=0.01 / (seed + 1))
        with RecordWriter(tmp_path / "runs" / f"{spec.run_id}.jsonl") as writer:
            writer.header(spec, {"name": "text", "hash": "1", "tokens": 30_000}, {}, {})
            writer.point(40, 20_480, 3.0 + 0.1 * seed, se=0.02)
            if status is not None:
                end = {"step": spec.steps, "tokens": spec.tokens_seen, "loss": 2.5 + 0.1 * seed}
                writer.end(status, **end)  # type: ignore[arg-type]
    (tmp_path / "runs" / "torn.jsonl").write_bytes(b'{"kind": "spe')
    (tmp_path / "runs" / "x.ckpt.npz").write_bytes(b"a checkpoint")
    return tmp_path / "runs"


def test_a_packed_sweep_is_read_as_its_folder(folder: Path, tmp_path: Path) -> None:
    packed = isoloss.pack_records(folder, tmp_path / "x.results.zip")
    there, here = read_runs(folder), isoloss.read_runs(packed)
    assert len(here) == 3
    assert here.hash == there.hash
    assert here.notes == there.notes
    assert here.curves is not None
    assert there.curves is not None
    assert here.curves.hash == there.curves.hash
    assert here.specs == there.specs
    assert here.source == "x.results.zip"
    assert read_runs(packed, n="total", c="6nd").hash == there.counted("total", flops="6nd").hash
    with zipfile.ZipFile(packed) as archive:
        assert sorted(archive.namelist()) == sorted(p.name for p in folder.glob("*.jsonl"))


def test_the_same_records_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = pack_records(folder, tmp_path / "a.zip").read_bytes()
    for path in folder.iterdir():
        path.touch()
    assert pack_records(folder, tmp_path / "b.zip").read_bytes() == first


def test_a_folder_without_records_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no run records .* to pack"):
        pack_records(tmp_path, tmp_path / "x.zip")
    (tmp_path / "table.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(InputError, match="holds no run records"):
        pack_records(tmp_path, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_pack_that_cannot_be_written_leaves_the_old_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack_records(folder, tmp_path / "x.zip")
    before = packed.read_bytes()

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"x\.zip: cannot be written \(No space left"):
        pack_records(folder, packed)
    assert packed.read_bytes() == before


def test_a_file_of_the_users_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    mine, earlier = tmp_path / "mine.zip", tmp_path / "x.results.zip"
    mine.write_text("years of work")
    with pytest.raises(InputError, match=r"mine\.zip: is there and is no result"):
        pack_records(folder, mine)
    assert mine.read_text() == "years of work"
    earlier.touch()
    with zipfile.ZipFile(mine, "w") as archive:
        archive.writestr("corpus.jsonl", '{"text": "years of work"}\n')
    with pytest.raises(InputError, match="no result of this command"):
        pack_records(folder, mine)
    for _ in range(2):  # an empty file is replaced, and so are earlier results
        assert len(read_runs(pack_records(folder, earlier))) == 3


def test_names_in_a_zip_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    record = next(path for path in folder.glob("*.jsonl") if path.name != "torn.jsonl")
    target = tmp_path / "inner" / "deep"
    target.mkdir(parents=True)
    with zipfile.ZipFile(target / "x.zip", "w") as archive:
        archive.writestr("../../escaped.jsonl", record.read_bytes())
        archive.writestr("/absolute.jsonl", '{"no": "record"}\n')
    before = sorted(tmp_path.rglob("*"))
    runs = read_runs(target / "x.zip")
    assert len(runs) == 1
    assert "absolute.jsonl is no run record and is left out" in runs.notes
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/absolute.jsonl").exists()


def test_a_member_is_read_no_further_than_a_record_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jsonl", bytes(10_000_000))
    with pytest.raises(InputError, match=r"bomb\.jsonl: is too large for a run record"):
        read_runs(tmp_path / "x.zip")
    monkeypatch.setattr(stored, "_MOST", 0)
    with pytest.raises(InputError, match="holds 1 files, more than any sweep"):
        read_runs(tmp_path / "x.zip")


def test_garbage_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    packed = pack_records(folder, tmp_path / "x.zip")
    whole = packed.read_bytes()
    before = read_runs(packed).hash
    refusals = []
    for place in range(0, len(whole), 29):
        bad = bytearray(whole)
        bad[place] ^= 0x55
        packed.write_bytes(bad)
        try:
            runs = read_runs(packed)
        except InputError as error:
            refusals.append(str(error))
        else:  # a byte that nothing depends on, or one that hid a member
            assert runs.hash == before or len(runs) < 3
    assert len(refusals) > 50
    assert all(len(refusal.splitlines()) == 1 for refusal in refusals)
    for content in (b"", b"garbage", whole[: len(whole) // 2]):
        packed.write_bytes(content)
        with pytest.raises(InputError, match="not a readable zip of run records"):
            read_runs(packed)
    with zipfile.ZipFile(packed, "w"):
        pass
    with pytest.raises(InputError, match="holds no run records"):
        read_runs(packed)
    with pytest.raises(InputError, match="are for tables"):
        read_runs(packed, columns={"loss": "x"})
