"""The demo, told in order: text, sweep, laws, forecast written down, larger runs, check, report.

Everything lies in one folder and every part is resumable: run the same command again after a kill
and it goes on. The forecast is written before the runs it is about are started; a miss is printed
as a miss.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from isoloss.counting import Shape, count_params, family_cost, flops_per_token
from isoloss.errors import FitError, InputError, IsolossError
from isoloss.experiments.demo.choice import Candidate, candidates
from isoloss.experiments.demo.regime import (
    FORECAST_FACTOR,
    FORECAST_SHAPES,
    HELD_OUT_FACTOR,
    MOST_OF_CORPUS,
    Design,
)
from isoloss.files import write_whole
from isoloss.fitting import IsoFlop, isoflop
from isoloss.lab.processes.environment import usable_cores
from isoloss.lab.sweep import SweepProgress, run_sweep
from isoloss.lab.tokens import TokenSet, prepare
from isoloss.laws import allocate, near_optimal
from isoloss.planning import Plan, plan
from isoloss.reporting import report
from isoloss.runs import Runs, RunSpec, read_record, read_runs, write_runs
from isoloss.trust import (
    Draws,
    Forecast,
    Outcome,
    Target,
    backtest_line,
    make_forecasts,
    write_forecasts,
)
from isoloss.units import format_number

Say = Callable[[str], None]
LEVEL = 0.9
DRAWS = 1000


@dataclass(frozen=True)
class DemoResult:
    """What a demo found.

    runs: the sweep. candidates: both laws fitted to it, the one forecast with first. isoflop:
    approach 2, whole or in part. forecast_hash: SHA-256 of the forecast file, written before the
    runs in `outcomes` were trained. plan: for ten times the compute of the forecast run.
    seed_spread: relative standard deviation of the loss between seeds. seconds: of this call.
    """

    folder: Path
    runs: Runs
    candidates: tuple[Candidate, ...]
    isoflop: IsoFlop
    forecast_hash: str
    outcomes: tuple[Outcome, ...]
    plan: Plan
    seed_spread: float
    report: Path
    seconds: float


def run_demo(
    folder: str | Path,
    *,
    corpus: str = "python-stdlib",
    seed: int = 0,
    workers: int | None = None,
    design: Design | None = None,
    say: Say = print,
    progress: Callable[[SweepProgress], None] | None = None,
    command: str = "isoloss demo",
) -> DemoResult:
    """Run the whole loop on real text: sweep, fit, forecast, train what was forecast, report.

    folder: where everything is left, resumable. corpus: as in `isoloss.lab.tokens.prepare`.
    seed: of initial weights and data order. workers: processes, default one per usable core.
    design: what to train; by default the demo's own, its top budget fitted to this machine.
    say: takes each line of talk. progress: as in `run_sweep`.
    Returns DemoResult. Raises InputError for a corpus too small, UnidentifiedError or FitError
    where the runs allow no forecast, and KeyboardInterrupt, after which the same call goes on.
    """
    started, folder = time.monotonic(), Path(folder)
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise InputError(f"workers is {workers}; at least one is needed")
    folder.mkdir(parents=True, exist_ok=True)
    say(f"1/6 text: {corpus}")
    tokens = prepare(corpus, folder / "tokens")
    say(f"    {len(tokens.train):,} training tokens, {len(tokens.val):,} held out")
    design = _settled(design or default_design(tokens, seed), folder, tokens, workers, say)

    specs = design.sweep()
    say(f"2/6 sweep: {len(specs)} small models, {_total(specs):.2g} FLOPs on {workers} workers")
    run_sweep(specs, tokens.folder, folder / "sweep", workers=workers, progress=progress).check()
    runs = _only(read_runs(folder / "sweep"), specs)
    write_runs(runs, folder / "runs.csv")

    say("3/6 laws: fitting, with doubt")
    laws = candidates(runs, draws=DRAWS, seed=seed, say=say)
    draws = laws[0].draws
    minima = approach_two(runs[np.char.startswith(runs.group, "isoflop")], say)

    say("4/6 forecast: written down before the runs it is about")
    checks = forecast_runs(design, draws, say)
    forecasts = make_forecasts(draws, [_target(spec) for spec in checks], level=LEVEL)
    digest = write_forecasts(folder / "forecast.json", forecasts)
    for forecast in forecasts:
        say(f"    {describe_forecast(forecast)}")
    say(f"    {backtest_line(draws, level=LEVEL)}")
    say(f"    {folder / 'forecast.json'}: sha256 {digest[:16]}")

    say(f"5/6 check: training the {len(checks)} forecast runs, {_total(checks):.2g} FLOPs")
    run_sweep(checks, tokens.folder, folder / "check", workers=workers, progress=progress).check()
    outcomes = tuple(
        _outcome(forecast, spec, folder / "check")
        for forecast, spec in zip(forecasts, checks, strict=True)
    )

    say("6/6 report")
    cost = family_cost(FORECAST_SHAPES)
    target = 10 * max(forecast.c for forecast in forecasts)
    path = report(
        runs,
        folder / "report.html",
        target_flops=target,
        outcomes=outcomes,
        command=command,
        form=draws.fit.form,
        seed=seed,
        cost=cost,
        title=f"isoloss demo: {tokens.name}",
    )
    return DemoResult(
        folder=folder,
        runs=runs,
        candidates=laws,
        isoflop=minima,
        forecast_hash=digest,
        outcomes=outcomes,
        plan=plan(draws, flops=target, cost=cost),
        seed_spread=seed_spread(runs),
        report=path,
        seconds=time.monotonic() - started,
    )


def default_design(tokens: TokenSet, seed: int) -> Design:
    """The demo's design for this text: at most nine tenths of it in any run."""
    return Design(tokens.name, seed, int(MOST_OF_CORPUS * len(tokens.train)))


