"""Worker processes: started with one thread each, spoken to in JSON lines, ended by killing them.

Stopping is killing: a record and a checkpoint are good at every moment, so there is one way to
stop, the way that must work anyway, and no other to get wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from isoloss.errors import IsolossError
from isoloss.lab.sweep.queue import Job

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Read by torch and numpy when they load, so they must be set before the worker starts."""

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

LOCK_WAIT = 10.0
"""Seconds a worker waits for a run another process holds: time for a dying one to let go."""

_GUESSES = {"SIGKILL": " (out of memory?)", "SIGBUS": " (was a file of token ids cut short?)"}


class Worker:
    """One worker process; `job` is what it was given, None while it is idle or still loading."""

    def __init__(self, config: dict[str, Any], inbox: queue.SimpleQueue[tuple[Worker, Any]]):
        self.job: Job | None = None
        self.ready = False
        # A file, not a pipe: nobody need read it while the worker lives.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "isoloss.lab.sweep.worker", json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=worker_environment(),
            )
        except OSError as error:
            self._errors.close()
            raise IsolossError(
                f"cannot start a worker ({error.strerror}); use fewer workers"
            ) from None
        self._reader = threading.Thread(target=self._read, args=(inbox,), daemon=True)
        self._reader.start()

    def give(self, job: Job, threads: int = 1) -> None:
        """Hand the worker a run to train, and the most threads that it may do it with."""
        self.job = job
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has just died: the reader says so in a moment
            told = {"spec": job.spec.to_dict(), "keep": job.keep, "threads": threads}
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            self._process.stdin.flush()

    def end(self) -> None:
        """Kill the process, whatever it does, and release what belongs to it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()

    def how_it_died(self) -> str:
        """Words for the end of a process that is gone: the signal, or the last line it printed."""
        status = self._process.wait()
        if status < 0:
            name = signal.Signals(-status).name
            return f"killed by {name}" + _GUESSES.get(name, "")
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4096))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exited with status {status}" + (f": {lines[-1].strip()}" if lines else "")

    def _read(self, inbox: queue.SimpleQueue[tuple[Worker, Any]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # the last line of a killed worker may be torn
                inbox.put((self, json.loads(line)))
        inbox.put((self, {"event": "gone"}))


def worker_environment() -> dict[str, str]:
    """The environment of a worker: one thread for every library, memory kept, the import path."""
    path = [os.path.abspath(entry) for entry in sys.path if os.pathsep not in entry]
    return {
        **KEEP_MEMORY,
        **WAIT_ASLEEP,
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, "1"),
        "PYTHONPATH": os.pathsep.join(path),
    }


def worker_config(
    tokens_folder: Path,
    folder: Path,
    trainer: str,
    checkpoint_seconds: float,
    text: str | None = None,
    eval_sets: Mapping[str, str | Path] | None = None,
    engine: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a worker is told at its start; see `worker.py`."""
    return {
        "parent": os.getpid(),
        "tokens": str(tokens_folder),
        "text": text,
        "eval_sets": {name: str(place) for name, place in (eval_sets or {}).items()},
        "engine": dict(engine or {}),
        "folder": str(folder),
        "trainer": trainer,
        "checkpoint_seconds": checkpoint_seconds,
        "lock_wait": LOCK_WAIT,
    }


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
