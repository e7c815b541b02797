"""What a sweep tells its caller: a picture of it while it runs, and what came of it.

The picture (`SweepProgress`) is a value made afresh for every report, so a display keeps no
books of its own. The result counts what the *files* say at the end, not what workers claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isoloss.errors import IsolossError
from isoloss.units import plural

WAITING, RUNNING, FINISHED, DIVERGED = "waiting", "running", "finished", "diverged"
FAILED, ELSEWHERE = "failed", "elsewhere"


@dataclass(frozen=True)
class RunProgress:
    """One run as it stands: its state and, while it trains, where it is."""

    run_id: str
    state: str
    """waiting, running, finished, diverged, failed, or elsewhere (another sweep trains it)."""
    step: int
    steps: int
    loss: float | None
    """The latest loss the trainer reported, nats per token; None before the first."""
    tokens_per_second: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class SweepProgress:
    """A sweep as it stands, one entry per run in the order given."""

    runs: tuple[RunProgress, ...]
    flops_done: float
    flops_total: float
    seconds: float
    """Wall time since this call began."""
    seconds_left: float
    """Estimate of the wall time still needed, learned from runs finished and under way."""
    news: tuple[str, ...] = ()
    """What happened since the last report, one line each."""
    over: bool = False
    """True in the last report of a sweep, however it ends."""

    def count(self, *states: str) -> int:
        """How many runs are in any of these states."""
        return sum(run.state in states for run in self.runs)


@dataclass(frozen=True)
class SweepResult:
    """What came of a sweep: `counts` by state, and where each run's record lies.

    counts: runs by state; the values add up to the number of runs.
    records: paths in the order the runs were given, whether or not the run is done.
    failures: run and reason, for the runs that could not be done.
    already: how many were done before this call and so were not touched.
    """

    counts: Mapping[str, int]
    records: tuple[Path, ...]
    failures: tuple[tuple[str, str], ...] = ()
    already: int = 0

    @property
    def complete(self) -> bool:
        """Whether every run has its end in its record (finished or diverged)."""
        return self.counts[FINISHED] + self.counts[DIVERGED] == len(self.records)

    def check(self) -> SweepResult:
        """Return self, or raise IsolossError naming the first run that is not done and why."""
        if self.complete:
            return self
        raise IsolossError(self.summary())

    def summary(self) -> str:
        """One line: what is done, what is not and why, and how to go on."""
        done = self.counts[FINISHED] + self.counts[DIVERGED]
        line = f"{done} of {plural(len(self.records), 'run')} done"
        if self.counts[DIVERGED]:
            line += f" ({self.counts[DIVERGED]} diverged)"
        if self.failures:
            run_id, reason = self.failures[0]
            more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
            line += f"; {run_id}{more} failed: {reason}"
        if self.counts[ELSEWHERE]:
            line += f"; {self.counts[ELSEWHERE]} being trained by another sweep"
        return line if self.complete else f"{line}; run the same command again to resume"


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep: the message says what is done and how to resume.

    A KeyboardInterrupt, so a caller that does not know it still stops.
    """

    exit_code = 130

    def __init__(self, result: SweepResult) -> None:
        super().__init__(f"sweep interrupted: {result.summary()}")
        self.result = result