def forecast_runs(design: Design, draws: Draws, say: Say) -> tuple[RunSpec, ...]:
    """The runs to forecast: the planned optimum at 10 times the compute, and two at 5 times.

    Where the optimum would need more text than there is, the next larger shape that does not is
    taken; the second run at 5 times is two shapes larger than the first, or left out where the
    first is the largest there is.
    Raises InputError if no shape can spend the compute on this text.
    """
    top = design.top_compute
    main = _planned(design, draws, FORECAST_FACTOR, top, say)
    cheaper = _planned(design, draws, HELD_OUT_FACTOR, top, say)
    wider = FORECAST_SHAPES[min(len(FORECAST_SHAPES) - 1, FORECAST_SHAPES.index(cheaper) + 2)]
    specs = (
        _spending(design, main, FORECAST_FACTOR * top, "forecast"),
        _spending(design, cheaper, HELD_OUT_FACTOR * top, "held-out"),
        _spending(design, wider, HELD_OUT_FACTOR * top, "held-out"),
    )
    return tuple(dict.fromkeys(specs))


def _planned(design: Design, draws: Draws, factor: float, top: float, say: Say) -> Shape:
    flops, cost = factor * top, family_cost(FORECAST_SHAPES)
    law = draws.fit.law
    best = allocate(law, flops, cost=cost)
    low, high = near_optimal(law, flops, cost=cost)
    able = _able(design, flops)
    nearest = min(able, key=lambda s: abs(np.log(count_params(s) / best.n)))
    size = count_params(nearest)
    line = f"    {factor:g}x: the law's optimum is n {format_number(float(best.n))}"
    line += f" on {format_number(float(best.d))} tokens"
    if float(best.d) > design.most_tokens:
        within = "within" if low <= size <= high else "outside"
        line += (
            f", more than 0.9 of the text; moved up to n {format_number(size)}, {within} the "
            f"near-optimal range {format_number(float(low))} to {format_number(float(high))}"
        )
    else:
        line += f"; the nearest shape has n {format_number(size)}"
    say(line)
    return nearest


def _able(design: Design, flops: float) -> tuple[Shape, ...]:
    able = design.spenders(flops)
    if not able:
        raise InputError(
            f"no model of the demo can spend {flops:.2g} FLOPs on {design.most_tokens:,} tokens "
            f"of {design.corpus!r}: use a larger corpus"
        )
    return able


def _spending(design: Design, shape: Shape, flops: float, group: str) -> RunSpec:
    """The run of this shape that spends at least `flops`: rounding goes up, never below."""
    spec = design.run(shape, flops / flops_per_token(shape, "exact"), group)
    return spec if spec.flops() >= flops else replace(spec, tokens=spec.tokens + spec.batch)


