"""Tokenizing in shards: the same ids whatever their size and the workers, and after any kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus.text_files import Document
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.tokens.arrays import ShardedIds
from isoloss.lab.tokens.tokenizing import corpus as steps
from isoloss.lab.tokens.tokenizing import pool, shards, spool

TEXT = "the loss falls as a power of size data and compute over many decades"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 90 kB in 150 documents, a few of them long, some with more than ASCII."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("text") / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for number in range(150):
            size = 1_500 if number % 50 == 7 else int(rng.integers(20, 140))
            words = [*rng.choice(WORDS, size=size), "na\xefve", "\u4e2d\u6587", f"{number}"]
            out.write(json.dumps({"text": " ".join(rng.permutation(words))}) + "\n")
    return path


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenSet]:
    """The corpus in one shard a side, by tokenizer."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: prepare(corpus, folder / name[:3], tokenizer=name) for name in ("bytes", "bpe:300")
    }


def _leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
@pytest.mark.parametrize(("shard_bytes", "workers"), [(1, 1), (5_000, 1), (20_000, 2), (20_000, 3)])
def test_neither_shards_nor_workers_change_the_ids(
    corpus: Path,
    tmp_path: Path,
    whole: dict[str, TokenSet],
    tokenizer: str,
    shard_bytes: int,
    workers: int,
) -> None:
    tokens = prepare(
        corpus, tmp_path / "ids", tokenizer=tokenizer, shard_bytes=shard_bytes, workers=workers
    )
    one = whole[tokenizer]
    assert tokens.hash == one.hash
    assert isinstance(tokens.train, ShardedIds)
    for side in ("train", "val"):
        assert np.array_equal(np.asarray(getattr(tokens, side)), getattr(one, side))
    assert np.array_equal(tokens.val_documents, one.val_documents)
    assert tokens.bytes_per_token == one.bytes_per_token
    same = ("vocab", "separator", "dtype", "train_documents", "val_documents", "split")
    assert {key: tokens.meta[key] for key in same} == {key: one.meta[key] for key in same}
    files = [row["file"] for row in tokens.meta["shards"]["train"]]
    assert files == [f"train-{number:05d}.bin" for number in range(len(files))]
    assert len(files) <= shards.MOST_SHARDS
    assert _leftovers(tmp_path) == []


def test_shards_end_where_documents_do(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet]
) -> None:
    tokens = prepare(corpus, tmp_path / "ids", shard_bytes=5_000)
    for side in ("train", "val"):
        for row in tokens.meta["shards"][side]:
            raw = (tmp_path / "ids" / row["file"]).read_bytes()
            assert len(raw) == row["tokens"]
            assert raw.endswith(b"\xff")
    sizes = [row["tokens"] for row in tokens.meta["shards"]["train"][:-1]]
    assert len(sizes) > 5
    assert np.mean(sizes) == pytest.approx(5_000, rel=0.3)


def test_there_are_never_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    documents = [Document(f"text {number} " * 9, f"{number}", f"{number}") for number in range(900)]
    listed = spool.spool_documents(documents, tmp_path / "text", None)
    held, _ = spool.split_documents(listed, 0.5, "many")
    laid = spool.make_spool(tmp_path / "text", listed, held)
    planned = shards.plan_shards(laid, 1)
    assert 100 < len(planned) <= shards.MOST_SHARDS
    for side, mask in (("train", ~held), ("val", held)):
        numbers = [
            number
            for shard in planned
            if shard.side == side
            for number in range(shard.first, shard.last)
            if mask[number]
        ]
        assert numbers == np.flatnonzero(mask).tolist()
    assert sum(shard.size for shard in planned) == (tmp_path / "text").stat().st_size


