"""The record: append, read, torn line, garbage, resume, lock, strict JSON."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from isoloss.counting import Shape, count_all, flops_all, params_by_group
from isoloss.errors import InputError, IsolossError
from isoloss.runs import (
    HeldOutLosses,
    OtherLoss,
    RecordInUseError,
    RecordWriter,
    RunSpec,
    content,
    describe_machine,
    read_record,
    versions,
)

SPEC = RunSpec(
    Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64),
    tokens=40_960,
    batch=512,
    lr=0.01,
    group="ladder",
)
CORPUS = {"name": "stdlib", "hash": "ab12", "tokens": 8_000_000, "vocab": 256}


def write(path: Path, steps: tuple[int, ...] = (1, 4, 20), status: str | None = "finished") -> Path:
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {"cpu": "x"}, {"python": "3"})
        for step in steps:
            writer.point(step, step * 512, 5.0 - step / 10, se=0.01, lr=0.01, seconds=step / 7)
        if status is not None:
            writer.end(status, step=80, tokens=40_960, loss=2.5, seconds=9.0)  # type: ignore[arg-type]
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = read_record(write(tmp_path / "r.jsonl"))
    assert run.run_id == SPEC.run_id
    assert run.group == "ladder"
    assert RunSpec.from_dict(run.spec) == SPEC
    assert run.params == params_by_group(SPEC.shape)
    assert run.n == count_all(SPEC.shape)
    assert run.flops_per_token == flops_all(SPEC.shape)
    assert run.corpus == CORPUS
    assert [(p.step, p.tokens, p.loss) for p in run.points] == [
        (1, 512, 4.9),
        (4, 2048, 4.6),
        (20, 10_240, 3.0),
    ]
    assert math.isnan(run.points[0].train_loss)
    assert run.end is not None
    assert run.end.loss == 2.5
    assert run.finished
    assert run.ended
    assert not run.diverged


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {}, {})
        writer.point(1, 512, math.inf, se=np.float32("nan"), lr=np.float64(0.25))
        writer.noise(2, 1024, small=64, big=512, sq_small=1.5, sq_big=math.nan)
        end = writer.end("diverged", step=2, tokens=1024, reason="loss is not finite")
    assert math.isnan(end.loss)
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    point = json.loads(text.splitlines()[1])
    assert point["loss"] is None
    assert point["lr"] == 0.25
    run = read_record(path)
    assert math.isnan(run.points[0].loss)
    assert math.isnan(run.noise[0].sq_big)
    assert run.noise[0].sq_small == 1.5
    assert run.diverged
    assert run.ended
    assert not run.finished


def test_a_torn_last_line_is_an_unfinished_run(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl")
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole) - 2):
        path.write_bytes(whole[:cut])
        run = read_record(path)
        assert run.end is None
        assert not run.ended
        assert len(run.points) == 3
    path.write_bytes(whole[:-1])  # only the newline is torn: the line says all it has to say
    assert read_record(path).finished


def test_a_record_torn_in_its_first_line_is_an_unfinished_run(tmp_path: Path) -> None:
    path = write(tmp_path / f"{SPEC.run_id}.jsonl", status=None)
    for size in (0, 1, 200):
        path.write_bytes(path.read_bytes()[:size])
        run = read_record(path)
        assert run.run_id == SPEC.run_id
        assert run.points == ()
        assert not run.ended


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (2, b'{"kind": "poi', "line 2: not a line of a record"),
        (2, b'{"kind": "point", "step": 1, "tokens": 5, "loss": NaN}', "NaN is not strict JSON"),
        (2, b"[1, 2]", "line 2: not a line of a record"),
        (2, b"\xff\xfe", "line 2: not a line of a record"),
        (2, b"", "line 2: not a line of a record"),
        (2, b'{"kind": "pint", "step": 1}', "line 2: kind is 'pint'"),
        (2, b'{"kind": "spec"}', "line 2: kind is 'spec'"),
        (2, b'{"kind": "point", "tokens": 5}', "line 2: the point line has no step"),
        (2, b'{"kind": "point", "step": 1}', "line 2: the point line lacks tokens, loss"),
        (3, b'{"kind": "point", "step": 1, "tokens": 5, "loss": 1}', "step 1 after step 1"),
        (4, b'{"kind": "end", "step": 1, "tokens": 5, "status": "finished"}', "line after the end"),
        (4, b'{"kind": "end", "step": 1, "tokens": 5, "status": "done"}', "'done' is not known"),
        (1, b'{"kind": "point", "step": 1}', "line 1: kind is 'point'"),
        (1, b'{"kind": "spec", "schema": 2}', "upgrade isoloss"),
        (1, b'{"kind": "spec", "schema": 1, "run": "a"}', "line 1: the spec line has no 'spec'"),
    ],
)
def test_garbage_is_refused_by_file_and_line(
    tmp_path: Path, line: int, text: bytes, words: str
) -> None:
    path = write(tmp_path / "r.jsonl")
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = text
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_record(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_record(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such record"):
        read_record(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_record(tmp_path)


def test_resume_keeps_lines_up_to_a_step(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", status="stopped")
    with RecordWriter.resume(path, 4) as writer:
        writer.header(SPEC, CORPUS, {"cpu": "another"}, {"python": "4"})
        writer.point(20, 10_240, 3.0, se=0.01, lr=0.01, seconds=99.0)
        writer.end("finished", step=80, tokens=40_960, loss=2.5, seconds=1.0)
    again = read_record(path)
    assert again.machine == {"cpu": "x"}  # the first line is where it began
    assert content(again) == content(read_record(write(tmp_path / "whole.jsonl")))
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_resume_from_the_start_keeps_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", status=None)
    with RecordWriter.resume(path, -1):
        pass
    assert path.read_bytes().count(b"\n") == 1


def test_resume_of_nothing_or_a_torn_first_line_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    for text in (None, b'{"kind": "spe'):
        if text is not None:
            path.write_bytes(text)
        with RecordWriter.resume(path, 0) as writer:
            with pytest.raises(InputError, match="write the header before point lines"):
                writer.point(1, 1, 1.0)
            writer.header(SPEC, CORPUS, {}, {})
        assert read_record(path).run_id == SPEC.run_id


def test_resume_checks_that_the_run_is_the_same(tmp_path: Path) -> None:
    from dataclasses import replace

    other = replace(SPEC, seed=1)
    path = write(tmp_path / "r.jsonl", status=None)
    with (
        RecordWriter.resume(path, 4) as writer,
        pytest.raises(InputError, match=f"not of {other.run_id}"),
    ):
        writer.header(other, CORPUS, {}, {})


def test_resume_refuses_garbage_and_leaves_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl")
    spoiled = path.read_bytes().replace(b'{"kind": "point"', b'{"kind" "point"', 1)
    path.write_bytes(spoiled)
    with pytest.raises(InputError, match="line 2"):
        RecordWriter.resume(path, 4)
    assert path.read_bytes() == spoiled


def test_a_new_record_never_replaces_an_old_one(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl")
    before = path.read_bytes()
    with pytest.raises(InputError, match="already holds a record"):
        RecordWriter(path)
    assert path.read_bytes() == before


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as first:
        first.header(SPEC, CORPUS, {}, {})
        for opened in (RecordWriter, lambda p: RecordWriter.resume(p, 0)):
            with pytest.raises(RecordInUseError, match="another process"):
                opened(path)
        first.point(1, 512, 5.0)
    with RecordWriter.resume(path, 1) as second:
        second.point(2, 1024, 4.0)
        with pytest.raises(RecordInUseError):
            RecordWriter.resume(path, 2)
    assert len(read_record(path).points) == 2


def test_a_failed_write_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {}, {})
        before = path.read_bytes()

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(IsolossError, match=r"^r.jsonl: no space left .* again"):
                writer.point(1, 512, 5.0)
        assert path.read_bytes() == before
        writer.point(1, 512, 5.0)
    assert len(read_record(path).points) == 1


def test_a_resume_that_the_disk_refuses_leaves_the_record_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {}, {})
        writer.point(1, 512, 5.0)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(IsolossError, match="no space left"):
            RecordWriter.resume(path, 1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with RecordWriter.resume(path, 1) as writer:
        writer.point(2, 1024, 4.0)
    assert len(read_record(path).points) == 2


def test_wrong_end_status(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "r.jsonl") as writer:
        writer.header(SPEC, CORPUS, {}, {})
        with pytest.raises(InputError, match="use one of finished, diverged, stopped"):
            writer.end("done", step=1, tokens=1)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        RecordWriter(tmp_path / "file" / "r.jsonl")


def test_content_leaves_out_time_and_machine_and_nothing_else(tmp_path: Path) -> None:
    plain = content(read_record(write(tmp_path / "r.jsonl")))
    text = json.dumps(plain, allow_nan=False)
    for word in ("seconds", "machine", "cpu"):
        assert word not in text
    for key in ("run_id", "group", "spec", "params", "n", "corpus", "versions", "points", "end"):
        assert plain[key]


def test_the_machine_names_no_one() -> None:
    import getpass
    import platform
    import socket

    found = describe_machine()
    assert list(found) == ["cpu", "cores", "threads", "memory_gb", "gpu", "system"]
    assert found["cores"] >= 1
    assert found["threads"] >= 1
    assert found["memory_gb"] > 0
    text = json.dumps([found, versions()], allow_nan=False)
    words = text.replace('"', " ").replace(",", " ").split()
    for name in (socket.gethostname(), platform.node(), getpass.getuser()):
        assert name not in words
    assert "/" not in text.replace("(TM)", "")
    assert {"python", "numpy", "isoloss"} <= set(versions())


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert describe_machine()["threads"] == 3
    assert describe_machine()["gpu"] == ""
    assert "torch" not in versions()


HELD_OUT = HeldOutLosses(
    *("wiki", "cd34", 80, 2.5, 0.01, 1.2, 6),
    by_position=(3.0, 2.25),
    documents=(0, 3),
    document_tokens=(2, 4),
    document_losses=(2.0, 2.75),
)


def test_final_losses_taken_apart_and_losses_on_others_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    others = (OtherLoss("wiki", 3.5, 0.1, 1.5), OtherLoss("books", math.inf))
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {}, {})
        writer.point(1, 512, 4.9)
        writer.point(2, 1024, 4.8, others=others)
        writer.held_out(HELD_OUT)
        writer.end("finished", step=80, tokens=40_960, loss=2.5)
    run = read_record(path)
    assert run.held_out == (HELD_OUT,)
    assert run.points[0].others == ()
    assert "others" not in path.read_text().splitlines()[1]
    assert run.points[1].others[0] == others[0]
    assert math.isnan(run.points[1].others[1].loss)
    assert content(run)["held_out"][0]["by_position"] == [3.0, 2.25]


def test_a_resumed_record_keeps_no_final_losses(tmp_path: Path) -> None:
    # Those of a run that goes back to its best state are of a step that points have passed.
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {}, {})
        writer.point(90, 512 * 90, 4.9)
        writer.held_out(HELD_OUT)
    with RecordWriter.resume(path, 95):
        pass
    run = read_record(path)
    assert (len(run.points), run.held_out) == (1, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"by_position": 3}, "has no list under 'by_position'"),
        ({"by_position": [1.0, "a"]}, "has no float under 'by_position'"),
        ({"loss": [1.0]}, "has no float under 'loss'"),
        ({"documents": [1]}, "lists of documents of several lengths"),
        ({"hash": None}, "has no str under 'hash'"),
    ],
)
def test_final_losses_that_say_something_else_are_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = write(tmp_path / "r.jsonl", status=None)
    line = {"kind": "held_out", **asdict(HELD_OUT), **change}
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    with pytest.raises(InputError, match=f"line 5: the held_out line.*{words}"):
        read_record(path)
