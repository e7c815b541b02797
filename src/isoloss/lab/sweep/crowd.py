"""How many runs at once on one GPU: more, while the device does more.

A small model keeps a GPU waiting for its next instruction, so several are trained side by side, and
how many is measured: the number is doubled, and kept if what all do together has grown by a tenth.
That growth is judged by the runs that were going before and after: where each goes on at r times
its speed among k times as many, all together do k r times as much, whatever their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

_WINDOW = 4.0  # seconds that a speed is measured over
_GAIN = 1.1

Steps = Mapping[str, tuple[int, float]]
"""Of each run under way, by its name: the last step it has told, and when."""


class Crowd:
    """The number of runs at once, `limit`, from one to `most`, as measured so far."""

    def __init__(self, most: int) -> None:
        self.most, self.limit, self.settled = most, 1, most == 1
        self._fewer = 1
        self._speeds: dict[str, float] = {}
        self._began: dict[str, tuple[int, float]] = {}

    def hear(self, steps: Steps) -> None:
        """Take in how far the runs under way are, of which there may be fewer than the limit."""
        if self.settled or len(steps) < self.limit or not steps:
            self._began = {}
            return
        if self._began.keys() != steps.keys():
            self._began = dict(steps)
            return
        took = {run: when - self._began[run][1] for run, (_, when) in steps.items()}
        if min(took.values()) < _WINDOW:
            return
        speeds = {run: (step - self._began[run][0]) / took[run] for run, (step, _) in steps.items()}
        self._judge(speeds)
        self._began = {}

    def shrink(self) -> None:
        """One run too many, for it has found no memory: from now on half as many."""
        self.limit, self.settled = max(1, self.limit // 2), True

    def _judge(self, speeds: dict[str, float]) -> None:
        both = [run for run in speeds if self._speeds.get(run, 0.0) > 0]
        if both:
            kept = fmean(speeds[run] / self._speeds[run] for run in both)
            if self.limit / self._fewer * kept < _GAIN:
                self.limit, self.settled = self._fewer, True
                return
        if self.limit == self.most:
            self.settled = True
            return
        self._speeds, self._fewer = speeds, self.limit
        self.limit = min(self.most, 2 * self.limit)


def wants_crowd(device: str) -> bool:
    """Whether runs go to a GPU; without loading torch, which the parent of a sweep does not need.

    device: of the engine, `auto` where it is left open.
    """
    if device == "auto":
        return Path("/proc/driver/nvidia/version").exists()
    return device.startswith("cuda")
