"""What a run takes of its machine: memory, at its peak."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

_GB = 1e9


def start_counting_memory(device: torch.device) -> None:
    """Forget the peak so far, where the system can: a worker trains one run after another."""
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # or there is nothing to reset
        torch.cuda.empty_cache()  # of what was measured before the run
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_gb(device: torch.device) -> float:
    """The most memory since `start_counting_memory`, in 1e9 bytes.

    On a GPU what torch has allocated there; else what this process had in main memory, Python and
    torch themselves included. Where the system has no peak that can be reset, the process's own.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GB
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / _GB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GB
