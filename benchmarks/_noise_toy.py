"""A model, a small population of sequences, and the noise scale of its gradients, exactly.

Shared by the tests of the meter and by the processes that they start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.lab.noise_meter import NoiseMeter, Reading

VOCAB, WIDTH, LENGTH, POPULATION = 11, 6, 5, 48


class Toy(nn.Module):
    """Embedding, norm, two linear layers and a head: (b, t) ids to logits."""

    def __init__(self, *, tied: bool = False, rms: bool = False, again: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.norm = nn.RMSNorm(WIDTH) if rms else nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 9), nn.Linear(9, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, VOCAB, bias=not tied)
        self.again = again
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for _ in range(self.again):
            x = x + self.down(torch.tanh(self.up(self.norm(x))))
        logits: Tensor = self.head(x)
        return logits


def make(seed: int = 0, **options: object) -> Toy:
    torch.manual_seed(seed)
    return Toy(**options)  # type: ignore[arg-type]


def population(seed: int = 1) -> Tensor:
    """(sequences, LENGTH + 1) ids; few of the tokens are common."""
    generator = torch.Generator().manual_seed(seed)
    odds = torch.arange(1, VOCAB + 1).float() ** -1
    return torch.multinomial(odds, POPULATION * (LENGTH + 1), True, generator=generator).view(
        POPULATION, LENGTH + 1
    )


def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
    """The mean loss of the next token."""
    logits = model(rows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


@dataclass(frozen=True)
class Exact:
    """|G|^2, tr(Sigma) of one sequence, and their ratio in tokens."""

    g2: float
    tr_sigma: float

    @property
    def tokens(self) -> float:
        return LENGTH * self.tr_sigma / self.g2


def exact(model: nn.Module, rows: Tensor, *names: str) -> Exact:
    """By the gradient of every sequence alone; of some parameters, or of all that are trained."""
    chosen = [
        p
        for name, p in model.named_parameters()
        if p.requires_grad and (not names or name in names)
    ]
    gradients = []
    for row in rows:
        found = torch.autograd.grad(loss_of(model, row[None]), chosen, allow_unused=True)
        pieces = [
            torch.zeros_like(p) if g is None else g for g, p in zip(found, chosen, strict=True)
        ]
        gradients.append(torch.cat([piece.flatten() for piece in pieces]).double())
    stacked = torch.stack(gradients)
    mean = stacked.mean(dim=0)
    return Exact(float(mean @ mean), float((stacked - mean).square().sum(dim=1).mean()))


def adam_after(model: nn.Module, rows: Tensor, steps: int = 5) -> torch.optim.Adam:
    """An Adam that has trained the model for some steps on all rows."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.9, 0.95))
    for _ in range(steps):
        model.zero_grad()
        loss_of(model, rows).backward()
        optimizer.step()
    return optimizer


def draws(rows: Tensor, generator: torch.Generator, count: int) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=generator)]


def accumulate(meter: NoiseMeter, model: nn.Module, batches: Iterator[list[Tensor]]) -> Reading:
    """Measure some steps, each a list of parts, with no update between them."""
    for parts in batches:
        total = sum(len(part) for part in parts)
        model.zero_grad()
        for part in parts:
            meter.part(part.shape[0] * LENGTH, part.shape[0])
            (loss_of(model, part) * (len(part) / total)).backward()
        meter.step()
    return meter.read()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_parts(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Reading:
    with NoiseMeter(model, level=0.95) as meter:
        batches = (list(draws(rows, generator, 16).split([4, 4, 6, 2])) for _ in range(30))
        return accumulate(meter, model, batches)


def by_examples(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Reading:
    with NoiseMeter(model, level=0.95, examples=8) as meter:
        batches = ([draws(rows, generator, 16)] for _ in range(30))
        return accumulate(meter, model, batches)


def by_splitting(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Reading:
    with NoiseMeter(model, level=0.95) as meter:
        for _ in range(30):
            model.zero_grad()
            batch = draws(rows, generator, 15)
            loss = meter.split(
                lambda part: loss_of(model, part),
                batch,
                parts=4,
                tokens_per_sequence=LENGTH,
            )
            meter.step()
        assert abs(float(loss) / float(loss_of(model, batch).detach()) - 1) < 1e-5
        return meter.read()


WAYS = {"parts": by_parts, "examples": by_examples, "splitting": by_splitting}
"""The ways of one process: 30 steps each, an interval of 95 %."""


def coverage(
    measure: Callable[[nn.Module, Tensor, torch.Generator], Reading], rows: Tensor, trials: int
) -> float:
    """How often the interval of a way holds the exact noise scale, over models and draws."""
    held = 0
    for trial in range(trials):
        model = make(trial)
        truth = exact(model, rows).tokens
        found = measure(model, rows, seeded(trial)).scale
        held += found.low <= truth <= found.high
    return held / trials


def by_torchrun(**job: Any) -> dict[str, Any]:
    """What two processes print that do a job of `_noise_team`."""
    script = Path(__file__).with_name("_noise_team.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr"]
    command += ["127.0.0.1", "--nproc-per-node", "2", str(script), json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
