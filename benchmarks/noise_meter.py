"""What a noise meter costs a step, and how right it is, beside `gns-pytorch` on the same model.

The model is a transformer of a million parameters; a step is 32 sequences of 64 bytes, forward and
backward pass and AdamW. Cost: two such models train in turn, step by step, one with the meter and
one without, either first in turn; then the other has the meter. Each ratio is the median of those
of 10 such steps side by side, nothing spread over steps that do not measure, and the geometric mean
of the two is one measurement: where a model lies in memory changes its steps by as much as is
looked for, and so falls out. Pairs of models are made anew many times, and the mean over them has a
standard error. Freed memory is kept, as in all training here.

The ways: gradient accumulation in 4 parts of 512 tokens each, or of 2,048 in a step of 128
sequences; single examples, 8 of the 32; two processes with DDP. What a hook costs does not depend
on the tokens of a part: larger parts have less of it.
The peer (`pip install gns-pytorch`, left out where it is not there) makes a backward pass for each
of a quarter of the examples, from the loss of each; its cost is that of its call beside the step.

Bias and spread: on weights that are held still, after some training, the true noise scale is taken
from the gradient of every sequence of a population of 256. Readings are of 20 steps each, batches
drawn with replacement; of the peer they are the mean of its 20 answers, as its README has it.

Where there is a GPU the cost is measured there too, at GPT-2's 124M, 16 sequences of 1,024 tokens
in bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _results as results
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from isoloss.counting import Shape
from isoloss.lab.models import make_model
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.lab.processes.environment import KEEP_MEMORY, training_environment
from isoloss.lab.tokens import load_tokens, prepare

SHAPE = Shape(
    n_layer=5, d_model=128, n_heads=4, vocab=256, n_ctx=64, positions="rotary", tied=False
)  # fmt: skip
LARGE = Shape(n_layer=12, d_model=768, n_heads=12, vocab=50_304, n_ctx=1_024)
ROWS, PARTS, EXAMPLES, POPULATION, STEPS = 32, 4, 8, 256, 20
MORE_ROWS = 128
WARM, TIMED = 4, 10  # steps that do not count, and that do
MOST = {"parts": 1.02, "processes": 1.02, "examples": 1.15}


def loss_of(model: nn.Module, rows: Tensor, reduction: str = "mean") -> Tensor:
    logits = model(rows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction=reduction)


def by_example(model: nn.Module, rows: Tensor) -> Tensor:
    return loss_of(model, rows, "none").view(len(rows), -1).mean(dim=1)


@dataclass(frozen=True)
class Setting:
    """What is trained, and where."""

    shape: Shape = SHAPE
    rows: int = ROWS
    device: str = "cpu"

    def now(self) -> float:
        """Seconds, once all that was begun is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


HERE = Setting()


class Trained:
    """A model, its optimizer and, perhaps, a meter; one step at a time."""

    def __init__(self, way: str, setting: Setting = HERE) -> None:
        torch.manual_seed(0)
        self.setting = setting
        self.model: nn.Module = make_model(setting.shape).to(setting.device)
        if way == "processes":
            self.model = DistributedDataParallel(self.model)
        self.parts = PARTS if way == "parts" else 1
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.examples = EXAMPLES if way == "examples" else 0
        self.meter: NoiseMeter | None = None

    def with_meter(self) -> NoiseMeter:
        """Train with a meter from now on, until it is closed."""
        self.meter = NoiseMeter(self.model, examples=self.examples, window=100)
        return self.meter

    def step(self, rows: Tensor) -> float:
        rows = rows.to(self.setting.device)
        wide = torch.autocast("cuda", torch.bfloat16, enabled=self.setting.device == "cuda")
        started = self.setting.now()
        for part in rows.split(len(rows) // self.parts):
            if self.meter is not None:
                self.meter.part(part[:, 1:].numel(), len(part))
            with wide:
                loss = loss_of(self.model, part) / self.parts
            loss.backward()
        if self.meter is not None:
            self.meter.step()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.setting.now() - started


def draw(
    data: np.ndarray, rng: np.random.Generator, count: int = ROWS, n_ctx: int = SHAPE.n_ctx
) -> Tensor:
    at = rng.integers(0, len(data) - n_ctx - 1, count)
    return torch.from_numpy(np.stack([data[i : i + n_ctx + 1] for i in at]).astype(np.int64))


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a step without the meter; how many times that one with it takes, in pairs."""

    plain: float
    ratios: tuple[float, ...]

    def words(self) -> tuple[str, str]:
        """The step, and the mean ratio with its standard error."""
        error = float(np.std(self.ratios)) / math.sqrt(max(1, len(self.ratios) - 1))
        return f"{self.plain:.1f}", f"{statistics.fmean(self.ratios):.3f} +- {error:.3f}"


def cost(way: str, data: np.ndarray, pairs: int, setting: Setting = HERE) -> Cost:
    """What the meter costs a step, by two models made anew for each pair, with it in turn."""
    rng, plain, ratios = np.random.default_rng(0), [], []
    for _ in range(pairs):
        sides = [Trained(way, setting), Trained(way, setting)]
        logs = 0.0
        for one, other in (sides, sides[::-1]):
            took: list[tuple[float, float]] = []
            with one.with_meter():
                for step in range(WARM + TIMED):
                    rows = draw(data, rng, setting.rows, setting.shape.n_ctx)
                    if step % 2:
                        took.append((one.step(rows), other.step(rows)))
                    else:
                        took.append((other.step(rows), one.step(rows))[::-1])
            one.meter = None
            logs += math.log(
                statistics.median(with_it / without for with_it, without in took[WARM:])
            )
            plain.append(statistics.median(without for _, without in took[WARM:]))
        ratios.append(math.exp(logs / 2))
        del sides, one, other
        gc.collect()
    return Cost(1e3 * statistics.median(plain), tuple(ratios))


def cost_of_peer(data: np.ndarray, steps: int) -> float:
    """How many times a plain step, one with a call of the peer before its backward pass takes."""
    compute = importlib.import_module("gns_pytorch").compute_gns
    rng, side = np.random.default_rng(0), Trained("one")
    plain, extra = [], []
    for _ in range(WARM + steps):
        rows = draw(data, rng)
        plain.append(side.step(rows))
        losses = by_example(side.model, rows)
        started = time.perf_counter()
        compute(losses, side.model)
        extra.append(time.perf_counter() - started)
    return 1 + statistics.median(extra[WARM:]) / statistics.median(plain[WARM:])


def truth(model: nn.Module, rows: Tensor) -> float:
    """tr(Sigma) / |G|^2 in sequences, from every sequence's own gradient."""
    parameters = list(model.parameters())
    gradients = torch.stack(
        [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss_of(model, row[None]), parameters)]
            )
            for row in rows
        ]
    ).double()
    mean = gradients.mean(dim=0)
    return float((gradients - mean).square().sum(dim=1).mean() / mean.square().sum())


