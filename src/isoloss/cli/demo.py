"""`isoloss demo`: the whole loop on real text, with its forecast checked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isoloss.cli.options import Count, Json, Seed
from isoloss.cli.output import emit_json, say


def demo(
    folder: Annotated[Path, Parameter(help="Where everything goes; a second run resumes.")] = Path(
        "demo"
    ),
    *,
    corpus: Annotated[str, Parameter(help="What text, as in `isoloss corpus`.")] = "python-stdlib",
    seed: Seed = 0,
    workers: Annotated[
        Count | None, Parameter(help="Processes, one thread each; all cores without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Train small models, forecast a larger run, and check it.

    Trains a sweep of small transformers on real text (the source of Python's standard library),
    fits a law, writes down a forecast for runs beyond any it has seen, trains those, and says
    whether the forecast held. Takes minutes on two cores; needs the extra isoloss[all]. The same
    command goes on where it was stopped.
    """
    # A missing part is named before anything is trained.
    for package in ("torch", "matplotlib"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
    from isoloss.experiments.demo import run_demo, summary

    result = run_demo(folder, corpus=corpus, seed=seed, workers=workers, say=say)
    if json:
        emit_json(result)
    else:
        print("\n".join(summary(result)))
