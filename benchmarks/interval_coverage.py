"""How often nominal 90 % intervals hold the truth, over thousands of simulated studies.

    python benchmarks/interval_coverage.py [--studies 40] [--workers 2]

A cell is a design, a number of runs and a noise; it has `--studies` studies of each of ten
published laws, exact and again misspecified (see `_studies`). Every study is fitted and resampled
through the public functions. Plain intervals: ln N* and the best loss at ten times the largest
compute; ln D* = ln C/6 - ln N* is held when ln N* is, and not counted twice. New runs, at the
law's best size there: by the forecast model, and plainly. A refusal is no interval: it is left out
of the first share and counted as a miss in the second. Widths are printed over those of the
Fisher information, which knows the noise and takes it for normal.

Finished blocks stand in build/interval_coverage.csv, and after an interruption are not computed
again; once all are there the table is appended to results/interval_coverage.md, and the blocks are
written beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import csv
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

import _results
import numpy as np
from _studies import (
    COUNTS,
    DESIGNS,
    SIGMAS,
    TRUTHS,
    Study,
    best_loss,
    fisher_widths,
    log_best,
    simulate,
)

from isoloss.errors import FitError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla
from isoloss.trust import bootstrap

DRAWS = 400
MAY_REFUSE = math.log(10)
"""Where the Fisher width of ln N* is more than this a study may be refused freely."""


@dataclass(frozen=True)
class Block:
    """All studies of one truth in one cell: counts of intervals that held, medians of widths."""

    design: str
    runs: int
    sigma: float
    truth: str
    exact: int
    studies: int
    refused: int
    size: int
    loss: int
    plain_run: int
    model_run: int
    size_width: float
    loss_width: float
    model_half_width: float
    fisher_size: float


@dataclass(frozen=True)
class Outcome:
    """What one study's intervals did; widths in logs."""

    size: bool
    loss: bool
    plain_run: bool
    model_run: bool
    size_width: float
    loss_width: float
    model_half_width: float


def outcome(study: Study, seed: int) -> Outcome | None:
    """The intervals of one study, or None if it was refused."""
    try:
        draws = bootstrap(fit(Chinchilla, study.runs).check(), draws=DRAWS, seed=seed)
    except FitError:
        return None
    with np.errstate(all="ignore"):
        size = draws.interval(lambda law: log_best(law, study.c))
        loss = draws.interval(lambda law: np.log(best_loss(law, study.c)))
    plain = draws.predict(study.n, study.d, forecast="plain")
    model = draws.predict(study.n, study.d)
    true_size, true_loss = math.log(study.n), math.log(study.loss)
    return Outcome(
        size=bool(size.low <= true_size <= size.high),
        loss=bool(loss.low <= true_loss <= loss.high),
        plain_run=bool(plain.low <= study.new <= plain.high),
        model_run=bool(model.low <= study.new <= model.high),
        size_width=float(size.high - size.low),
        loss_width=float(loss.high - loss.low),
        model_half_width=0.5 * math.log(model.high / model.low),
    )


def block(design: str, runs: int, sigma: float, truth: str, exact: int, studies: int) -> Block:
    law = TRUTHS[truth]
    found, first = [], None
    for seed in range(studies):
        study = simulate(law, design, runs, sigma, seed, exact=bool(exact))
        first = first or study
        found.append(outcome(study, seed))
    assert first is not None
    fisher = fisher_widths(law, first.runs.n, first.runs.d, first.c, sigma)
    given = [one for one in found if one is not None]

    def median(name: str, over: float = 1.0) -> float:
        values = [getattr(one, name) / over for one in given]
        return round(float(np.median(values)), 4) if values else math.nan

    def held(name: str) -> int:
        return sum(getattr(one, name) for one in given)

    return Block(
        design, runs, sigma, truth, exact, studies,
        refused=studies - len(given),
        size=held("size"), loss=held("loss"),
        plain_run=held("plain_run"), model_run=held("model_run"),
        size_width=median("size_width", fisher[0]), loss_width=median("loss_width", fisher[1]),
        model_half_width=median("model_half_width"), fisher_size=round(fisher[0], 4),
    )  # fmt: skip


# ---- the record of finished blocks ---------------------------------------------------------------


def key(one: Block) -> tuple[object, ...]:
    return one.design, one.runs, one.sigma, one.truth, one.exact


