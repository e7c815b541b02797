"""Tokens per second of training on one core: `isoloss` beside a plain eager nanoGPT-style loop.

The opponent is written for the purpose, in the manner of nanoGPT's model and loop, and honest:
fused causal attention, fused AdamW, gradients set to none, no synchronisation but for the log.
With `--nanogpt PATH` its model is nanoGPT's own model.py. The two run in turn, A B A B, each in a
process of its own, ours with the environment a sweep gives its workers and the engine it chooses,
and the median ratio is quoted. Ours is the whole of `train`, its record and checks included; only
the held-out evaluation is left out on both sides.
Both then train from the same weights on the same batches, over three seeds, and their losses at the
end must agree within 0.3 %, or the benchmark fails.
The floor: the exact FLOPs of a step over the machine's matrix-multiply rate, printed beside.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import _results as results
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.counting import Shape, flops_per_token
from isoloss.lab.engine import Engine, equip, gradients, settle
from isoloss.lab.models import make_model
from isoloss.lab.processes.environment import training_environment
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.train import train
from isoloss.lab.training.batches import Batches
from isoloss.lab.training.optim import learning_rate, make_optimizer, set_rate
from isoloss.lab.training.speeds import matmul_peak
from isoloss.runs import RunSpec

SIZES = (
    (128, 2, 16, 1),
    (128, 3, 32, 2),
    (128, 4, 64, 4),
    (128, 4, 128, 8),
    (256, 3, 32, 1),
    (256, 4, 64, 2),
    (256, 4, 128, 4),
    (256, 4, 256, 4),
    (1024, 4, 64, 2),
    (1024, 4, 128, 2),
)
"""(n_ctx, n_layer, d_model, n_heads)"""
VOCAB, BATCH = 256, 2048
SEEDS, LAST, ALIKE = (0, 1, 2), 20, 0.003
SIDES = ("ours", "plain")
Sizes = tuple[int, int, int, int]


class PlainBlock(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(d)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ln_2 = nn.LayerNorm(d)
        self.c_fc, self.mlp_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.size()
        q, k, v = self.c_attn(self.ln_1(x)).split(d, dim=2)
        q, k, v = (u.view(b, t, self.heads, d // self.heads).transpose(1, 2) for u in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(b, t, d))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class PlainGPT(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        n_ctx, layers, d, heads = sizes
        self.wte, self.wpe = nn.Embedding(VOCAB, d), nn.Embedding(n_ctx, d)
        self.h = nn.ModuleList(PlainBlock(d, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, VOCAB, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        x = self.wte(ids) + self.wpe(torch.arange(ids.size(1)))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return logits, F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1))


def opponent(sizes: Sizes, nanogpt: Path | None) -> nn.Module:
    """The plain model, or that of the user's nanoGPT; parameters in the order of ours."""
    if nanogpt is None:
        return PlainGPT(sizes)
    spec = importlib.util.spec_from_file_location("nanogpt_model", nanogpt)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    n_ctx, layers, d, heads = sizes
    with contextlib.redirect_stdout(sys.stderr):  # it prints its size
        return module.GPT(
            module.GPTConfig(
                block_size=n_ctx, vocab_size=VOCAB, n_layer=layers, n_head=heads, n_embd=d,
                dropout=0.0, bias=True,
            )
        )  # fmt: skip


def loss_steps(sizes: Sizes) -> int:
    """Steps after which the losses are compared; fewer where one takes long."""
    return 120 if sizes[2] <= 64 else 40


def spec_of(sizes: Sizes, steps: int, seed: int = 0) -> RunSpec:
    n_ctx, layers, d, heads = sizes
    shape = Shape(n_layer=layers, d_model=d, n_heads=heads, vocab=VOCAB, n_ctx=n_ctx)
    return RunSpec(
        shape, tokens=steps * BATCH, batch=BATCH, lr=1e-3, seed=seed, eval_points=1,
        eval_block=2048, eval_final=2048,
    )  # fmt: skip