def test_a_document_longer_than_a_block_is_cut_and_joined(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCK", 700)
    for name, one in whole.items():
        assert prepare(corpus, tmp_path / name[:3], tokenizer=name).hash == one.hash


# What a killed process leaves, and what is made of it.

KILLED = """
    import os, signal, sys
    from pathlib import Path
    from isoloss.lab.tokens.tokenizing import spool
    from isoloss.lab.tokens import prepare

    corpus, folder, tokenizer, workers, shards = sys.argv[1:]
    spool.BLOCK = 1_000

    def progress(what, done, total):
        left = Path(folder).parent / f".{Path(folder).name}.{os.getpid()}.tmp"
        reading = what == "reading text" and done > 30_000
        if reading if shards == "0" else len(list(left.glob("*.bin.json"))) >= int(shards):
            os.kill(os.getpid(), signal.SIGKILL)

    prepare(corpus, folder, tokenizer=tokenizer, workers=int(workers), shard_bytes=10_000,
            progress=progress)
"""


def _kill(corpus: Path, folder: Path, tokenizer: str, workers: int, shards: int) -> Path:
    """Prepare in a process that kills itself after some shards, or while reading; what it left."""
    words = [str(corpus), str(folder), tokenizer, str(workers), str(shards)]
    command = [sys.executable, "-c", textwrap.dedent(KILLED), *words]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    return left


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One more entry each time a corpus is read."""
    counted: list[None] = []
    read = steps.spool_documents

    def counting(*given: Any) -> Any:
        counted.append(None)
        return read(*given)

    monkeypatch.setattr(steps, "spool_documents", counting)
    return counted


def _kept(left: Path) -> dict[str, int]:
    """Inode of every shard that has a record."""
    names = [path.name.removesuffix(".json") for path in left.glob("*.bin.json")]
    return {name: (left / "new" / name).stat().st_ino for name in names}


@pytest.mark.parametrize(("tokenizer", "workers"), [("bytes", 1), ("bpe:300", 1), ("bpe:300", 2)])
def test_a_killed_call_goes_on_from_the_shards_that_are_done(
    corpus: Path,
    tmp_path: Path,
    whole: dict[str, TokenSet],
    tokenizer: str,
    workers: int,
    readings: list[None],
) -> None:
    folder = tmp_path / "ids"
    left = _kill(corpus, folder, tokenizer, workers, 3)
    kept = _kept(left)
    assert 3 <= len(kept) < 9
    tokens = prepare(corpus, folder, tokenizer=tokenizer, shard_bytes=10_000)
    assert tokens.hash == whole[tokenizer].hash
    assert readings == []
    assert {name: (folder / name).stat().st_ino for name in kept} == kept
    assert _leftovers(tmp_path) == []


@pytest.fixture(scope="module")
def killed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was left of a call that was killed after four shards."""
    pytest.importorskip("tokenizers")
    return _kill(corpus, tmp_path_factory.mktemp("killed") / "ids", "bpe:300", 1, 4)


@pytest.mark.parametrize("damage", ["shard", "record", "text", "vocabulary", "state", "split"])
def test_nothing_that_was_left_is_believed_unchecked(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet], killed: Path, damage: str
) -> None:
    left = shutil.copytree(killed, tmp_path / killed.name)
    names = {
        "shard": "new/train-00001.bin",
        "record": "train-00001.bin.json",
        "text": "text",
        "vocabulary": "new/tokenizer.json",
        "state": "state.json",
        "split": "held.npy",
    }
    raw = bytearray((left / names[damage]).read_bytes())
    raw[-9] ^= 1
    (left / names[damage]).write_bytes(raw)
    kept = _kept(left)
    for name in kept:  # an old time, for a file made anew may have the number of one removed
        os.utime(left / "new" / name, (1.0, 1.0))
    tokens = prepare(corpus, tmp_path / "ids", tokenizer="bpe:300", shard_bytes=10_000)
    assert tokens.hash == whole["bpe:300"].hash
    same = [name for name in sorted(kept) if (tmp_path / "ids" / name).stat().st_mtime == 1.0]
    rest = [name for name in sorted(kept) if name != "train-00001.bin"]
    assert same == {"shard": rest, "record": rest, "vocabulary": sorted(kept)}.get(damage, [])


@pytest.mark.parametrize("change", ["text", "tokenizer", "fraction", "shards"])
def test_what_another_call_left_is_cleared(
    corpus: Path, tmp_path: Path, killed: Path, change: str, readings: list[None]
) -> None:
    shutil.copytree(killed, tmp_path / killed.name)
    options: dict[str, Any] = {"tokenizer": "bpe:300", "shard_bytes": 10_000}
    options |= {
        "tokenizer": {"tokenizer": "bpe:320"},
        "fraction": {"val_fraction": 0.3},
        "shards": {"shard_bytes": 30_000},
    }.get(change, {})
    raw, times = corpus.read_bytes(), corpus.stat()
    if change == "text":
        corpus.write_bytes(raw.replace(b"power", b"POWER"))
    try:
        tokens = prepare(corpus, tmp_path / "ids", **options)
        assert len(readings) == 1
        clean = prepare(corpus, tmp_path / "clean", **{**options, "shard_bytes": 1 << 20})
    finally:
        corpus.write_bytes(raw)
        os.utime(corpus, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert tokens.hash == clean.hash
    assert _leftovers(tmp_path) == []


def test_a_call_killed_while_it_reads_leaves_nothing_to_go_on_from(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet], readings: list[None]
) -> None:
    left = _kill(corpus, tmp_path / "ids", "bytes", 1, 0)
    assert (left / "text").stat().st_size > 20_000
    assert prepare(corpus, tmp_path / "ids", shard_bytes=10_000).hash == whole["bytes"].hash
    assert len(readings) == 1
    assert _leftovers(tmp_path) == []


def test_shards_of_another_vocabulary_are_written_again(
    corpus: Path, tmp_path: Path, killed: Path, whole: dict[str, TokenSet]
) -> None:
    left = shutil.copytree(killed, tmp_path / killed.name)
    state = json.loads((left / "state.json").read_text("utf-8"))
    (left / "state.json").write_text(json.dumps(state | {"tokenizer": "0" * 64}), "utf-8")
    kept = _kept(left)
    tokens = prepare(corpus, tmp_path / "ids", tokenizer="bpe:300", shard_bytes=10_000)
    assert tokens.hash == whole["bpe:300"].hash
    for name, inode in kept.items():
        assert (tmp_path / "ids" / name).stat().st_ino != inode