def readings(model: nn.Module, rows: Tensor, way: str, count: int) -> list[float]:
    """Noise scales in sequences, each of some steps, over the truth."""
    rng, found = np.random.default_rng(1), []
    exact = truth(model, rows)
    for _ in range(count):
        batches = [rows[rng.integers(0, len(rows), ROWS)] for _ in range(STEPS)]
        if way == "peer":
            compute = importlib.import_module("gns_pytorch").compute_gns
            answers = [compute(by_example(model, batch), model) for batch in batches]
            found.append(float(np.mean(answers)) / exact)
            continue
        parts = PARTS if way == "parts" else 1
        with NoiseMeter(model, examples=EXAMPLES if way == "examples" else 0) as meter:
            for batch in batches:
                model.zero_grad()
                for part in batch.split(ROWS // parts):
                    meter.part(len(part), len(part))
                    (loss_of(model, part) / parts).backward()
                meter.step()
            found.append(meter.read().scale.b_simple / exact)
    return found


def by_two_processes(folder: Path, pairs: int) -> Cost:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr"]
    words += ["127.0.0.1", "--nproc-per-node", "2", __file__, "--child", str(folder)]
    done = subprocess.run(
        [*words, "--pairs", str(pairs)], check=True, stdout=subprocess.PIPE, text=True
    )
    return Cost(**json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--readings", type=int, default=12)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if KEEP_MEMORY.keys() - os.environ.keys():  # read as a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], training_environment())
    torch.set_num_threads(1)
    if options.child:
        torch.distributed.init_process_group("gloo")
        found = cost("processes", np.asarray(load_tokens(options.child).train), options.pairs)
        if torch.distributed.get_rank() == 0:
            print(json.dumps(asdict(found)), flush=True)
        torch.distributed.destroy_process_group()
        return
    try:
        importlib.import_module("gns_pytorch")
        peer = True
    except ImportError:
        peer = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tokens"
        data = np.asarray(prepare("python-stdlib", folder).train)
        rng, side = np.random.default_rng(2), Trained("one")
        for _ in range(200):  # past the first steps, where all gradients point one way
            side.step(draw(data, rng))
        rows = draw(data, rng, POPULATION)
        larger, fewer = Setting(rows=MORE_ROWS), max(2, options.pairs // 3)
        cases: dict[str, tuple[str, Callable[[], Cost]]] = {
            "parts of 512 tokens": ("parts", lambda: cost("parts", data, options.pairs)),
            "parts of 2,048 tokens": ("", lambda: cost("parts", data, fewer, larger)),
            "examples": ("examples", lambda: cost("examples", data, fewer)),
            "processes": ("", lambda: by_two_processes(folder, fewer)),
        }
        table = []
        for case, (way, measure) in cases.items():
            told = [f"isoloss, {case}", *measure().words(), f"{MOST[case.split()[0]]:.2f}"]
            found = readings(side.model, rows, way, options.readings) if way else []
            table.append((*told, *spread(found)))
            print(*table[-1], file=sys.stderr, flush=True)
        for way in ("parts", "examples") if torch.cuda.is_available() else ():
            told = cost(way, data, fewer, Setting(LARGE, 16, "cuda")).words()
            table.append((f"isoloss, {way}, 124M on a GPU", *told, f"{MOST[way]:.2f}", "", ""))
        if peer:
            ratio = cost_of_peer(data, 60)
            found = readings(side.model, rows, "peer", options.readings)
            table.append(("gns-pytorch", "", f"{ratio:.3f}", "", *spread(found)))
    results.append(
        "noise_meter",
        ("by", "step, ms", "step with it / without", "at most", "median / truth", "5 to 95 %"),
        table,
        f"{sum(p.numel() for p in side.model.parameters()):,} parameters, {ROWS} sequences of "
        f"{SHAPE.n_ctx} tokens ({MORE_ROWS} for the larger parts), one thread; {options.pairs} "
        f"pairs of models for parts of 512 tokens, {fewer} for the rest. Readings: "
        f"{options.readings} of {STEPS} steps, against the gradients of {POPULATION} sequences.",
    )


def spread(found: list[float]) -> tuple[str, str]:
    if not found:
        return "", ""
    low, mid, high = np.quantile(found, [0.05, 0.5, 0.95])
    return f"{mid:.2f}", f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
