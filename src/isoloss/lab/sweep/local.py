"""Run a sweep with a pool of processes on this machine.

Every worker is one long-lived process with one thread, more only for a run that is alone: beside
another busy process two have been measured up to 50 times slower. The parent trains nothing; it
hands out runs, longest first, and watches. Whatever dies, the records decide what is left to do:
the same call goes on where the last one was killed.
"""

from __future__ import annotations

import math
import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isoloss.errors import InputError, IsolossError
from isoloss.files import make_folder
from isoloss.lab.eval_sets import check_eval_sets
from isoloss.lab.processes.environment import usable_cores
from isoloss.lab.sweep.crowd import Crowd, found_no_memory, wants_crowd
from isoloss.lab.sweep.display import auto_display, duration
from isoloss.lab.sweep.pace import learn_pace
from isoloss.lab.sweep.pool import Worker, worker_config
from isoloss.lab.sweep.queue import (
    Job,
    clear_leftovers,
    longest_first,
    make_jobs,
    measured,
    record_of,
    state_of,
)
from isoloss.lab.sweep.state import (
    DIVERGED,
    ELSEWHERE,
    FAILED,
    FINISHED,
    RUNNING,
    WAITING,
    SweepInterrupted,
    SweepProgress,
    SweepResult,
)
from isoloss.lab.sweep.tracked import Tracked, alone, picture
from isoloss.lab.tokens import check_corpus, load_tokens
from isoloss.lab.tokens.watch import check_ids
from isoloss.runs import RunSpec
from isoloss.runs.noise_series import check_noise
from isoloss.units import plural

_REPORT_EVERY = 0.5  # seconds
_START_DEATHS = 3  # workers that may die before they can take a run


