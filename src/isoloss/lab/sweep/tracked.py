"""One run as the parent of a sweep sees it: its state, and how long it will yet take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isoloss.lab.sweep.pace import Pace, Work, learn_pace, time_left
from isoloss.lab.sweep.queue import Job
from isoloss.lab.sweep.state import ELSEWHERE, RUNNING, WAITING, RunProgress, SweepProgress


@dataclass
class Tracked:
    """What the parent of a sweep knows of one run."""

    job: Job
    state: str
    step: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    given: float = 0.0  # when a worker got it
    first_step: int | None = None  # the first step reported since
    heard: float = 0.0  # when the last one was, 0 before the first
    deaths: int = 0
    beside: bool = False  # whether another run was under way at any time since
    reason: str = ""

    def begin(self) -> None:
        """A worker gets the run."""
        self.state, self.given = RUNNING, time.monotonic()
        self.first_step, self.heard, self.beside = None, 0.0, False

    def trained(self) -> Work:
        """The work known to be done since a worker got the run: none before its first report."""
        if self.first_step is None:
            return self.job.work.part(0.0)
        return self.job.work.part(self.job.share(self.step) - self.job.share(self.first_step))

    def seconds_left(self, pace: Pace, now: float) -> float:
        """From its own speed once it has one, else from the pace of the others."""
        left = self.job.work.part(1 - self.job.share(self.step))
        trained = self.trained()
        if self.state == RUNNING and trained.flops > 0.05 * self.job.work.flops:
            return (now - self.given) * left.flops / trained.flops
        return pace.seconds(left)


def alone(runs: Iterable[Tracked]) -> bool:
    """Whether one run alone waits, is under way here, or is trained by another sweep."""
    return sum(run.state in (WAITING, RUNNING, ELSEWHERE) for run in runs) == 1


def picture(
    tracked: Mapping[str, Tracked],
    waiting: Sequence[str],
    seen: Sequence[tuple[Work, float]],
    *,
    workers: int,
    now: float,
    seconds: float,
    news: tuple[str, ...],
    over: bool,
) -> SweepProgress:
    """The sweep as it stands, with the time it will yet take.

    tracked: all runs by name; waiting: those that nobody has, in their order. seen: the work of
    runs that are done, and its seconds. now: of the clock that runs were begun by; seconds: since
    the sweep began.
    """
    running = [run for run in tracked.values() if run.state == RUNNING]
    under_way = [(r.trained(), now - r.given) for r in running if r.trained().flops > 0]
    pace = learn_pace([*seen, *under_way])
    left = {key: run.seconds_left(pace, now) for key, run in tracked.items()}
    fraction = {
        key: run.job.share(run.step) if run.state in (WAITING, RUNNING) else 1.0
        for key, run in tracked.items()
    }
    return SweepProgress(
        runs=tuple(
            RunProgress(
                run_id=key,
                state=run.state,
                step=run.step,
                steps=run.job.spec.steps,
                loss=run.loss,
                tokens_per_second=run.tokens_per_second if run.state == RUNNING else None,
                seconds_left=left[key] if run.state in (WAITING, RUNNING) else None,
            )
            for key, run in tracked.items()
        ),
        flops_done=sum(r.job.work.flops * fraction[k] for k, r in tracked.items()),
        flops_total=sum(r.job.work.flops for r in tracked.values()),
        seconds=seconds,
        seconds_left=time_left(
            [left[run.job.run_id] for run in running], [left[key] for key in waiting], workers
        ),
        news=news,
        over=over,
    )