def read(path: Path, studies: int) -> dict[tuple[object, ...], Block]:
    """Finished blocks of as many studies."""
    if not path.exists():
        return {}
    kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)]
             for field in fields(Block)}  # fmt: skip
    with path.open(encoding="utf-8", newline="") as file:
        blocks = [Block(**{name: kinds[name](text) for name, text in row.items()})
                  for row in csv.DictReader(file)]  # fmt: skip
    return {key(one): one for one in blocks if one.studies == studies}


def write(path: Path, blocks: Iterable[Block]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Block)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in sorted(blocks, key=lambda one: str(key(one))))
    temporary.replace(path)


# ---- the tables ----------------------------------------------------------------------------------


def shares(blocks: Sequence[Block], name: str) -> tuple[float, float]:
    """The share of given intervals that held, and of all studies."""
    held = sum(getattr(one, name) for one in blocks)
    studies, refused = sum(one.studies for one in blocks), sum(one.refused for one in blocks)
    return held / max(studies - refused, 1), held / studies


def cell_row(blocks: Sequence[Block]) -> list[str]:
    """Refusals, coverage by interval (of those given, of all), and widths."""
    bound = [one for one in blocks if one.fisher_size <= MAY_REFUSE]
    refused = sum(one.refused for one in blocks) / sum(one.studies for one in blocks)
    strict = sum(one.refused for one in bound) / max(sum(one.studies for one in bound), 1)
    row = [f"{refused:.1%} ({strict:.1%})"]
    for name in ("size", "loss", "plain_run", "model_run"):
        given, whole = shares(blocks, name)
        row.append(f"{given:.1%}" if refused == 0 else f"{given:.1%} ({whole:.1%})")
    for name in ("size_width", "loss_width"):
        row.append(f"{np.nanmedian([getattr(one, name) for one in blocks]):.2f}")
    row.append(f"{np.nanmedian([one.model_half_width for one in blocks]):.2%}")
    return row


def tables(blocks: Sequence[Block]) -> list[list[str]]:
    rows = []
    for exact in (1, 0):
        kind = "exact" if exact else "wrong"
        of_kind = [one for one in blocks if one.exact == exact]
        for design, runs, sigma in product(DESIGNS, COUNTS, SIGMAS):
            chosen = [one for one in of_kind if (one.design, one.runs, one.sigma)
                      == (design, runs, sigma)]  # fmt: skip
            if chosen:
                rows.append([kind, design, str(runs), f"{sigma:.1%}", *cell_row(chosen)])
        for truth in TRUTHS:
            chosen = [one for one in of_kind if one.truth == truth]
            if chosen:
                rows.append([kind, truth, "all", "all", *cell_row(chosen)])
        if of_kind:
            rows.append([kind, "all", "all", "all", *cell_row(of_kind)])
    return rows


def _to_one_core() -> None:
    """Keep a worker's own threads from fighting those of the others."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40, help="of each truth in each cell")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--record", type=Path, default=Path("build/interval_coverage.csv"))
    parser.add_argument("--exact-only", action="store_true")
    asked = parser.parse_args()
    asked.record.parent.mkdir(exist_ok=True)
    done = read(asked.record, asked.studies)
    kinds = (1,) if asked.exact_only else (1, 0)
    wanted = [cell for cell in product(DESIGNS, COUNTS, SIGMAS, TRUTHS, kinds) if cell not in done]
    with ProcessPoolExecutor(asked.workers, initializer=_to_one_core) as pool:
        jobs = [pool.submit(block, *cell, asked.studies) for cell in wanted]
        for number, job in enumerate(as_completed(jobs), 1):
            one = job.result()
            done[key(one)] = one
            write(asked.record, done.values())
            print(f"{number} of {len(wanted)}: {one}", flush=True)
    write(_results.FOLDER / "interval_coverage.csv", done.values())
    total = sum(one.studies for one in done.values())
    _results.append(
        "interval_coverage",
        (
            "truth", "design", "runs", "sigma", "refused (where it should not)",
            "ln N*", "best loss", "new run, plain", "new run, model",
            "width of ln N* / Fisher", "of the loss / Fisher", "model's half-width",
        ),
        tables(list(done.values())),
        f"{total:,} studies, {asked.studies} of each of {len(TRUTHS)} truths in a cell; {DRAWS} "
        "draws. Shares of the intervals given, in brackets of all studies where some were refused. "
        f"A refusal is free where the Fisher width of ln N* is over ln 10.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
