"""How many runs at once on one GPU: more, while the device does more.

A small model keeps a GPU waiting for its next instruction, so several are trained side by side, and
how many is measured: the number is doubled, and kept if what all do together has grown by a tenth.
That growth is judged by the runs that were going before and after: where each goes on at r times
its speed among k times as many, all together do k r times as much, whatever their sizes. Runs too
short to be measured are of models that do not fill a device: when as many of them have ended as run
at once, the number is doubled unseen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

_WINDOW = 3.0  # seconds that a speed is measured over
_GAIN = 1.1
_NO_MEMORY = re.compile("OutOfMemoryError|out of memory|ALLOC_FAILED", re.IGNORECASE)

Steps = Mapping[str, tuple[int, float]]
"""Of each run under way, by its name: the last step it has told, and when."""


class Crowd:
    """The number of runs at once, `limit`, from one to `most`, as measured so far."""

    def __init__(self, most: int) -> None:
        self.most, self.limit, self.settled = most, 1, most == 1
        self._fewer, self._ends = 1, 0
        self._speeds: dict[str, float] = {}
        self._began: dict[str, tuple[int, float]] = {}

    def hear(self, steps: Steps) -> None:
        """Take in how far the runs under way are, of which there may be fewer than the limit."""
        if self.settled or not steps:
            return
        # One that has ended goes, and one that takes its place is not measured with the others.
        self._began = {run: told for run, told in self._began.items() if run in steps}
        if len(steps) < self.limit:
            return
        if not self._began:
            self._began = dict(steps)
            return
        took = {run: steps[run][1] - when for run, (_, when) in self._began.items()}
        if min(took.values()) < _WINDOW:
            return
        speeds = {run: (steps[run][0] - self._began[run][0]) / took[run] for run in took}
        self._judge(speeds)
        self._began, self._ends = {}, 0

    def ended(self) -> None:
        """A run is over."""
        self._ends += 1
        if not self.settled and self._ends >= self.limit:
            self._began, self._ends = {}, 0
            self._grow({})

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
        self._grow(speeds)

    def _grow(self, speeds: dict[str, float]) -> None:
        if self.limit == self.most:
            self.settled = True
            return
        self._speeds, self._fewer = speeds, self.limit
        self.limit = min(self.most, 2 * self.limit)


def wants_crowd(device: str) -> bool:
    """Whether runs go to a GPU; without loading torch, which the parent of a sweep does not need.

    device: of the engine, `auto` where it is left open.
    """
    if device != "auto":
        return device.startswith("cuda")
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip()
    there = seen not in ("", "-1") and Path("/proc/driver/nvidia/version").exists()
    return there and _torch_has_cuda()


def found_no_memory(reason: str) -> bool:
    """Whether a run failed for want of memory, as torch, CUDA or one of its libraries says it."""
    return _NO_MEMORY.search(reason) is not None


def _torch_has_cuda() -> bool:
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"^cuda\b.*=\s*None", text, re.MULTILINE) is None
