"""Tokens per second of training on one core: `isoloss` beside a plain eager nanoGPT-style loop.

The opponent is written for the purpose, in the manner of nanoGPT's model and loop, and honest:
fused causal attention, fused AdamW, gradients set to none, no synchronisation but for the log.
The two run in turn, A B A B, each in a process of its own, ours with the environment a sweep gives
its workers, and the median ratio is quoted. Ours is the whole of `train`, its record and checks
included; only the held-out evaluation is left out on both sides.
The floor: the exact FLOPs of a step over the machine's matrix-multiply rate, printed beside.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import _results as results
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.counting import Shape, flops_per_token
from isoloss.lab.sweep.pool import worker_environment
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.train import train
from isoloss.runs import RunSpec

SHAPES = ((2, 16, 1), (3, 32, 2), (4, 64, 4), (4, 128, 8))
N_CTX, VOCAB, BATCH = 128, 256, 2048


class PlainBlock(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.c_fc, self.mlp_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.size()
        q, k, v = self.c_attn(self.ln_1(x)).split(d, dim=2)
        q, k, v = (u.view(b, t, self.heads, d // self.heads).transpose(1, 2) for u in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(b, t, d))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class PlainGPT(nn.Module):
    def __init__(self, layers: int, d: int, heads: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, d), nn.Embedding(N_CTX, d)
        self.h = nn.ModuleList(PlainBlock(d, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, VOCAB, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.size(1)))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1))


def plain_speed(tokens: TokenSet, sizes: tuple[int, int, int], batch: int, steps: int) -> float:
    """Tokens per second of the plain loop."""
    torch.manual_seed(0)
    model = PlainGPT(*sizes)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    data, rows = tokens.train, batch // N_CTX
    started = time.perf_counter()
    for step in range(steps):
        lr = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = lr
        at = torch.randint(len(data) - N_CTX, (rows,))
        x = torch.stack([torch.from_numpy(data[i : i + N_CTX].astype(np.int64)) for i in at])
        y = torch.stack(
            [torch.from_numpy(data[i + 1 : i + 1 + N_CTX].astype(np.int64)) for i in at]
        )
        loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0:
            loss.item()
    return steps * batch / (time.perf_counter() - started)


def our_speed(tokens: TokenSet, sizes: tuple[int, int, int], batch: int, steps: int) -> float:
    """Tokens per second of `train`, evaluation left out."""
    layers, d, heads = sizes
    shape = Shape(n_layer=layers, d_model=d, n_heads=heads, vocab=VOCAB, n_ctx=N_CTX)
    spec = RunSpec(
        shape, tokens=steps * batch, batch=batch, lr=1e-3, eval_points=1, eval_block=2048,
        eval_final=2048,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return train(spec, tokens, Path(folder)).tokens_per_second


def matmul_peak() -> float:
    """FLOP/s of a large single-precision matrix product on one core."""
    a = torch.randn(1024, 1024)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def measure(side: str, folder: Path, sizes: tuple[int, int, int], steps: int) -> float:
    """Tokens per second of one side, measured in a fresh process."""
    words = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    words += ["--sizes", *map(str, sizes), "--steps", str(steps)]
    environment = worker_environment() if side == "ours" else dict(os.environ)
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--pairs", type=int, default=5)
    child = parser.add_argument_group("one measurement, as the benchmark calls itself")
    child.add_argument("--side", choices=("ours", "plain"))
    child.add_argument("--folder", type=Path)
    child.add_argument("--sizes", type=int, nargs=3)
    child.add_argument("--steps", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.side:
        speed = our_speed if options.side == "ours" else plain_speed
        tokens = load_tokens(options.folder)
        speed(tokens, tuple(options.sizes), BATCH, 3)
        print(speed(tokens, tuple(options.sizes), BATCH, options.steps))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tokens"
        prepare("python-stdlib", folder)
        peak = matmul_peak()
        for sizes in SHAPES:
            steps = max(10, int(options.seconds * measure("plain", folder, sizes, 10) / BATCH))
            pairs = [
                tuple(measure(side, folder, sizes, steps) for side in ("ours", "plain"))
                for _ in range(options.pairs)
            ]
            ours, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(a / b for a, b in pairs)
            shape = Shape(
                n_layer=sizes[0], d_model=sizes[1], n_heads=sizes[2], vocab=VOCAB, n_ctx=N_CTX
            )
            floor = peak / flops_per_token(shape, "exact")
            rows.append(
                (
                    f"({sizes[0]}, {sizes[1]})", f"{ours:,.0f}", f"{plain:,.0f}",
                    f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                    f"{floor / ours:.1f}",
                )
            )  # fmt: skip
    results.append(
        "train_speed",
        ("(n_layer, d_model)", "isoloss tok/s", "plain tok/s", "ratio", "range", "floor / isoloss"),
        rows,
        f"One thread, n_ctx {N_CTX}, batch {BATCH:,} tokens; medians of {options.pairs} pairs.",
        f"Floor: exact FLOPs at the measured matrix-multiply rate, {peak / 1e9:.0f} GFLOP/s.",
    )


if __name__ == "__main__":
    main()
