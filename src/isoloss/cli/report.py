"""`isoloss report`: one HTML file with everything the runs say, and how far to believe it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isoloss.cli.options import Json, Number, Reading, Seed, SizeForm, law_of
from isoloss.cli.output import emit_json
from isoloss.cli.replacing import check_output, is_report


def report(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    out: Annotated[Path, Parameter(help="The HTML file to write.")],
    *,
    target_flops: Annotated[
        Number | None, Parameter(help="Training FLOPs to plan for, such as 1e21.")
    ] = None,
    form: Annotated[SizeForm, Parameter(help="The law to fit.")] = "chinchilla",
    title: Annotated[str | None, Parameter(help="Title of the report.")] = None,
    seed: Seed = 0,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Write one HTML file with fits, figures and checks.

    The file (.html, or .md for text and tables) needs no network and holds the data's hash, the
    conventions, and this command. Where the runs do not identify the law the report says so, and
    the exit code is 3. A file of that name is replaced only by a whole new one.
    """
    from isoloss.fitting import fit
    from isoloss.reporting import report as write_report

    check_output(out, runs, is_report)
    found = (reading or Reading()).read(runs)
    path = write_report(
        found,
        out,
        target_flops=target_flops,
        form=law_of(form),
        seed=seed,
        title=title,
        command=shlex.join(["isoloss", *sys.argv[1:]]),
    )
    if json:
        emit_json({"path": path})
    else:
        print(f"report written to {path}")
    fit(law_of(form), found).check()  # the page is there; the exit code says what it is worth