def approach_two(curves: Runs, say: Say) -> IsoFlop:
    """IsoFLOP minima of the sweep; says which run would mend a budget without one."""
    try:
        found = isoflop(curves)
    except FitError as error:
        if not isinstance(error.partial, IsoFlop):
            raise
        found = error.partial
    for budget in found.budgets:
        if not budget.usable:
            say(f"    {budget.c:.2g} FLOPs: no minimum ({budget.reason}); {budget.mend}")
    return found


def seed_spread(runs: Runs) -> float:
    """Relative standard deviation of the loss between seeds, pooled over the configurations.

    s^2 = sum over configurations of sum (ln L - mean ln L)^2, over the summed degrees of freedom.
    Returns NaN where no configuration was trained from two seeds.
    """
    keys = np.stack([runs.n, runs.d], axis=1)
    which = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    logs = np.log(runs.loss)
    counts = np.bincount(which)
    means = np.bincount(which, logs) / counts
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return float("nan")
    return float(np.sqrt(np.sum((logs - means[which]) ** 2) / freedom))


def describe_forecast(forecast: Forecast) -> str:
    """One line: what will be trained, and the loss it is expected to reach."""
    return (
        f"n {format_number(forecast.n)}, {format_number(forecast.d)} tokens, {forecast.c:.2g} "
        f"FLOPs ({forecast.far:.1f}x the most seen): loss {forecast.mid:.4f}, "
        f"{100 * forecast.level:.0f} % in [{forecast.low:.4f}, {forecast.high:.4f}]"
    )


def _settled(design: Design, folder: Path, tokens: TokenSet, workers: int, say: Say) -> Design:
    """The design this folder was begun with, or a new one fitted to this machine."""
    path = folder / "design.json"
    if path.exists():
        begun, text = _read_design(path)
        if text != tokens.hash or _unfitted(begun) != _unfitted(design):
            raise InputError(
                f"{folder} holds a demo on other text, from another seed or of another design: "
                "give another folder"
            )
        return begun
    from isoloss.experiments.demo.speed import (
        check_seconds,
        expected_seconds,
        fit_to_machine,
        measure_pace,
    )

    curves = design.curves()
    typical = [curves[0][0], curves[1][len(curves[1]) // 2], curves[-1][-1]]
    pace = measure_pace(typical)
    fitted = fit_to_machine(design, pace, workers)
    _able(fitted, FORECAST_FACTOR * fitted.top_compute)  # before the sweep is trained, not after
    if fitted.budgets != design.budgets:
        say(
            f"    this machine is slow or busy: the top budget is shrunk from "
            f"{design.budgets[-1]:.2g} to {fitted.budgets[-1]:.2g} FLOPs"
        )
    sweep = expected_seconds(fitted.sweep(), pace, workers)
    check = check_seconds(fitted, pace)
    say(f"    expected: {sweep / 60:.1f} min for the sweep, {check / 60:.1f} min for the check")
    content = {"design": asdict(fitted), "corpus_hash": tokens.hash}
    write_whole(path, json.dumps(content, indent=1))
    return fitted


def _read_design(path: Path) -> tuple[Design, str]:
    """The design a folder was begun with, and the hash of its text."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        design = content["design"]
        budgets = tuple(float(budget) for budget in design["budgets"])
        if not budgets or not all(0 < budget < math.inf for budget in budgets):
            raise ValueError(budgets)
        return Design(**{**design, "budgets": budgets}), content["corpus_hash"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is damaged: delete it and run again; the runs trained so far are kept"
        ) from None


def _unfitted(design: Design) -> Design:
    """The design but for what is fitted to the machine, its top budget."""
    return replace(design, budgets=design.budgets[:-1])


def _only(runs: Runs, specs: tuple[RunSpec, ...]) -> Runs:
    """The rows of these specs: a folder may hold records of an earlier design."""
    return runs[np.isin(runs.run, [spec.run_id for spec in specs])]


def _total(specs: tuple[RunSpec, ...]) -> float:
    return sum(spec.flops("exact") for spec in specs)


def _target(spec: RunSpec) -> Target:
    return Target(spec.group, count_params(spec.shape), spec.tokens_seen, spec.flops("exact"))


def _outcome(forecast: Forecast, spec: RunSpec, folder: Path) -> Outcome:
    end = read_record(folder / f"{spec.run_id}.jsonl").end
    if end is None or end.status != "finished":
        raise IsolossError(f"the forecast run {spec.run_id} diverged: its forecast has no outcome")
    return Outcome(forecast, end.loss, end.se)
