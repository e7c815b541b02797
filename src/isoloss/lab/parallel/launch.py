"""Train one run with several processes of this machine: `torchrun`, started and watched.

The processes are those of `isoloss.lab.member`. They tell what they do in JSON lines on standard
output, and hold the other end of standard input, whose end ends them: so none outlives this one,
however it ends. What became of the run is read from its record.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, Literal

from isoloss.errors import IsolossError, UsageError
from isoloss.files import make_folder
from isoloss.lab.parallel.rows import rows_each
from isoloss.lab.processes.environment import training_environment
from isoloss.lab.processes.parent import events_in, killed_by, last_words
from isoloss.runs import End, RunSpec, read_record

_PATIENCE = 40.0  # seconds for torchrun to end its processes, to whom it gives 30
_RESUME = "the same command goes on from the last checkpoint"


def train_together(
    spec: RunSpec,
    tokens_folder: Path,
    folder: Path,
    *,
    processes: int,
    kind: Literal["ddp", "fsdp"] = "ddp",
    threads: int = 1,
    checkpoint_seconds: float = 20.0,
    eval_sets: Mapping[str, Path] | None = None,
    engine: Mapping[str, Any] | None = None,
    noise_every: int = 0,
    keep: Collection[int] = (),
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> End:
    """Train a run with so many processes of this machine; as `lab.train.train` otherwise.

    kind: ddp (every process holds the model) or fsdp (each a part of it). threads: of each process.
    eval_sets: folders of token ids by the names in the run's eval_corpora. engine: fields of
    `lab.engine.Engine`; each process has its own device, and what is left out all choose alike.
    noise_every, keep: as of `train`.
    on_progress: called with the fields of a `Progress`. on_note: with what the run warns of.
    Returns the record's end. Raises InputError for what cannot be shared, IsolossError with the
    reason if a process fails or dies; after it, and after a kill, the same call goes on from the
    checkpoint.
    """
    if processes < 1:
        raise UsageError(f"processes= (--nproc) is {processes}; at least one is needed")
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("no module named 'torch'", name="torch")
    rows_each(spec, processes)
    make_folder(folder)
    job = {
        "spec": spec.to_dict(),
        "tokens": str(tokens_folder),
        "folder": str(folder),
        "kind": kind,
        "threads": threads,
        "checkpoint_seconds": checkpoint_seconds,
        "eval_sets": {name: str(place) for name, place in (eval_sets or {}).items()},
        "engine": dict(engine or {}),
        "noise_every": noise_every,
        "keep": list(keep),
    }
    with tempfile.TemporaryFile() as errors, _stopped_by_sigterm():
        process = _start(job, processes, threads, errors)
        try:
            heard = _listen(process, on_progress, on_note)
            code = process.wait()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {_RESUME}") from None
        finally:
            _stop(process)
        record = folder / f"{spec.run_id}.jsonl"
        # After a refusal the record is that of another call.
        if (
            not heard.said
            and record.exists()
            and (run := read_record(record)).ended
            and run.end is not None
        ):
            return run.end
        raise IsolossError(_reason(heard, code, processes, errors))


def _start(
    job: Mapping[str, Any], processes: int, threads: int, errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    environment = training_environment(threads)
    environment["PYTHONSAFEPATH"] = "1"  # `-m` shall not find a torch.py in the folder one is in
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:  # gradients stay on this machine; torch's rendezvous listens beyond it
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr", "127.0.0.1", "--nproc-per-node", str(processes)]
    command += ["-m", "isoloss.lab.member", "--job", json.dumps(job)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C is for this process, which then ends the others
    )


@dataclass
class _Heard:
    """Why processes said that they failed: on purpose, with a line for a person, or not."""

    said: str = ""
    broke: str = ""


def _listen(
    process: subprocess.Popen[bytes],
    on_progress: Callable[[Mapping[str, Any]], None] | None,
    on_note: Callable[[str], None] | None,
) -> _Heard:
    heard = _Heard()
    assert process.stdout is not None
    for event in events_in(process.stdout):
        kind = event.pop("event", "")
        if kind == "progress" and on_progress:
            on_progress(event)
        elif kind == "note" and on_note:
            on_note(event["text"])
        elif kind == "failed" and event["said"]:
            heard.said = heard.said or event["reason"]
        elif kind == "failed":
            heard.broke = heard.broke or event["reason"]
    return heard


def _reason(heard: _Heard, code: int, processes: int, errors: IO[bytes]) -> str:
    """One line: what a process said, how one was killed, or the last that was printed."""
    if heard.said:
        return heard.said
    text = last_words(errors)
    # torchrun's report of those that failed; one that is lost makes the others fail as well, and
    # what is left of them torchrun ends by SIGTERM.
    ends = re.findall(r"rank\s*:\s*(\d+).*\n\s*exitcode\s*:\s*-(\d+)", text)
    for rank, number in ends:
        if int(number) != signal.SIGTERM or not heard.broke:
            how = killed_by(int(number))
            return f"process {int(rank) + 1} of {processes} was {how}; {_RESUME}"
    lines = text.splitlines()
    why = heard.broke or (lines[-1].strip() if lines else f"torchrun ended with status {code}")
    return f"a process of {processes} failed: {why}; {_RESUME}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End what was started here, and nothing else: the processes, then torchrun."""
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with contextlib.suppress(OSError):
            stream.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
