"""Token sets: ids, separators, split, hash, cache."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, load_tokens, prepare

TEXT = "the loss falls as a power of size data and compute over many decades"
WORDS = TEXT.split()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixty short documents, no two alike, one a line of JSON."""
    rng = np.random.default_rng(7)
    path = tmp_path / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for number in range(60):
            words = " ".join(rng.choice(WORDS, size=80 + number))
            out.write(json.dumps({"text": f"Document {number}: caf\xe9. {words}\n"}) + "\n")
    return path


def _texts(tokens: TokenSet) -> set[str]:
    whole = tokens.decode(tokens.train) + tokens.decode(tokens.val)
    return {text for text in whole.split("<|endoftext|>") if text}


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
def test_every_document_is_on_one_side_and_comes_back(
    corpus: Path, tmp_path: Path, tokenizer: str
) -> None:
    if tokenizer != "bytes":
        pytest.importorskip("tokenizers")
    tokens = prepare(corpus, tmp_path / "ids", tokenizer=tokenizer, val_fraction=0.1)
    wanted = {json.loads(line)["text"] for line in corpus.read_text("utf-8").splitlines()}
    assert _texts(tokens) == wanted
    held = tokens.decode(tokens.val).split("<|endoftext|>")[:-1]
    assert len(held) == len(tokens.val_documents) - 1
    assert not set(held) & set(tokens.decode(tokens.train).split("<|endoftext|>"))
    assert int(max(tokens.train.max(), tokens.val.max())) < tokens.vocab
    separators = np.asarray(tokens.val)[np.asarray(tokens.val_documents[1:]) - 1]
    assert set(separators.tolist()) == {tokens.meta["separator"]}
    assert tokens.val_documents[0] == 0
    assert tokens.val_documents[-1] == len(tokens.val)
    bytes_held = sum(len(text.encode()) + 1 for text in held)
    assert tokens.bytes_per_token == pytest.approx(bytes_held / len(tokens.val), rel=1e-12)
    assert tokens.bytes_per_token == 1.0 if tokenizer == "bytes" else tokens.bytes_per_token > 1.5


def test_bytes_are_the_text_and_its_separator(tmp_path: Path, corpus: Path) -> None:
    tokens = prepare(corpus, tmp_path / "ids")
    assert (tokens.vocab, tokens.tokenizer, tokens.train.dtype) == (256, "bytes", np.uint8)
    first = json.loads(corpus.read_text("utf-8").splitlines()[0])["text"].encode()
    whole = bytes(tokens.train) + bytes(tokens.val)
    assert first + b"\xff" in whole
    assert not tokens.train.flags.writeable


