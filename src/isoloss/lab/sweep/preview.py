"""What a sweep file implies, before anything is spent: its text, its order, its cost.

`prepare_tokens` turns the corpus the runs name into token ids beside their records; `dry_run`
says what would be trained and for how long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from isoloss.counting import count_params
from isoloss.errors import InputError
from isoloss.lab.sweep.display import duration
from isoloss.lab.sweep.pace import learn_pace, time_left
from isoloss.lab.sweep.pool import usable_cores
from isoloss.lab.sweep.queue import (
    longest_first,
    make_folder,
    make_jobs,
    measured,
    record_of,
    state_of,
)
from isoloss.lab.sweep.state import WAITING
from isoloss.lab.tokenizing import BYTE_VOCAB
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.runs import RunSpec
from isoloss.units import format_number


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
    make_folder(folder)
    return prepare(corpora[0], folder / "tokens", tokenizer=tokenizer, progress=progress)


def dry_run(
    specs: Sequence[RunSpec], tokens_folder: Path, folder: Path, *, workers: int | None = None
) -> tuple[str, ...]:
    """Say what `run_sweep` would do, as lines to print: one per run in its order, and the whole.

    Per run: parameters (non-embedding + head), tokens seen and how far from those asked for,
    steps, exact FLOPs and their ratio to 6 n d, epochs, estimated time, state. The FLOPs of a
    branch are those after its trunk, which has a line of its own. Times come from
    the finished runs in `folder`; without any they are a guess for one core, and marked so.
    """
    tokens = load_tokens(tokens_folder)
    jobs = make_jobs(specs, folder)
    found = {job.run_id: record_of(job, tokens.hash) for job in jobs}
    seen = measured((job, found[job.run_id]) for job in jobs)
    pace = learn_pace(seen)
    rows = [("run", "n", "tokens", "steps", "flops", "/6nd", "epochs", "time", "state")]
    for job in longest_first(jobs, pace):
        spec, run = job.spec, found[job.run_id]
        paid = spec.tokens_paid / spec.tokens_seen
        off = spec.tokens_seen / spec.tokens - 1
        state = state_of(run)
        rows.append(
            (
                job.run_id,
                format_number(count_params(spec.shape, "non_embedding_plus_head")),
                format_number(spec.tokens_seen) + (f" ({off:+.1%})" if off else ""),
                str(spec.steps),
                f"{paid * spec.flops('exact'):.2e}",
                f"{spec.flops('exact') / spec.flops('6nd'):.2f}",
                f"{spec.tokens_seen / len(tokens.train):.2f}",
                duration(pace.seconds(job.work)),
                "to resume" if state == WAITING and run is not None else state,
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    waiting = [job for job in longest_first(jobs, pace) if state_of(found[job.run_id]) == WAITING]
    count = min(workers or usable_cores(), max(1, len(waiting)))
    seconds = time_left([], [pace.seconds(job.work) for job in waiting], count)
    basis = f"judged by {len(seen)} finished runs" if seen else "a guess until a run is finished"
    total = sum(
        job.spec.flops("exact") * job.spec.tokens_paid / job.spec.tokens_seen for job in waiting
    )
    return (
        *lines,
        f"{len(waiting)} of {len(jobs)} runs to train on {tokens.name}, {total:.2e} FLOPs, "
        f"about {duration(seconds)} with {count} workers ({basis})",
    )
