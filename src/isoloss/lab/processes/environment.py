"""What a process that works for another runs in: its threads, its memory, where it imports from."""

from __future__ import annotations

import os
import sys

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Read by torch and numpy when they load, so they must be set before the process starts."""

KEEP_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}
"""Tells glibc to keep freed memory, which every step of a small model would else return and take
back page by page; `benchmarks/train_speed.py` measures what training gains."""

WAIT_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Lets threads of a run that has several sleep while they wait for each other. Awake, beside other
busy processes on two cores, a step with two took 6 to 50 times as long as with one, asleep 1.2 to 2
times (d_model 16 to 128)."""


def training_environment(threads: int = 1) -> dict[str, str]:
    """The environment of a process that trains: so many threads for every library, memory kept."""
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**KEEP_MEMORY, **WAIT_ASLEEP, **import_environment(), **counts}


def import_environment() -> dict[str, str]:
    """This process's environment, with the folders it imports from."""
    path = [os.path.abspath(entry) for entry in sys.path if os.pathsep not in entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
