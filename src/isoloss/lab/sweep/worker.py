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
import queue
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from isoloss.lab.processes.child import Send, die_with, listen, pass_on_warnings, take_over_stdout

_PROGRESS_EVERY = 0.25  # seconds between progress events


def main(config: dict[str, Any]) -> None:
    """Train the runs that come in on standard input until it ends."""
    die_with(config["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    send = take_over_stdout()
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    listen(jobs.put)
    try:
        train, others = _load(config), _others(config)
        text = _Text(config["tokens"], config.get("text"))
        chosen = {"engine": _engine(config)} if config.get("engine") else {}
    except Exception as error:
        send(event="unusable", reason=_reason(error))
        return
    pass_on_warnings(send)
    send(event="ready")
    while True:
        job = jobs.get()
        try:
            tokens = text.tokens()
            eval_sets = {name: other.tokens() for name, other in others.items()}
        except Exception as error:
            send(event="unusable", reason=_reason(error))
            return
        _do(job, partial(train, **chosen), tokens, eval_sets, config, send)
        _free_device()


def _free_device() -> None:
    """Give back what torch keeps of a GPU between runs: other workers are on it too."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


class _Text:
    """The token set, opened again where its files changed since, if it holds the same text."""

    def __init__(self, folder: str, known: str | None = None) -> None:
        """known: the hash that the text must have, by default the one it has now."""
        self._folder, self._hash = Path(folder), known
        self._stamps: object = None
        self._hash = self.tokens().hash

    def tokens(self) -> Any:
        from isoloss.errors import InputError
        from isoloss.lab.tokens import load_tokens
        from isoloss.lab.tokens.watch import check_ids, stamps

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


def _others(config: dict[str, Any]) -> dict[str, _Text]:
    return {name: _Text(place) for name, place in config.get("eval_sets", {}).items()}


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
    send: Send,
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
                from isoloss.lab.sweep.threads import settle_threads

                settle_threads(spec, folder, job.get("threads", 1))
            train(
                spec,
                tokens,
                folder,
                on_progress=_reporter(send),
                checkpoint_seconds=config["checkpoint_seconds"],
                **({"keep": job["keep"]} if job.get("keep") else {}),
                **({"eval_sets": eval_sets} if spec.eval_corpora else {}),
                **({"noise_every": every} if (every := config["noise_every"]) else {}),
            )
    except RecordInUseError:  # something other than a sweep is training it
        send(event="elsewhere")
    except Exception as error:
        send(event="failed", reason=_reason(error))
    else:
        send(event="ended")


def _reporter(send: Send) -> Callable[[Any], None]:
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
