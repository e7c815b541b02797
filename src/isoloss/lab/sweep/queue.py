"""Which runs a sweep still has to do, and in which order.

A run is done when the last line of its record says so, and only then. Longest runs go first, so
that no worker starts a long one when the others are through. A trunk goes before the runs that
leave it, each of which waits for the state it starts from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from isoloss.errors import InputError
from isoloss.lab.sweep.lock import run_lock
from isoloss.lab.sweep.pace import Pace, Work, work_of
from isoloss.lab.sweep.state import DIVERGED, FINISHED, WAITING
from isoloss.runs import Run, RunSpec, kept_path, read_record, trunk_of, with_trunks

_LEFTOVER = re.compile(
    r"\.(?P<record>.+)\.jsonl\.tmp|(?P<run>.+)\.(?:lock|ckpt\.npz|(?:ckpt|step\d+|best\d+)\.tmp|best\d+\.npz)"
)


@dataclass(frozen=True)
class Job:
    """One run of a sweep: what to train, where its record lies, what it costs.

    trunk: run_id of the run it leaves, or "". keep: steps after which branches leave this one.
    """

    run_id: str
    spec: RunSpec
    record: Path
    work: Work
    trunk: str = ""
    keep: tuple[int, ...] = ()

    def share(self, step: int) -> float:
        """The share of its own work that is done after `step` steps."""
        first = self.spec.branch_step
        return max(0, step - first) / (self.spec.steps - first)

    @property
    def kept(self) -> bool:
        """Whether the state that this branch starts from is there."""
        return kept_path(self.record.parent, self.trunk, self.spec.branch_step).exists()


def make_jobs(specs: Iterable[RunSpec], folder: Path) -> tuple[Job, ...]:
    """Turn specs into jobs, refusing an empty sweep and two runs that would be the same run.

    The trunks that runs leave come last, where they are not among the runs.
    Raises InputError naming both places of a repeated run, counted from 1.
    """
    jobs: dict[str, Job] = {}
    specs = with_trunks(specs)
    trunks = {spec.run_id: trunk_of(spec).run_id for spec in specs if spec.trunk}
    keep: dict[str, set[int]] = {trunk: set() for trunk in trunks.values()}
    for spec in specs:
        if spec.trunk:
            keep[trunks[spec.run_id]].add(spec.branch_step)
    for place, spec in enumerate(specs, start=1):
        run_id = spec.run_id
        if run_id in jobs:
            first = list(jobs).index(run_id) + 1
            raise InputError(
                f"runs {first} and {place} of the sweep are the same run ({run_id}); "
                "give them different seeds, or remove one"
            )
        record, kept = folder / f"{run_id}.jsonl", sorted(keep.get(run_id, ()))
        trunk = trunks.get(run_id, "")
        jobs[run_id] = Job(run_id, spec, record, work_of(spec), trunk, tuple(kept))
    if not jobs:
        raise InputError("the sweep holds no runs; add at least one")
    return tuple(jobs.values())


def record_of(job: Job, corpus_hash: str | None) -> Run | None:
    """The run's record so far; None if it has none, or was killed before its first line was whole.

    corpus_hash: of the text to train on, None where it is not known yet.
    Raises InputError if the file is damaged before its last line, holds another run, or one
    trained on another text: to resume it would mix the two.
    """
    if not job.record.exists():
        return None
    run = read_record(job.record)
    if not run.spec:
        return None
    if run.run_id != job.run_id:
        raise InputError(
            f"{job.record} holds another run ({run.run_id}); "
            "move it away, or give the sweep another folder"
        )
    found = str(run.corpus.get("hash", ""))
    if corpus_hash is not None and found != corpus_hash:
        raise InputError(
            f"{job.record} was trained on another text (hash {found[:12]}, now "
            f"{corpus_hash[:12]}); give the sweep another folder, or prepare the same text"
        )
    return run


def state_of(run: Run | None) -> str:
    """`finished`, `diverged`, or `waiting` for a run that is yet to be begun or resumed."""
    if run is None or not run.ended:
        return WAITING
    return DIVERGED if run.diverged else FINISHED


def measured(pairs: Iterable[tuple[Job, Run | None]]) -> tuple[tuple[Work, float], ...]:
    """The work and seconds of the runs already finished, to learn the pace from."""
    return tuple(
        (job.work.part(job.share(run.end.last or run.end.step)), run.end.seconds)
        for job, run in pairs
        if run is not None and run.end is not None and run.finished
    )


def longest_first(jobs: Sequence[Job], pace: Pace) -> tuple[Job, ...]:
    """The jobs in the order to start them; equal ones keep the order given.

    A trunk is as long as it and the longest run that waits for it.
    """
    after: dict[str, float] = {}
    for job in jobs:
        after[job.trunk] = max(after.get(job.trunk, 0.0), pace.seconds(job.work))
    return tuple(
        sorted(jobs, key=lambda job: -(pace.seconds(job.work) + after.get(job.run_id, 0.0)))
    )


def clear_leftovers(folder: Path, done: Collection[str]) -> None:
    """Remove the lock, checkpoint and temporary files that killed workers left of done runs."""
    for path in folder.iterdir():
        match = _LEFTOVER.fullmatch(path.name)
        if match is not None and (run_id := match["record"] or match["run"]) in done:
            # A full disk may refuse even the lock; what is left then does no harm.
            with suppress(OSError), run_lock(folder, run_id, wait=0.0) as held:
                if held:
                    path.unlink(missing_ok=True)