def run_sweep(
    specs: Sequence[RunSpec],
    tokens_folder: Path,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Callable[[SweepProgress], None] | None = None,
    trainer: str = "isoloss.lab.train:train",
    checkpoint_seconds: float = 20.0,
    retries: int = 2,
    eval_sets: Mapping[str, str | Path] | None = None,
    engine: Mapping[str, str] | None = None,
    noise_every: int = 0,
) -> SweepResult:
    """Train every run of the sweep exactly once, each to its own record in `folder`.

    specs: the runs, all different; longest first is chosen here. The trunks that runs leave are
    trained too, before them.
    tokens_folder: where `prepare` put the token ids, read by every worker.
    folder: made if absent; done runs found in it are skipped, begun ones resumed, others left be.
    workers: processes, one thread each; by default one per usable core, and on a GPU as many up to
    that as make it do more, which is measured meanwhile (`crowd`).
    progress: called with a SweepProgress about twice a second; by default a display on stderr.
    trainer: `module:function` called in the workers as `isoloss.lab.train.train` is.
    checkpoint_seconds: seconds of work a kill may cost a run.
    retries: how often a run is taken up again after its worker died.
    eval_sets: folders of token ids by the names in the runs' eval_corpora, as `prepare_eval_sets`
    makes them.
    engine: how runs are computed, fields of `lab.engine.Engine`; what is left out is chosen there.
    noise_every: steps between the noise lines of a record, as of `train`, 0 for none.
    Returns SweepResult, in the order of the specs and then the trunks, whose counts are read from
    the records. A run that fails does not stop the others, but for the branches of a trunk that
    failed before them; it is named in `failures`.
    Raises InputError for wrong input before anything is trained, IsolossError if no worker can be
    started, SweepInterrupted (a KeyboardInterrupt) on Ctrl-C. After any of them, and after a kill,
    the same call resumes.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; at least one is needed")
    folder = Path(folder)
    jobs = make_jobs(specs, folder)
    tokens = load_tokens(tokens_folder)
    others = {name: load_tokens(place) for name, place in (eval_sets or {}).items()}
    for text in (tokens, *others.values()):
        check_ids(text)
    for job in jobs:
        check_corpus(job.spec, tokens)
        check_eval_sets(job.spec, tokens, others)
        check_noise(job.spec, noise_every)
    make_folder(folder)
    crowded = workers is None and wants_crowd((engine or {}).get("device", "auto"))
    crowd = Crowd(usable_cores()) if crowded else None
    workers = workers or usable_cores()
    sweep = _Sweep(jobs, tokens.hash, workers, retries, progress or auto_display(), crowd)
    told = (Path(tokens_folder), folder, trainer, checkpoint_seconds, tokens.hash)
    config = worker_config(*told, eval_sets, engine, noise_every)
    try:
        sweep.run(config)
    except KeyboardInterrupt:
        raise SweepInterrupted(sweep.result()) from None
    return sweep.result()


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


class _Sweep:
    """The state of one call of run_sweep."""

    def __init__(
        self,
        jobs: tuple[Job, ...],
        corpus_hash: str,
        workers: int,
        retries: int,
        progress: Callable[[SweepProgress], None],
        crowd: Crowd | None = None,
    ) -> None:
        self.corpus_hash, self.workers, self.retries = corpus_hash, workers, retries
        self.progress, self.crowd = progress, crowd
        self.folder = jobs[0].record.parent
        found = [(job, record_of(job, corpus_hash)) for job in jobs]
        self.tracked = {job.run_id: Tracked(job, state_of(run)) for job, run in found}
        self.seen = list(measured(found))
        waiting = [job for job, run in found if state_of(run) == WAITING]
        self.waiting = list(longest_first(waiting, learn_pace(self.seen)))
        self.already = len(jobs) - len(waiting)
        self.begun = sum(run is not None for _, run in found) - self.already
        for job, run in found:
            if run is not None and run.points:
                self.tracked[job.run_id].step = run.points[-1].step
                self.tracked[job.run_id].loss = _finite(run.points[-1].loss)
        self.pool: list[Worker] = []
        self.inbox: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
        self.start_deaths, self.unusable = 0, ""
        self.began = self.reported = time.monotonic()
        self.news: list[str] = []

    def run(self, config: dict[str, Any]) -> None:
        """Hand out runs until none waits and none is under way; workers are gone on return."""
        try:
            self.greet()
            self.report()
            while self.outstanding():
                self.hand_out(config)
                self.listen()
        finally:
            for worker in self.pool:
                worker.end()
            for run in self.tracked.values():
                if run.state == RUNNING:
                    run.state = WAITING
                if run.state == ELSEWHERE:
                    run.state = self.recorded(run, otherwise=ELSEWHERE)
            done = {key for key, run in self.tracked.items() if run.state in (FINISHED, DIVERGED)}
            clear_leftovers(self.folder, done)
            self.report(over=True)

    def outstanding(self) -> int:
        """How many runs still wait or are under way."""
        return sum(run.state in (WAITING, RUNNING) for run in self.tracked.values())

    def hand_out(self, config: dict[str, Any]) -> None:
        """Start workers that are wanted and give idle ones the next run that can begin."""
        ready = [job for job in self.waiting if self.ready(job)]
        running = len(self.under_way())
        at_once = self.crowd.limit if self.crowd else self.workers
        most = min(self.workers, 2 * at_once)  # those that may come next load meanwhile
        while len(self.pool) < min(most, len(ready) + running) and not self.unusable:
            self.pool.append(Worker(config, self.inbox))
        for worker in self.pool:
            if worker.ready and worker.job is None and ready and running < at_once:
                job, running = ready.pop(0), running + 1
                self.waiting.remove(job)
                run = self.tracked[job.run_id]
                run.begin()
                for one in self.under_way() if running > 1 else ():
                    one.beside = True
                worker.give(job, self.workers if alone(self.tracked.values()) else 1)
        if self.unusable and not any(worker.job or not worker.ready for worker in self.pool):
            raise IsolossError(f"the workers cannot train: {self.unusable}")

    def under_way(self) -> list[Tracked]:
        """The runs that workers have."""
        return [run for run in self.tracked.values() if run.state == RUNNING]

    def ready(self, job: Job) -> bool:
        """Whether a run can begin: a branch when its trunk has kept its start, or is over."""
        over = not job.trunk or self.tracked[job.trunk].state not in (WAITING, RUNNING)
        return over or job.kept

    def drop_branches(self, trunk: Tracked) -> None:
        """Give up the branches of a trunk that nobody here will train further."""
        for job in [job for job in self.waiting if job.trunk == trunk.job.run_id and not job.kept]:
            self.waiting.remove(job)
            run = self.tracked[job.run_id]
            run.state, run.reason = trunk.state, f"its trunk {job.trunk} failed"

    def listen(self) -> None:
        """Take in what the workers say, for at most the time to the next report."""
        try:
            worker, event = self.inbox.get(timeout=_REPORT_EVERY)
            while True:
                self.take(worker, event)
                worker, event = self.inbox.get_nowait()
        except queue.Empty:
            pass
        if self.crowd:
            told = [run for run in self.under_way() if run.heard]
            self.crowd.hear({run.job.run_id: (run.step, run.heard) for run in told})
        if self.news or time.monotonic() - self.reported >= _REPORT_EVERY:
            self.report()

    def take(self, worker: Worker, event: dict[str, Any]) -> None:
        """Act on one event of a worker."""
        kind = event["event"]
        if kind == "ready":
            worker.ready = True
            return
        run = self.tracked[worker.job.run_id] if worker.job is not None else None
        if kind == "unusable":
            self.retire(worker, run, event["reason"])
        elif worker not in self.pool:
            return  # the last words of one that was retired
        elif kind == "gone":
            self.bury(worker, run)
        elif run is not None and kind == "note":
            about, text = run.job.run_id, str(event["text"])
            self.news.append(text if about in text else f"{about}: {text}")
        elif run is not None and kind == "progress":
            run.step, run.tokens_per_second = event["step"], event["tokens_per_second"]
            run.heard = time.monotonic()
            run.loss = event["loss"] if event["loss"] is not None else run.loss
            if run.first_step is None:
                run.first_step = run.step
        elif run is not None:
            worker.job = None
            self.settle(run, kind, event.get("reason", ""))
            if run.state == WAITING:  # its process holds memory that the others need
                self.pool.remove(worker)
                worker.end()

    def settle(self, run: Tracked, kind: str, reason: str) -> None:
        """A worker let go of a run: the record says what became of it."""
        if kind == "elsewhere":
            run.state = ELSEWHERE
            self.news.append(f"{run.job.run_id} is being trained by another sweep; left to it")
            self.drop_branches(run)
            return
        if kind == "failed":
            if not self.crowded_out(run, reason):
                self.fail(run, reason)
            return
        run.state = self.recorded(run, otherwise=RUNNING)
        if run.state == RUNNING:
            self.fail(run, "the trainer returned, but the record does not say it is finished")

    def crowded_out(self, run: Tracked, reason: str) -> bool:
        """Let a run wait for which others left no memory, and train fewer at once from now on."""
        if self.crowd is None or not (run.beside and found_no_memory(reason)):
            return False
        self.crowd.shrink()
        run.state = WAITING
        self.waiting.insert(0, run.job)
        self.news.append(f"{run.job.run_id} found no memory; fewer runs at once from now on")
        return True

    def fail(self, run: Tracked, reason: str) -> None:
        """Give a run up, and what waits for it."""
        run.state, run.reason = FAILED, reason
        self.news.append(f"{run.job.run_id} failed: {reason}")
        self.drop_branches(run)

    def retire(self, worker: Worker, run: Tracked | None, reason: str) -> None:
        """A worker cannot train at all: its run waits again, and no more workers are started.

        Those that train go on to their ends: what they have open may be all they need.
        """
        self.pool.remove(worker)
        worker.end()
        if run is not None:
            run.state = WAITING
            self.waiting.insert(0, run.job)
        if self.pool and not self.unusable:
            self.news.append(f"no further worker can start: {reason}")
        self.unusable = reason

    def bury(self, worker: Worker, run: Tracked | None) -> None:
        """A worker is gone: take its run up again, unless that has been tried often enough."""
        how = worker.how_it_died()
        self.pool.remove(worker)
        worker.end()
        if run is None:
            self.start_deaths += not worker.ready
            if self.start_deaths >= _START_DEATHS:
                raise IsolossError(f"the workers die before they can train: {how}")
            return
        run.deaths += 1
        run.state = self.recorded(run, otherwise=WAITING)
        if run.state != WAITING:
            return
        if run.deaths > self.retries:
            self.fail(run, f"its worker died {run.deaths} times, last {how}")
        else:
            self.waiting.insert(0, run.job)
            self.news.append(f"the worker of {run.job.run_id} was lost ({how}); taking it up again")

    def recorded(self, run: Tracked, *, otherwise: str) -> str:
        """The state the record tells, or `otherwise` if it has no end; tells the news of an end."""
        try:
            record = record_of(run.job, self.corpus_hash)
        except InputError as error:  # damaged, or another's, since the sweep began
            self.fail(run, str(error))
            return FAILED
        state = state_of(record)
        if record is None or record.end is None or state == WAITING:
            return otherwise
        if self.crowd:
            self.crowd.ended()
        run.step, run.loss = record.end.step, _finite(record.end.loss)
        if state == FINISHED:
            self.seen += measured([(run.job, record)])
            took = duration(record.end.seconds)
            self.news.append(f"{run.job.run_id} finished: loss {record.end.loss:.4f} in {took}")
        elif state == DIVERGED:
            self.news.append(f"{run.job.run_id} diverged at step {record.end.step}")
        return state

    def greet(self) -> None:
        """Say what there is to do."""
        line = f"{plural(len(self.tracked), 'run')}: {self.already} done before"
        line += f", {self.begun} to resume, {self.outstanding() - self.begun} to begin"
        workers = min(self.workers, max(1, self.outstanding()))
        self.news.append(f"{line}; {plural(workers, 'worker')}")

    def report(self, *, over: bool = False) -> None:
        """Show the sweep as it stands."""
        now = time.monotonic()
        self.progress(
            picture(
                self.tracked,
                [job.run_id for job in self.waiting],
                self.seen,
                workers=self.workers,
                now=now,
                seconds=now - self.began,
                news=tuple(self.news),
                over=over,
            )
        )
        self.news, self.reported = [], now

    def result(self) -> SweepResult:
        """Count the runs by state."""
        states = Counter(run.state for run in self.tracked.values())
        return SweepResult(
            counts={
                **{state: states[state] for state in (FINISHED, DIVERGED, FAILED, ELSEWHERE)},
                "unfinished": states[WAITING] + states[RUNNING],
            },
            records=tuple(run.job.record for run in self.tracked.values()),
            failures=tuple(
                (key, run.reason) for key, run in self.tracked.items() if run.state == FAILED
            ),
            already=self.already,
        )
