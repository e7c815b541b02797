"""A worker of a local sweep: `python -m isoloss.lab.sweep.worker CONFIG`, started by `local.py`.

It imports torch once and then trains one run after another. Jobs come in as JSON lines on standard
input, events go out as JSON lines on what was standard output; whatever else prints goes to
standard error. It must not outlive its parent: on Linux the kernel kills it when the parent dies,
and everywhere the end of standard input, which only a living parent holds open, ends it.

CONFIG is one JSON object: parent (process id), tokens and folder (paths), text (the hash of the
tokens), eval_sets (folders, by the names in `eval_corpora`), engine (fields of `lab.engine.Engine`
that are not left open), trainer ("module:function"), checkpoint_seconds, lock_wait (seconds).

Events: ready · unusable(reason) · progress(step, loss, ...) · note(text) · ended · failed(reason) ·
elsewhere.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY = 0.25  # seconds between progress events


def main(config: dict[str, Any]) -> None:
    """Train the runs that come in on standard input until it ends."""
    _die_with(config["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    send = _take_over_stdout()
    jobs = _listen()
    try:
        train, text, eval_sets = _load(config), _Text(config), _eval_sets(config)
        chosen = {"engine": _engine(config)} if config.get("engine") else {}
    except Exception as error:
        send(event="unusable", reason=_reason(error))
        return
    _pass_on_warnings(send)
    send(event="ready")
    while True:
        job = jobs.get()
        try:
            tokens = text.tokens()
        except Exception as error:
            send(event="unusable", reason=_reason(error))
            return
        _do(job, partial(train, **chosen), tokens, eval_sets, config, send)
        _free_device()


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)


def _take_over_stdout() -> Callable[..., None]:
    """Keep standard output for events alone: anything else that prints goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)

    def send(**event: object) -> None:
        line = json.dumps(event).encode() + b"\n"
        try:
            while line:
                line = line[os.write(out, line) :]
        except OSError:  # nobody listens any more
            os._exit(1)

    return send


def _free_device() -> None:
    """Give back what torch keeps of a GPU between runs: other workers are on it too."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _listen() -> queue.SimpleQueue[dict[str, Any]]:
    """Read jobs in a thread, so that the end of the parent is noticed in the midst of a run."""
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            jobs.put(json.loads(line))
        # Leaving at once is always safe: a record is good at every moment, and so is a checkpoint.
        os._exit(0)

    threading.Thread(target=read, name="jobs", daemon=True).start()
    return jobs


def _pass_on_warnings(send: Callable[..., None]) -> None:
    """Send what a run warns of, each warning once, as a note."""
    import warnings

    show = warnings.showwarning

    def pass_on(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__name__ == "RunWarning":  # by its name: its module needs torch
            send(event="note", text=str(message))
        else:
            show(message, category, *where, **more)

    warnings.showwarning = pass_on


class _Text:
    """The token set, opened again where its files changed since, if it holds the same text."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._folder, self._hash = Path(config["tokens"]), config.get("text")
        self._stamps: object = None
        self.tokens()

    def tokens(self) -> Any:
        from isoloss.errors import InputError
        from isoloss.lab.token_watch import check_ids, stamps
        from isoloss.lab.tokens import load_tokens

        now = stamps(self._folder)
        if now != self._stamps or not now:
            self._tokens = load_tokens(self._folder)
            check_ids(self._tokens)
            if self._hash not in (None, self._tokens.hash):
                raise InputError(
                    f"{self._folder} holds another text than when the sweep began (hash "
                    f"{self._tokens.hash[:12]}, was {self._hash[:12]}); put that back"
                )
            self._stamps = now
        return self._tokens


def _eval_sets(config: dict[str, Any]) -> dict[str, Any]:
    from isoloss.lab.tokens import load_tokens

    return {name: load_tokens(place) for name, place in config.get("eval_sets", {}).items()}


def _engine(config: dict[str, Any]) -> object:
    from isoloss.lab.engine import Engine

    return Engine(**config["engine"])


def _load(config: dict[str, Any]) -> Callable[..., object]:
    module, _, function = config["trainer"].partition(":")
    train = getattr(importlib.import_module(module), function)
    if "torch" in sys.modules:
        # The environment variables set by the parent already did this; said again for libraries
        # that raise the number on loading.
        sys.modules["torch"].set_num_threads(1)
    return train  # type: ignore[no-any-return]


def _do(
    job: dict[str, Any],
    train: Callable[..., object],
    tokens: object,
    eval_sets: dict[str, Any],
    config: dict[str, Any],
    send: Callable[..., None],
) -> None:
    from isoloss.lab.sweep.lock import run_lock
    from isoloss.runs import RunSpec
    from isoloss.runs.record import RecordInUseError

    folder = Path(config["folder"])
    try:
        spec = RunSpec.from_dict(job["spec"])
        with run_lock(folder, spec.run_id, wait=config["lock_wait"]) as held:
            if not held:
                send(event="elsewhere")
                return
            if "torch" in sys.modules:  # a trainer may do without
                from isoloss.lab.threads import settle_threads

                settle_threads(spec, folder, job.get("threads", 1))
            train(
                spec,
                tokens,
                folder,
                on_progress=_reporter(send),
                checkpoint_seconds=config["checkpoint_seconds"],
                **({"keep": job["keep"]} if job.get("keep") else {}),
                **({"eval_sets": eval_sets} if spec.eval_corpora else {}),
            )
    except RecordInUseError:  # something other than a sweep is training it
        send(event="elsewhere")
    except Exception as error:
        send(event="failed", reason=_reason(error))
    else:
        send(event="ended")


def _reporter(send: Callable[..., None]) -> Callable[[Any], None]:
    """Pass the trainer's progress on, a few times a second."""
    last = 0.0

    def report(progress: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY:
            last = now
            send(
                event="progress",
                step=int(progress.step),
                loss=float(progress.loss) if math.isfinite(progress.loss) else None,
                tokens_per_second=float(progress.tokens_per_second),
            )

    return report


def _reason(error: BaseException) -> str:
    """One line naming the error, with the place it came from unless it was raised on purpose."""
    from isoloss.errors import IsolossError

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, IsolossError):
        return text
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        from isoloss.runs.journal import unwritten

        return str(unwritten(str(error.filename or "the run"), error))
    if isinstance(error, ModuleNotFoundError):
        return f"the library {error.name} is missing: pip install 'isoloss[lab]'"
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = ""
    if last is not None:
        place = f" ({Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno})"
    return f"{type(error).__name__}: {text}{place}"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
