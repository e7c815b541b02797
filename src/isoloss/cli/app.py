"""Which verbs there are, and what becomes of an error: one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from cyclopts import App, CycloptsError, Parameter

from isoloss.cli.wording import in_options
from isoloss.errors import IsolossError

VERBS = {
    "demo": ("demo:demo", "Train small models, forecast a larger run, and check it."),
    "corpus": ("corpus:app", "List, fetch and tokenize text to train on."),
    "count": ("count:count", "Count a model's parameters, FLOPs and KV cache."),
    "train": ("train:train", "Train one run and leave its record."),
    "sweep": ("sweep:app", "Train every run of a sweep, on all cores."),
    "fit": ("fit:fit", "Fit a law to runs."),
    "backtest": ("backtest:backtest", "Fit the cheap runs, predict the expensive ones."),
    "tune": ("tune:tune", "Find the best learning rate of each model in a sweep."),
    "compare": ("compare:compare", "Say which of two arms of runs needs less compute."),
    "track": ("track:track", "Say whether a run in progress is on its law's course."),
    "plan": ("plan:plan", "Say which model to train with a budget, on how many tokens."),
    "next": ("next:next_runs", "Propose the runs to buy next, to be surer of the size."),
    "gns": ("gns:gns", "Measure the gradient noise scale of a run or at a checkpoint."),
    "report": ("report:report", "Write one HTML file with fits, figures and checks."),
    "laws": ("laws:laws", "List the published laws."),
}
EXTRAS = {
    "torch": "lab",
    "tokenizers": "lab",
    "zstandard": "lab",
    "matplotlib": "figures",
    "polars": "tables",
    "datasets": "hub",
}
WRONG_USAGE = 2
INTERRUPTED = 130


def build_app(words: Sequence[str]) -> App:
    """Build the command line for `words`; a verb's module stays unloaded until it is asked for."""
    app = App(
        name="isoloss",
        help="Decide how large a language model to train, on how much text, for what loss.",
        version=_version,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=()),
    )
    for place, (verb, (target, summary)) in enumerate(VERBS.items()):
        # The verb asked for shows its own docstring, the others a line each without being loaded.
        line = None if verb in words[:1] else summary
        app.command(f"isoloss.cli.{target}", name=verb, sort_key=place, help=line)
    return app


def run(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = build_app(words)(words)
        if sys.stdout is not None:  # None where the caller closed it (`>&-`)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        return _fail(f"{_one_line(str(error))} (try --help)", WRONG_USAGE)
    except IsolossError as error:
        return _fail(in_options(str(error)), error.exit_code)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted; the same command starts again", INTERRUPTED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        return _fail(f"this needs {package}: pip install 'isoloss[{EXTRAS[package]}]'", 1)
    except BrokenPipeError:
        # The reader left (`isoloss laws | head`): nothing more can be said, nor need be.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {_one_line(in_options(str(message)))}", file=sys.stderr)


def _version() -> str:
    from importlib.metadata import version

    return version("isoloss")


def _fail(message: str, code: int) -> int:
    print(f"isoloss: {_one_line(message)}", file=sys.stderr)
    return code


def _one_line(message: str) -> str:
    return " ".join(message.split())