def test_a_failure_in_this_process_is_gone_on_from_too(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, count = os.replace, [0]

    def full(source: Any, target: Any) -> None:
        count[0] += str(target).endswith(".bin")
        if count[0] == 4:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(shards.os, "replace", full)
    with pytest.raises(InputError, match=r"No space left on device.*run the same again"):
        prepare(corpus, tmp_path / "ids", shard_bytes=10_000)
    assert not (tmp_path / "ids").exists()
    (left,) = _leftovers(tmp_path)
    kept = _kept(tmp_path / left)
    assert len(kept) == 3
    monkeypatch.undo()
    tokens = prepare(corpus, tmp_path / "ids", shard_bytes=10_000)
    assert tokens.hash == whole["bytes"].hash
    assert {name: (tmp_path / "ids" / name).stat().st_ino for name in kept} == kept
    assert _leftovers(tmp_path) == []


def test_a_full_disk_under_a_worker_is_told_in_one_line(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet]
) -> None:
    script = """
        import resource, signal, sys
        from isoloss.errors import InputError
        from isoloss.lab.tokens import prepare
        from isoloss.lab.tokens.tokenizing import pool
        first = pool._write_in_pool
        def limited(*given):
            resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
            return first(*given)
        pool._write_in_pool = limited
        try:
            prepare(sys.argv[1], sys.argv[2], tokenizer="bpe:300", shard_bytes=30_000, workers=2)
        except InputError as error:
            print(error)
    """
    words = [str(corpus), str(tmp_path / "ids")]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *words],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "File too large" in done.stdout
    assert "run the same again" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
    tokens = prepare(corpus, tmp_path / "ids", tokenizer="bpe:300", shard_bytes=30_000)
    assert tokens.hash == whole["bpe:300"].hash


def test_a_killed_worker_stops_the_call_and_not_what_is_done(
    corpus: Path, tmp_path: Path, whole: dict[str, TokenSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    give, given = pool._Worker.give, [0]

    def kill_at_the_fifth(worker: Any, shard: Any) -> None:
        given[0] += 1
        if given[0] == 5:
            os.kill(worker._process.pid, signal.SIGKILL)
        give(worker, shard)

    monkeypatch.setattr(pool._Worker, "give", kill_at_the_fifth)
    with pytest.raises(InputError, match=r"killed by SIGKILL.*run the same again"):
        prepare(corpus, tmp_path / "ids", tokenizer="bpe:300", shard_bytes=10_000, workers=2)
    (left,) = _leftovers(tmp_path)
    kept = _kept(tmp_path / left)
    assert len(kept) >= 3
    monkeypatch.undo()
    tokens = prepare(corpus, tmp_path / "ids", tokenizer="bpe:300", shard_bytes=10_000, workers=2)
    assert tokens.hash == whole["bpe:300"].hash
    assert {name: (tmp_path / "ids" / name).stat().st_ino for name in kept} == kept


def test_progress_counts_every_byte_once(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    told: list[tuple[int, int | None]] = []
    prepare(
        corpus,
        tmp_path / "ids",
        tokenizer="bpe:300",
        shard_bytes=10_000,
        workers=2,
        progress=lambda what, done, total: what == "tokenizing" and told.append((done, total)),
    )
    amounts = [done for done, _ in told]
    assert amounts == sorted(amounts)
    assert told[-1][0] == told[-1][1]


def test_documents_are_never_all_in_memory(tmp_path: Path) -> None:
    """Fed by a generator, no more than one document is alive while the text is laid out."""
    import weakref

    class Text(str):
        pass

    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most = 0

    def documents() -> Any:
        nonlocal most
        for number in range(200):
            text = Text(f"document {number} " * 50)
            alive.add(text)
            most = max(most, len(alive))
            yield Document(text, f"{number}", f"{number}")

    listed = spool.spool_documents(documents(), tmp_path / "text", None)
    assert len(listed.lengths) == 200
    assert most <= 2


@pytest.mark.parametrize("options", [{"workers": 0}, {"shard_bytes": 0}])
def test_wrong_numbers_are_refused(corpus: Path, tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        prepare(corpus, tmp_path / "ids", **options)  # type: ignore[arg-type]


def test_a_large_set_is_found_again(corpus: Path, tmp_path: Path) -> None:
    first = prepare(corpus, tmp_path / "ids", shard_bytes=10_000)
    stamp = (tmp_path / "ids" / "train-00000.bin").stat().st_mtime_ns
    # The size of a shard is no part of what was asked for.
    again = prepare(corpus, tmp_path / "ids", shard_bytes=90_000)
    assert again.hash == first.hash
    assert (tmp_path / "ids" / "train-00000.bin").stat().st_mtime_ns == stamp
    raw = (tmp_path / "ids" / "train-00002.bin").read_bytes()
    (tmp_path / "ids" / "train-00002.bin").write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    assert prepare(corpus, tmp_path / "ids", shard_bytes=10_000).hash == first.hash
    assert (tmp_path / "ids" / "train-00002.bin").read_bytes() == raw
    assert load_tokens(tmp_path / "ids").hash == first.hash
