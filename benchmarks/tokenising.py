"""How fast 1 GB of text becomes token ids, and in how much memory.

The text is Python's standard library, cut into documents of at most 4,000 characters and repeated
until it is long enough, shuffled each time and with one word in fifty made new, so that words keep
coming that were not met before. It is one file of JSON lines.

Ours is the command `isoloss corpus prepare`: it reads, splits, tokenizes, hashes. The peers read
the same file and write the same documents as ids, nothing else:

- bytes: a plain loop that writes each document and a separator as it reads it;
- BPE: the `tokenizers` library, all text in memory, `encode_batch_fast` on 1,000 documents at a
  time with the library's own threads, with the vocabulary that ours has learnt (so the time ours
  took to learn it is told apart, and left out of the ratio);
- BPE, where `datasets` is installed: nanoGPT's `data/openwebtext/prepare.py`, `datasets.map` with a
  process for each core and a memory map filled in 1,024 steps, with the same vocabulary.

Each runs in a process of its own. Memory is the most that the process held, and for each of its
children the most that any of them held, all as if at one time: no less than the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import _results as results
import numpy as np

from isoloss.lab.corpus.python_stdlib import read_python_stdlib
from isoloss.lab.corpus.text_files import cut
from isoloss.lab.processes.environment import usable_cores
from isoloss.lab.tokens.tokenizing.bpe import load_bpe

DOCUMENT = 4_000  # characters at most
NEW_WORDS = 0.02
SEPARATOR = "<|endoftext|>"


def varied(raw: bytes, rng: np.random.Generator) -> bytes:
    """The text with the first four letters of some words replaced by chance."""
    text = np.frombuffer(raw, np.uint8).copy()
    letter = (text | 32) - 97 < 26
    runs = letter[:-4] & letter[1:-3] & letter[2:-2] & letter[3:-1]
    starts = np.flatnonzero(runs[1:] & ~letter[: len(runs) - 1]) + 1
    chosen = starts[rng.random(len(starts)) < NEW_WORDS]
    for place in range(4):
        text[chosen + place] = rng.integers(97, 123, len(chosen))
    return text.tobytes()


def make_text(path: Path, size: int) -> int:
    """Write documents until there are `size` bytes of text; returns how many documents."""
    rng = np.random.default_rng(0)
    documents = [
        piece.encode()
        for document in read_python_stdlib()
        for piece in cut(document.text, DOCUMENT)
    ]
    done = count = 0
    with path.open("w", encoding="utf-8") as out:
        while done < size:
            for number in rng.permutation(len(documents)).tolist():
                raw = varied(documents[number], rng)
                out.write(json.dumps({"text": raw.decode()}) + "\n")
                done, count = done + len(raw), count + 1
                if done >= size:
                    break
    return count


def documents_of(path: Path) -> Iterator[str]:
    with path.open("rb") as stream:
        for line in stream:
            yield json.loads(line)["text"]


def ours(text: Path, folder: Path, tokenizer: str) -> float:
    """`isoloss corpus prepare`; returns the seconds it took to learn a vocabulary."""
    from isoloss.cli.app import run
    from isoloss.lab.tokens.tokenizing import corpus

    learning = 0.0
    train_bpe = corpus.train_bpe

    def timed(*given: object) -> object:
        nonlocal learning
        started = time.perf_counter()
        found = train_bpe(*given)  # type: ignore[arg-type]
        learning = time.perf_counter() - started
        return found

    corpus.train_bpe = timed  # type: ignore[assignment]
    words = ["corpus", "prepare", str(text), str(folder), "--tokenizer", tokenizer, "--json"]
    with open(os.devnull, "w") as nowhere:
        printed, sys.stdout = sys.stdout, nowhere
        assert run(words) == 0
        sys.stdout = printed
    return learning


def plain_loop(text: Path, folder: Path) -> None:
    with (folder / "ids.bin").open("wb") as out:
        for document in documents_of(text):
            out.write(document.encode() + b"\xff")


def library(text: Path, folder: Path, tokenizer: Path) -> None:
    bpe = load_bpe(tokenizer)
    separator = bpe.token_to_id(SEPARATOR)
    texts = list(documents_of(text))
    ids = []
    for start in range(0, len(texts), 1_000):
        for encoding in bpe.encode_batch_fast(
            texts[start : start + 1_000], add_special_tokens=False
        ):
            ids.append(np.array([*encoding.ids, separator], np.uint16))
    np.concatenate(ids).tofile(folder / "ids.bin")


def nanogpt(text: Path, folder: Path, tokenizer: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread in each process
    bpe = load_bpe(tokenizer)
    separator = bpe.token_to_id(SEPARATOR)

    def process(example: dict[str, str]) -> dict[str, object]:
        ids = [*bpe.encode(example["text"], add_special_tokens=False).ids, separator]
        return {"ids": ids, "len": len(ids)}

    loaded = datasets.load_dataset(
        "json", data_files=str(text), split="train", cache_dir=str(folder / "cache")
    )
    tokenized = loaded.map(process, remove_columns=["text"], num_proc=usable_cores())
    length = int(np.sum(tokenized["len"], dtype=np.uint64))
    array = np.memmap(folder / "ids.bin", dtype=np.uint16, mode="w+", shape=(length,))
    batches = min(1024, len(tokenized))
    at = 0
    for index in range(batches):
        batch = tokenized.shard(num_shards=batches, index=index, contiguous=True)
        ids = np.concatenate(batch.with_format("numpy")["ids"])
        array[at : at + len(ids)] = ids
        at += len(ids)
    array.flush()


def one_side(side: str, text: Path, folder: Path, tokenizer: str) -> dict[str, float]:
    """Run one side in this process; seconds, and megabytes of itself and of its largest child."""
    started = time.perf_counter()
    learning = 0.0
    if side == "ours":
        learning = ours(text, folder, tokenizer)
    elif side == "plain loop":
        plain_loop(text, folder)
    elif side == "tokenizers":
        library(text, folder, Path(tokenizer))
    else:
        nanogpt(text, folder, Path(tokenizer))
    seconds = time.perf_counter() - started
    own, child = (
        resource.getrusage(who).ru_maxrss / 1024 * 1.048576
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"seconds": seconds, "learning": learning, "own": own, "child": child}


def measure(side: str, text: Path, folder: Path, tokenizer: str) -> dict[str, float]:
    """One side in a fresh process."""
    words = [sys.executable, __file__, "--side", side, "--text", str(text)]
    words += ["--folder", str(folder), "--tokenizer", tokenizer]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(side: str, what: str, size: float, found: dict[str, float], ours_s: float) -> list[str]:
    seconds = found["seconds"] - found["learning"]
    children = usable_cores() if found["child"] > 1 else 0
    print(f"{what}, {side}: {seconds:.0f} s", file=sys.stderr)
    return [
        what, side, f"{seconds:.0f}", f"{found['learning']:.0f}" if found["learning"] else "",
        f"{size / 1e6 / seconds:.1f}", f"{seconds / ours_s:.2f}",
        f"{found['own'] + children * found['child']:.0f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1_000, help="of text")
    parser.add_argument("--vocab", type=int, default=4_096)
    parser.add_argument("--note", default="", help="to stand below the table")
    child = parser.add_argument_group("one side, as the benchmark calls itself")
    child.add_argument("--side")
    child.add_argument("--text", type=Path)
    child.add_argument("--folder", type=Path)
    child.add_argument("--tokenizer")
    options = parser.parse_args()
    if options.side:
        found = one_side(options.side, options.text, options.folder, options.tokenizer)
        print(json.dumps(found))
        return
    rows = []
    size = options.megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.jsonl"
        count = make_text(text, size)

        def side(who: str, tokenizer: str) -> dict[str, float]:
            own = folder / who.replace(" ", "-")
            own.mkdir(exist_ok=True)
            found = measure(who, text, own, tokenizer)
            if who == "ours":
                own.rename(folder / f"ours-{tokenizer[:3]}")
            else:
                subprocess.run(["rm", "-r", str(own)], check=True)
            return found

        found = side("ours", "bytes")
        first = found["seconds"]
        rows.append(row("isoloss", "bytes", size, found, first))
        rows.append(row("plain loop", "bytes", size, side("plain loop", ""), first))
        found = side("ours", f"bpe:{options.vocab}")
        first = found["seconds"] - found["learning"]
        what = f"BPE, {options.vocab:,}"
        rows.append(row("isoloss", what, size, found, first))
        vocabulary = str(folder / "ours-bpe" / "tokenizer.json")
        rows.append(row("tokenizers", what, size, side("tokenizers", vocabulary), first))
        if find_spec("datasets") is not None:
            rows.append(row("nanoGPT", what, size, side("nanoGPT", vocabulary), first))
    results.append(
        "tokenising",
        ("ids", "by", "s", "learning, s", "MB/s", "time over ours", "most memory, MB"),
        rows,
        f"{size / 1e6:,.0f} MB of text in {count:,} documents, one file of JSON lines; "
        f"{usable_cores()} cores. Learning the vocabulary is in neither the seconds nor the MB/s. "
        + options.note,
    )


if __name__ == "__main__":
    main()
