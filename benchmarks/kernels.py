"""Blocked attention and the loss in parts beside torch's own functions, forward and backward.

One thread. Attention: `scaled_dot_product_attention`, causal. Loss: head and cross-entropy as two
functions, and torch's `linear_cross_entropy` with its default options, which does in parts what
ours does. The ways of a row run in turn, after checking that they agree; medians of rounds, and the
range of their ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import _results as results
import torch
import torch.nn.functional as F
from torch import Tensor

from isoloss.lab.models.attention import blocked_attention
from isoloss.lab.models.cross_entropy import linear_cross_entropy

ATTENTION = (
    (32, 2, 64, 16),
    (16, 2, 128, 16),
    (16, 8, 128, 16),
    (16, 2, 128, 64),
    (8, 2, 256, 32),
    (8, 4, 256, 64),
    (2, 4, 1024, 32),
)
"""(sequences, heads, positions, size of a head)"""
LOSS = ((2048, 16, 256), (2048, 64, 256), (2048, 256, 256), (2048, 64, 8192), (2048, 256, 32768))
"""(rows, width, vocabulary)"""
Way = Callable[..., Tensor]


def attention_ways() -> dict[str, Way]:
    return {
        "torch": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "blocked": blocked_attention,
    }


def loss_ways(targets: Tensor) -> dict[str, Way]:
    options = torch.nn.LinearCrossEntropyOptions()
    return {
        "torch": lambda h, w: F.cross_entropy(F.linear(h, w), targets),
        "torch in parts": lambda h, w: F.linear_cross_entropy(h, w, targets, options=options),
        "in parts": lambda h, w: linear_cross_entropy(h, w, targets),
    }


def race(
    ways: dict[str, Way], inputs: tuple[Tensor, ...], seconds: float
) -> dict[str, list[float]]:
    """Seconds of every round of each way, taken in turn, the first round not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    ended, counted = time.perf_counter() + seconds, False
    while time.perf_counter() < ended or not counted:
        for name, way in ways.items():
            started = time.perf_counter()
            value = way(*inputs)
            grads = torch.autograd.grad(value.sum(), inputs)
            times[name].append(time.perf_counter() - started)
            found[name] = (value.detach(), *grads)
        counted = len(times[name]) > 3
    for other in found.values():
        for one, right in zip(other, found["torch"], strict=True):
            torch.testing.assert_close(one, right, rtol=1e-4, atol=1e-5)
    return {name: taken[1:] for name, taken in times.items()}


def row(what: str, sizes: tuple[int, ...], times: dict[str, list[float]]) -> tuple[str, ...]:
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    *others, ours = times
    ratios = sorted(a / b for a, b in zip(times["torch"], times[ours], strict=True))
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    parts = f"{medians[others[-1]] / medians[ours]:.2f}" if len(others) > 1 else ""
    return (
        what, str(sizes), f"{1e3 * medians['torch']:.2f}", f"{1e3 * medians[ours]:.2f}",
        f"{medians['torch'] / medians[ours]:.2f}", f"{low:.2f}-{high:.2f}", parts,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for sizes in ATTENTION:
        inputs = tuple(torch.randn(sizes, requires_grad=True) for _ in range(3))
        rows.append(row("attention", sizes, race(attention_ways(), inputs, options.seconds)))
    for sizes in LOSS:
        n, d, vocab = sizes
        inputs = (torch.randn(n, d, requires_grad=True), torch.randn(vocab, d, requires_grad=True))
        inputs[1].data.mul_(0.2)
        ways = loss_ways(torch.randint(vocab, (n,)))
        rows.append(row("loss", sizes, race(ways, inputs, options.seconds)))
    results.append(
        "kernels",
        ("what", "sizes", "torch ms", "ours ms", "torch / ours", "range", "torch in parts / ours"),
        rows,
        "One thread, forward and backward; range: tenths of the rounds cut off at both ends.",
        "Sizes: (sequences, heads, positions, head) and (rows, width, vocabulary).",
    )


if __name__ == "__main__":
    main()