def test_the_same_text_gives_the_same_hash_elsewhere(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "corpus.jsonl"
    copy.parent.mkdir()
    copy.write_bytes(corpus.read_bytes())
    one, two = prepare(corpus, tmp_path / "one"), prepare(copy, tmp_path / "two")
    assert one.hash == two.hash
    assert one.hash != prepare(corpus, tmp_path / "three", val_fraction=0.2).hash


GOLDEN = {
    ("bytes", 0.05): "7a2527a3830d858e081dae496cdfc7c2cca3673188bd9054c12a91162fcf89dc",
    ("bytes", 0.2): "43e7a9c7e62de4439cebe77da623d9027e9102977136c6bc68f9554006dcbc79",
    ("bpe:300", 0.05): "01a018706b213bb8de30a0190ad7de8ed7a3551ce78cd15f60c1580d13488278",
}
"""Hashes that earlier versions gave to the corpus above: records of runs hold such hashes."""


@pytest.mark.parametrize(("tokenizer", "fraction"), GOLDEN)
def test_a_corpus_keeps_its_hash_from_version_to_version(
    corpus: Path, tmp_path: Path, tokenizer: str, fraction: float
) -> None:
    if tokenizer != "bytes":
        pytest.importorskip("tokenizers")
    tokens = prepare(corpus, tmp_path / "ids", tokenizer=tokenizer, val_fraction=fraction)
    assert tokens.hash == GOLDEN[tokenizer, fraction]


def _as_format_1(folder: Path) -> None:
    """Write the index as the first version did, which named no files."""
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    old = {key: value for key, value in meta.items() if key not in ("shards", "files")}
    (folder / "meta.json").write_text(json.dumps(old | {"format": 1}, indent=1), "utf-8")


def test_a_set_of_the_first_format_is_read_kept_and_copied(corpus: Path, tmp_path: Path) -> None:
    new = prepare(corpus, tmp_path / "ids")
    _as_format_1(tmp_path / "ids")
    old = load_tokens(tmp_path / "ids")
    assert old.meta["format"] == 1
    assert old.hash == new.hash
    assert np.array_equal(old.train, new.train)
    assert np.array_equal(old.val_documents, new.val_documents)
    assert prepare(corpus, tmp_path / "ids").meta["format"] == 1  # not made again
    copied = prepare(tmp_path / "ids", tmp_path / "copy")
    assert copied.hash == new.hash
    assert copied.meta["format"] == 2
    assert (copied.name, copied.tokenizer) == (new.name, "bytes")
    assert copied.decode(copied.val) == new.decode(new.val)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
def test_a_set_in_several_files_is_copied_whole(
    corpus: Path, tmp_path: Path, tokenizer: str
) -> None:
    if tokenizer != "bytes":
        pytest.importorskip("tokenizers")
    made = prepare(corpus, tmp_path / "ids", tokenizer=tokenizer, shard_bytes=4_000)
    copied = prepare(tmp_path / "ids", tmp_path / "copy")
    assert copied.hash == made.hash
    assert copied.meta["shards"] == made.meta["shards"]
    assert copied.decode(copied.train[:90]) == made.decode(made.train[:90])
    assert copied.bytes_per_token == made.bytes_per_token
    raw = (tmp_path / "ids/train-00001.bin").read_bytes()
    (tmp_path / "ids/train-00001.bin").write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    with pytest.raises(InputError, match=r"train-00001\.bin is damaged"):
        prepare(tmp_path / "ids", tmp_path / "again")


def test_a_text_folder_may_have_a_meta_json_of_its_own(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "corpus.jsonl").write_bytes(corpus.read_bytes())
    (folder / "meta.json").write_text('{"title": "mine"}', "utf-8")
    assert prepare(folder, tmp_path / "ids").tokenizer == "bytes"


def test_no_path_is_written_down(corpus: Path, tmp_path: Path) -> None:
    tokens = prepare(corpus, tmp_path / "ids")
    assert str(tmp_path) not in (tokens.folder / "meta.json").read_text("utf-8")
    assert tokens.name == "corpus"


def test_what_is_there_is_used_again(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ids"
    first = prepare(corpus, folder)
    stamp = (folder / "train.bin").stat().st_mtime_ns
    assert prepare(corpus, folder).hash == first.hash
    assert (folder / "train.bin").stat().st_mtime_ns == stamp
    corpus.write_text(corpus.read_text("utf-8").replace("Document", "Text"), "utf-8")
    with pytest.raises(InputError, match="ids holds the token set 'corpus', made of another text"):
        prepare(corpus, folder)
    assert load_tokens(folder).hash == first.hash


def test_the_same_text_from_elsewhere_is_the_same_set(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ids"
    first = prepare(corpus, folder)
    (tmp_path / "moved").mkdir()
    moved = corpus.rename(tmp_path / "moved" / corpus.name)
    assert prepare(moved, folder).hash == first.hash
    with pytest.raises(InputError, match="name another folder"):
        prepare(moved, folder, tokenizer="bpe:300")


@pytest.mark.parametrize("damage", ["shorter", "flipped", "no offsets", "no meta", "half a meta"])
def test_a_damaged_cache_is_built_again(corpus: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "ids"
    good = prepare(corpus, folder).hash
    train = (folder / "train.bin").read_bytes()
    if damage == "shorter":
        (folder / "train.bin").write_bytes(train[:-5])
    elif damage == "flipped":
        (folder / "train.bin").write_bytes(bytes([train[0] ^ 1]) + train[1:])
    elif damage == "no offsets":
        (folder / "val_documents.npy").unlink()
    elif damage == "no meta":
        (folder / "meta.json").unlink()
    else:
        meta = (folder / "meta.json").read_text("utf-8")
        (folder / "meta.json").write_text(meta[: len(meta) // 2], "utf-8")
    if damage not in ("flipped", "no meta"):
        with pytest.raises(InputError, match="prepare"):
            load_tokens(folder)
    assert prepare(corpus, folder).hash == good
    assert load_tokens(folder).hash == good
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_failure_leaves_the_old_set_in_place(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ids"
    good = prepare(corpus, folder).hash
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine \xff not")
    with pytest.raises(InputError, match=r"bad\.txt is not UTF-8"):
        prepare(bad, folder)
    assert load_tokens(folder).hash == good
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_a_killed_process_left_is_cleared(corpus: Path, tmp_path: Path) -> None:
    dead, living = tmp_path / ".ids.999999999.tmp", tmp_path / f".ids.{os.getppid()}.tmp"
    dead.mkdir()
    living.mkdir()
    prepare(corpus, tmp_path / "ids")
    assert not dead.exists()
    assert living.exists()


def test_a_folder_with_other_files_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work", "utf-8")
    with pytest.raises(InputError, match="holds other files"):
        prepare(corpus, folder)
    assert (folder / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("\n\n \n", "is empty"), ("Just a few words.", "too little to train on")],
)
def test_an_empty_or_tiny_corpus_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "small.txt"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        prepare(path, tmp_path / "ids")
    assert not (tmp_path / "ids").exists()


def test_one_small_file_is_split_by_pieces(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("\n\n".join(f"Paragraph {i} of a short story." for i in range(900)), "utf-8")
    tokens = prepare(path, tmp_path / "ids")
    assert tokens.meta["split"]["by"] == "document"
    assert 0.025 < len(tokens.val) / (len(tokens.train) + len(tokens.val)) < 0.1


@pytest.mark.parametrize("name", ["bytess", "bpe:", "bpe:100", "bpe:70000", "gpt2"])
def test_unknown_tokenizers_are_refused(corpus: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="bpe:"):
        prepare(corpus, tmp_path / "ids", tokenizer=name)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6, math.nan])
def test_fractions_out_of_range_are_refused(corpus: Path, tmp_path: Path, fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        prepare(corpus, tmp_path / "ids", val_fraction=fraction)


def test_bpe_is_the_same_each_time_and_keeps_separators_apart(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("tokenizers")
    row = json.dumps({"text": "A text that says <|endoftext|> within. " * 10})
    corpus.write_text(corpus.read_text("utf-8") + row + "\n", "utf-8")
    one = prepare(corpus, tmp_path / "one", tokenizer="bpe:400")
    two = prepare(corpus, tmp_path / "two", tokenizer="bpe:400")
    assert one.hash == two.hash
    separators = int((one.train == one.meta["separator"]).sum())
    assert separators == one.meta["train_documents"]
    assert one.vocab <= 400
    assert one.train.dtype == np.uint16


def _nanogpt(path: Path, count: int, end: int | None, seed: int) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, 50_000, count).astype("<u2")
    if end is not None:
        ids[99::100] = end
    ids.tofile(path)
    return ids


def test_a_nanogpt_pair_is_read_where_it_lies_and_copied(tmp_path: Path) -> None:
    folder = tmp_path / "openwebtext"
    folder.mkdir()
    train = _nanogpt(folder / "train.bin", 10_000, 50_256, 0)
    _nanogpt(folder / "val.bin", 1_000, 50_256, 1)
    there = load_tokens(folder)
    assert there.vocab == 50_257
    assert np.array_equal(there.train, train)
    assert len(there.val_documents) == 11
    assert math.isnan(there.bytes_per_token)
    copied = prepare(folder, tmp_path / "ids")
    assert copied.hash == there.hash
    assert copied.name == "openwebtext"
    assert np.array_equal(copied.val_documents, there.val_documents)
    assert json.loads((tmp_path / "ids/meta.json").read_text("utf-8"))["bytes_per_token"] is None
    with pytest.raises(InputError, match="without a tokenizer"):
        copied.decode([1, 2])


def test_a_single_bin_file_is_split_at_its_documents(tmp_path: Path) -> None:
    ids = _nanogpt(tmp_path / "ids.bin", 20_000, 50_256, 0)
    tokens = prepare(tmp_path / "ids.bin", tmp_path / "out")
    assert len(tokens.train) + len(tokens.val) == len(ids)
    assert 900 <= len(tokens.val) <= 1_100
    assert set(np.asarray(tokens.val)[np.asarray(tokens.val_documents[1:]) - 1]) == {50_256}


def test_a_bin_file_without_separators_is_split_in_blocks(tmp_path: Path) -> None:
    _nanogpt(tmp_path / "ids.bin", 200_000, None, 0)
    tokens = prepare(tmp_path / "ids.bin", tmp_path / "out")
    assert len(tokens.val) % 2_000 == 0
    assert 0.02 < len(tokens.val) / 200_000 < 0.1


def test_a_header_of_llm_c_is_skipped(tmp_path: Path) -> None:
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, 20_000
    ids = np.random.default_rng(0).integers(0, 500, 20_000).astype("<u2")
    (tmp_path / "ids.bin").write_bytes(header.tobytes() + ids.tobytes())
    tokens = prepare(tmp_path / "ids.bin", tmp_path / "out")
    assert len(tokens.train) + len(tokens.val) == 20_000
    assert tokens.vocab == 500


@pytest.mark.parametrize("content", [b"", b"odd"])
def test_a_bin_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ids.bin").write_bytes(content)
    with pytest.raises(InputError, match="not a file of 16-bit ids"):
        prepare(tmp_path / "ids.bin", tmp_path / "out")


def test_a_missing_token_set_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="isoloss corpus prepare"):
        load_tokens(tmp_path / "absent")
