"""How fast this machine trains the demo's models, measured for some seconds before the demo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from isoloss.counting import flops_per_token
from isoloss.experiments.demo.regime import FORECAST_FACTOR, Design
from isoloss.lab.models import Transformer
from isoloss.lab.sweep.pace import Pace, Work, learn_pace, time_left, work_of
from isoloss.lab.training.optim import make_optimizer
from isoloss.runs import RunSpec

SWEEP_SECONDS, CHECK_SECONDS = 300.0, 240.0
"""What the sweep and the forecast runs may take on two free cores."""
LEAST_TOP = 1.35
"""The top budget is not shrunk below this multiple of the next: the curves must stay apart."""


def measure_pace(specs: Sequence[RunSpec], seconds: float = 1.0) -> Pace:
    """Train on random tokens for `seconds` at each of `specs`, on one thread; return the pace."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seen = [_time(spec, seconds) for spec in specs]
    finally:
        torch.set_num_threads(before)
    return learn_pace(seen)


def _time(spec: RunSpec, seconds: float) -> tuple[Work, float]:
    spec = replace(spec, eval_points=1, eval_block=1, eval_final=1)
    rng = np.random.default_rng(0)
    rows = spec.batch // spec.shape.n_ctx
    ids = torch.from_numpy(rng.integers(0, spec.shape.vocab, (rows, spec.shape.n_ctx + 1)))
    model = Transformer(spec.shape)
    optimizer = make_optimizer(model, spec)

    def step() -> None:
        model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step()
        done += 1
    took = time.perf_counter() - started
    return work_of(spec).part(done / spec.steps), took


def expected_seconds(specs: Sequence[RunSpec], pace: Pace, workers: int) -> float:
    """Wall time of these runs on `workers` free cores."""
    seconds = sorted((pace.seconds(work_of(spec)) for spec in specs), reverse=True)
    return time_left([], seconds, workers)


def check_seconds(design: Design, pace: Pace) -> float:
    """Time of the forecast run, the longest of the checks: on the smallest shape that can do it."""
    flops = FORECAST_FACTOR * design.top_compute
    able = design.spenders(flops)
    if not able:
        return 0.0
    tokens = flops / flops_per_token(able[0], "exact")
    return pace.seconds(work_of(design.run(able[0], tokens, "forecast")))


def fit_to_machine(design: Design, pace: Pace, workers: int) -> Design:
    """Shrink the top budget until the sweep and the forecast run fit their time on this machine.

    Returns the design as it is where it fits, and one with the smallest top budget where none does.
    """
    for top in np.geomspace(design.budgets[-1], LEAST_TOP * design.budgets[-2], 12):
        shrunk = replace(design, budgets=(*design.budgets[:-1], float(f"{top:.3g}")))
        sweep = expected_seconds(shrunk.sweep(), pace, workers)
        if sweep <= SWEEP_SECONDS and check_seconds(shrunk, pace) <= CHECK_SECONDS:
            return shrunk
    return shrunk