def train_plainly(
    model: nn.Module, spec: RunSpec, batch: Callable[[int], tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """The plain loop; the loss of each step."""
    steps = spec.steps
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(spec, step)
        _, loss = model(*batch(step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if step % 10 == 0:
            loss.item()
    return losses


def plain_speed(tokens: TokenSet, sizes: Sizes, steps: int, nanogpt: Path | None) -> float:
    """Tokens per second of the plain loop."""
    torch.manual_seed(0)
    model, data, n_ctx = opponent(sizes, nanogpt), tokens.train, sizes[0]

    def batch(step: int) -> tuple[Tensor, Tensor]:
        at = torch.randint(len(data) - n_ctx, (BATCH // n_ctx,))
        rows = [torch.from_numpy(data[i : i + n_ctx + 1].astype(np.int64)) for i in at]
        return torch.stack([row[:-1] for row in rows]), torch.stack([row[1:] for row in rows])

    started = time.perf_counter()
    train_plainly(model, spec_of(sizes, steps), batch)
    return steps * BATCH / (time.perf_counter() - started)


def our_speed(tokens: TokenSet, sizes: Sizes, steps: int, nanogpt: Path | None) -> float:
    """Tokens per second of `train`, evaluation left out."""
    with tempfile.TemporaryDirectory() as folder:
        return train(spec_of(sizes, steps), tokens, Path(folder)).tokens_per_second


def disagreement(tokens: TokenSet, sizes: Sizes, steps: int, nanogpt: Path | None) -> float:
    """The largest relative difference of the two sides' last losses, over the seeds.

    The same weights, batches and rates; the loss is the mean of the last 20 steps.
    """
    worst = 0.0
    for seed in SEEDS:
        spec = spec_of(sizes, steps, seed)
        engine, batches = settle(Engine(), spec), Batches(tokens, spec)
        torch.manual_seed(seed)
        model, plain = make_model(spec.shape), opponent(sizes, nanogpt)
        with torch.no_grad():
            for own, other in zip(model.parameters(), plain.parameters(), strict=True):
                other.copy_(own)

        def batch(step: int, batches: Batches = batches) -> tuple[Tensor, Tensor]:
            ids, targets = batches(step)
            return ids.contiguous(), targets.contiguous()

        theirs = train_plainly(plain, spec, batch)[-LAST:]
        equip(model, engine)
        add, optimizer, ours = gradients(model, engine, 0), make_optimizer(model, spec), []
        for step in range(steps):
            set_rate(optimizer, learning_rate(spec, step))
            ours.append(add(*batches(step)))
            torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        own, other = (float(torch.stack(x[-LAST:]).mean()) for x in (ours, theirs))
        worst = max(worst, abs(own / other - 1))
    return worst


def measure(side: str, folder: Path, sizes: Sizes, steps: int, nanogpt: Path | None) -> float:
    """Tokens per second of one side, or their losses' disagreement, found in a fresh process."""
    words = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    words += ["--sizes", *map(str, sizes), "--steps", str(steps)]
    words += ["--nanogpt", str(nanogpt)] if nanogpt else []
    environment = training_environment() if side == "ours" else dict(os.environ)
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--nanogpt", type=Path, help="nanoGPT's model.py, as the opponent's model")
    child = parser.add_argument_group("one measurement, as the benchmark calls itself")
    child.add_argument("--side", choices=("ours", "plain", "losses"))
    child.add_argument("--folder", type=Path)
    child.add_argument("--sizes", type=int, nargs=4)
    child.add_argument("--steps", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.side:
        sides = {"ours": our_speed, "plain": plain_speed, "losses": disagreement}
        tokens, sizes = load_tokens(options.folder), tuple(options.sizes)
        if options.side != "losses":
            sides[options.side](tokens, sizes, 3, options.nanogpt)
        print(sides[options.side](tokens, sizes, options.steps, options.nanogpt))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tokens"
        prepare("python-stdlib", folder)
        peak = matmul_peak(torch.device("cpu"), torch.float32)
        for sizes in SIZES:
            rate = measure("plain", folder, sizes, 5, options.nanogpt)
            steps = max(5, int(options.seconds * rate / BATCH))
            pairs = [
                tuple(measure(side, folder, sizes, steps, options.nanogpt) for side in SIDES)
                for _ in range(options.pairs)
            ]
            apart = measure("losses", folder, sizes, loss_steps(sizes), options.nanogpt)
            if apart > ALIKE:
                raise SystemExit(f"{sizes}: final losses are {apart:.2%} apart: not the same work")
            spec = spec_of(sizes, steps)
            engine = settle(Engine(), spec)
            chosen = f"{engine.precision}, {engine.attention}"
            ours, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(a / b for a, b in pairs)
            floor = peak / flops_per_token(spec.shape, "exact")
            rows.append(
                (
                    str(sizes), f"{ours:,.0f}", f"{plain:,.0f}",
                    f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                    f"{apart:.3%}", f"{floor / ours:.1f}", chosen,
                )
            )  # fmt: skip
            print(*rows[-1], file=sys.stderr, flush=True)
    against = "nanoGPT's model.py" if options.nanogpt else "a plain loop in nanoGPT's manner"
    results.append(
        "train_speed",
        (
            "(n_ctx, n_layer, d_model, n_heads)", "isoloss tok/s", "plain tok/s", "ratio", "range",
            "losses apart", "floor / isoloss", "engine",
        ),
        rows,
        f"One thread, batch {BATCH:,} tokens, against {against}; medians of {options.pairs} pairs.",
        f"Losses: the most over {len(SEEDS)} seeds, after 120 steps from the same weights, or 40 "
        "above d_model 64.",
        f"Floor: exact FLOPs at the measured matrix-multiply rate, {peak / 1e9:.0f} GFLOP/s.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
