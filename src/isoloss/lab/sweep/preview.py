"""What a sweep file implies, before anything is spent: its text, its order, its cost.

`prepare_tokens` turns the corpus the runs name into token ids beside their records, `tokens_there`
finds them again; `dry_run` says what would be trained and for how long, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap

from isoloss.counting import count_params
from isoloss.errors import InputError
from isoloss.files import make_folder
from isoloss.lab.corpus import catalogue, hub
from isoloss.lab.corpus.documents import describe
from isoloss.lab.processes.environment import usable_cores
from isoloss.lab.sweep.display import duration
from isoloss.lab.sweep.pace import Pace, learn_pace, time_left
from isoloss.lab.sweep.queue import (
    Job,
    longest_first,
    make_jobs,
    measured,
    record_of,
    state_of,
)
from isoloss.lab.sweep.state import WAITING
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.tokens.sources import is_token_source
from isoloss.lab.tokens.tokenizing import BYTE_VOCAB
from isoloss.runs import Run, RunSpec
from isoloss.units import format_number, plural

_WIDTH = 80
"""The columns that all lines fit in."""
_LEAST_NAME = 8


def prepare_tokens(
    specs: Sequence[RunSpec],
    folder: Path,
    *,
    tokenizer: str | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> TokenSet:
    """Make the token ids of the one corpus that all runs name, in `folder/tokens`, or reuse them.

    tokenizer: as in `prepare`; by default what the vocabulary says, `bytes` for 256 and a
    byte-level BPE of that size for any other.
    Raises InputError if the runs name no corpus, several, or vocabularies that differ.
    """
    corpus, tokenizer = _asked(specs, tokenizer)
    make_folder(folder)
    return prepare(corpus, folder / "tokens", tokenizer=tokenizer, progress=progress)


def given_tokens(path: Path, folder: Path) -> TokenSet:
    """Open a folder of token ids, or take those of one file into `folder/tokens`.

    path: a folder, or a file: ids of 16 bits as nanoGPT and llm.c write them (`.bin`), of which a
    part is held out, or a packed token set (`pack_tokens`).
    Raises InputError for any other.
    """
    if not path.is_file():
        return load_tokens(path)
    if not is_token_source(path):
        raise InputError(
            f"{path} holds no token ids; give a .bin file, a packed token set (.zip), or a folder"
        )
    make_folder(folder)
    return prepare(path, folder / "tokens")


def tokens_there(
    specs: Sequence[RunSpec],
    folder: Path,
    *,
    given: Path | None = None,
    tokenizer: str | None = None,
) -> TokenSet | None:
    """Return the token ids that are there, or that an earlier call left; None if yet to be made.

    given: what `given_tokens` would be given; else they are those of `prepare_tokens`. Nothing is
    written, and nothing fetched.
    Raises InputError as these two do, also for text files that are not there.
    """
    if given is not None and not given.is_file():
        return load_tokens(given)
    if given is not None and not is_token_source(given):
        return given_tokens(given, folder)  # which says what it should have been
    if given is None:
        corpus, _ = _asked(specs, tokenizer)
        if not (hub.is_hub_name(corpus) or catalogue.is_entry(corpus)):
            describe(corpus)
    try:
        return load_tokens(folder / "tokens")
    except InputError:  # or begun, or damaged, and then they are made anew
        return None


def _asked(specs: Sequence[RunSpec], tokenizer: str | None) -> tuple[str, str]:
    """The one corpus that all runs name, and the tokenizer for it."""
    corpora = sorted({spec.corpus for spec in specs})
    if corpora == [""]:
        raise InputError(
            'the sweep names no corpus; write corpus = "python-stdlib" under [defaults]'
        )
    if len(corpora) > 1:
        raise InputError(
            f"the sweep names {len(corpora)} corpora ({', '.join(map(repr, corpora))}); "
            "write one sweep for each"
        )
    vocabs = sorted({spec.shape.vocab for spec in specs})
    if tokenizer is None and len(vocabs) > 1:
        raise InputError(
            f"the runs have vocabularies {', '.join(map(str, vocabs))}; give all the same, "
            "or say which tokenizer to use"
        )
    if tokenizer is None:
        tokenizer = "bytes" if vocabs[0] == BYTE_VOCAB else f"bpe:{vocabs[0]}"
    return corpora[0], tokenizer


def dry_run(
    specs: Sequence[RunSpec],
    tokens_folder: Path | None,
    folder: Path,
    *,
    workers: int | None = None,
) -> tuple[str, ...]:
    """Say what `run_sweep` would do, as lines to print: one per run in its order, and the whole.

    Per run: its name (the middle left out where 80 columns ask for it), parameters (non-embedding
    + head), tokens seen and how far from those asked for, steps, exact FLOPs, epochs, estimated
    time, state. The FLOPs of a branch are those after its trunk, which has a line of its own. Times
    come from the finished runs in `folder`; without any they are a guess for one core, and marked
    so. tokens_folder: None where the text is not tokenized yet; then epochs are not known.
    """
    tokens = None if tokens_folder is None else load_tokens(tokens_folder)
    jobs = make_jobs(specs, folder)
    found = {job.run_id: record_of(job, tokens.hash if tokens else None) for job in jobs}
    seen = measured((job, found[job.run_id]) for job in jobs)
    pace = learn_pace(seen)
    ordered = longest_first(jobs, pace)
    rows = [_row(job, found[job.run_id], tokens, pace) for job in ordered]
    waiting = [job for job in ordered if state_of(found[job.run_id]) == WAITING]
    count = min(workers or usable_cores(), max(1, len(waiting)))
    seconds = time_left([], [pace.seconds(job.work) for job in waiting], count)
    basis = "a guess until a run is finished"
    if seen:
        basis = f"judged by {plural(len(seen), 'finished run')}"
    total = sum(_paid(job.spec) for job in waiting)
    name = tokens.name if tokens else f"{specs[0].corpus!r}, not tokenized yet"
    return (
        *_aligned([("run", "n", "tokens", "steps", "flops", "epochs", "time", "state"), *rows]),
        *wrap(
            f"{len(waiting)} of {plural(len(jobs), 'run')} to train on {name}, {total:.2e} FLOPs",
            _WIDTH,
        ),
        f"about {duration(seconds)} with {plural(count, 'worker')} ({basis})",
    )


def _row(job: Job, run: Run | None, tokens: TokenSet | None, pace: Pace) -> tuple[str, ...]:
    spec, state = job.spec, state_of(run)
    off = f"{spec.tokens_seen / spec.tokens - 1:+.1%}"
    return (
        job.run_id,
        format_number(count_params(spec.shape, "non_embedding_plus_head")),
        format_number(spec.tokens_seen) + (f" {off}" if off[1:] != "0.0%" else ""),
        str(spec.steps),
        f"{_paid(spec):.1e}",
        _epochs(spec, tokens),
        duration(pace.seconds(job.work)),
        "to resume" if state == WAITING and run is not None else state,
    )


def _epochs(spec: RunSpec, tokens: TokenSet | None) -> str:
    """How often the text is seen, or the part of it that the run asks for."""
    part = spec.unique_tokens // spec.shape.n_ctx * spec.shape.n_ctx
    there = part or (len(tokens.train) if tokens else 0)
    return f"{spec.tokens_seen / there:.2f}" if there else "-"


def _paid(spec: RunSpec) -> float:
    """Exact FLOPs: of a branch, those after its trunk."""
    return spec.flops("exact") * spec.tokens_paid / spec.tokens_seen


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of even columns, the first cut in its middle where they are too wide."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    spare = _WIDTH - sum(widths[1:]) - 2 * len(widths[1:])
    widths[0] = max(min(widths[0], spare), _LEAST_NAME)
    return [
        "  ".join(
            text.ljust(width)
            for text, width in zip((_cut(row[0], widths[0]), *row[1:]), widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cut(name: str, width: int) -> str:
    """A name with its ends kept: the end of a run's tells it from all others."""
    end = (width - 1) // 2
    return name if len(name) <= width else f"{name[: width - end - 2]}..{name[-end:]}"
