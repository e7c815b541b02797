"""Training on a GPU: the 124M shape, and a sweep of small runs, beside a nanoGPT-style loop.

Ours is the whole of `train`, and of `run_sweep`; the opponent is a loop in the manner of nanoGPT:
fused attention, fused AdamW, bfloat16 autocast, torch.compile, gradients set to none, and
nanoGPT's own model where `--nanogpt` names its model.py. Every side runs in a process of its own,
with an empty compile cache. Only numpy and torch are needed: `PYTHONPATH=src python
benchmarks/gpu.py`. Without a GPU nothing is measured. `--device cpu --small` tries the script out
on toy sizes, and writes nothing.

* 124M: steady speed, compiling left out on both sides. Utilisation is of the exact FLOPs, against
  the device's bfloat16 peak as measured on a large product of matrices.
* sweep: `run_sweep` with everything chosen by itself, the start of its workers and all evaluation
  included, against the same sizes one after another, each compiled. The opponent's time of a run is
  that of compiling plus its steps at the speed of the first ones.

Asked: 45 % of the peak, 1.1 times the opponent, and six times the speed of one after another.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import _results as results
import numpy as np

from isoloss.counting import Shape, count_params, flops_per_token
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.runs import RunSpec

WHOLE = 480.0  # seconds
LEFT_FOR_THE_TABLE = 10.0
FEW_STEPS = 10  # before the clock starts
HEADER = ("what", "isoloss", "nanoGPT-style", "ratio", "asked")


def large(small: bool) -> tuple[Shape, int]:
    """The shape of GPT-2 124M, its vocabulary padded as nanoGPT does, and sequences of a batch."""
    if small:
        return Shape(n_layer=2, d_model=32, n_heads=2, vocab=512, n_ctx=64), 4
    return Shape(n_layer=12, d_model=768, n_heads=12, vocab=50_304, n_ctx=1024), 32


def ladder(small: bool) -> list[RunSpec]:
    """The runs of the sweep: sizes from 1e4 to 1e6 in even ratios, 20 tokens for each parameter."""
    count, n_ctx, rows = (3, 32, 8) if small else (16, 128, 32)
    shapes = [
        Shape(n_layer=layers, d_model=16 * heads, n_heads=heads, vocab=256, n_ctx=n_ctx)
        for layers in range(1, 9)
        for heads in range(1, 11)
    ]
    specs: list[RunSpec] = []
    for target in np.geomspace(1e4, 2e4 if small else 1e6, count):
        off = [abs(np.log(count_params(s, "non_embedding_plus_head") / target)) for s in shapes]
        shape = shapes.pop(int(np.argmin(off)))
        n = count_params(shape, "non_embedding_plus_head")
        specs.append(
            RunSpec(
                shape, tokens=(2 if small else 20) * n, batch=rows * n_ctx, lr=3e-3, eval_points=4,
                eval_block=4096, eval_final=16_384,
            )
        )  # fmt: skip
    return specs


def prepare_ids(given: Path | None, folder: Path, small: bool) -> None:
    """Make the token sets of both parts, `large` and `ladder`, in a folder."""
    if given is None:
        ids = np.random.default_rng(0).zipf(1.2, 300_000 if small else 20_000_000)
    else:
        ids = np.asarray(np.memmap(given, dtype="<u2", mode="r")[:20_000_000])
    for name, vocab in (("large", large(small)[0].vocab), ("ladder", 256)):
        (ids % vocab).astype("<u2").tofile(folder / f"{name}.bin")
        prepare(folder / f"{name}.bin", folder / name)


def ours_large(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The speed of `train` on the 124M shape."""
    from isoloss.lab.engine import PLAIN, Engine
    from isoloss.lab.train import Progress, train

    shape, rows = large(options.small)
    batch = rows * shape.n_ctx
    cpu = options.device == "cpu"
    engine = PLAIN if cpu else Engine(options.device, "bfloat16", "fused", True, False)
    yield {"peak": engine.peak()}
    told: list[tuple[int, float]] = []

    def note(progress: Progress) -> None:
        told.append((progress.step, time.perf_counter()))

    def run(steps: int) -> Any:
        spec = RunSpec(
            shape, tokens=steps * batch, batch=batch, lr=6e-4, eval_points=1, eval_block=2048,
            eval_final=2048,
        )  # fmt: skip
        tokens = load_tokens(options.folder / "large")
        with tempfile.TemporaryDirectory() as name:
            return train(
                spec, tokens, Path(name), on_progress=note, checkpoint_seconds=1e9, engine=engine
            )

    run(3 * FEW_STEPS)  # compiles, and tells how many steps the time is for
    rate = _rate(told)
    told.clear()
    end = run(max(3 * FEW_STEPS, int(rate * options.seconds)))
    yield {"speed": _rate(told) * batch, "memory": end.peak_memory_gb}


def _rate(told: Sequence[tuple[int, float]]) -> float:
    """Steps a second, without the first ones, which compile."""
    later = [(step, when) for step, when in told if step >= FEW_STEPS] or told[-1:]
    (first, began), (last, over) = later[0], later[-1]
    return (last - first) / (over - began) if last > first else 1.0


def plain_large(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The speed of the opponent on the 124M shape."""
    shape, rows = large(options.small)
    step = plain_step(shape, rows, options, load_tokens(options.folder / "large"))
    _timed(step, FEW_STEPS, options.device)
    steps, took = 0, 0.0
    while took < options.seconds:
        steps, took = steps + FEW_STEPS, took + _timed(step, FEW_STEPS, options.device)
    yield {"speed": steps * rows * shape.n_ctx / took}


def sweep(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds of `run_sweep` over the ladder."""
    from isoloss.lab.sweep import run_sweep

    with tempfile.TemporaryDirectory() as name:
        tokens, engine = options.folder / "ladder", {"device": options.device}
        started = time.perf_counter()
        run_sweep(ladder(options.small), tokens, Path(name), engine=engine).check()
        yield {"seconds": time.perf_counter() - started}


def serial(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Of each run of the ladder, in an order that serves if it is cut off: seconds, compiled."""
    specs = ladder(options.small)
    order = sorted(range(len(specs)), key=lambda i: (i % 5 > 0 and i + 1 < len(specs), i % 2, i))
    tokens = load_tokens(options.folder / "ladder")
    for number in order:
        spec = specs[number]
        step = plain_step(spec.shape, spec.batch // spec.shape.n_ctx, options, tokens)
        compiling = _timed(step, 1, options.device)
        few = min(spec.steps - 1, 20)
        each = _timed(step, few, options.device) / few
        yield {"run": number, "compiling": compiling, "each": each}


def _timed(step: Callable[[], object], times: int, device: str) -> float:
    import torch

    started = time.perf_counter()
    for _ in range(times):
        step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def plain_step(
    shape: Shape, rows: int, options: argparse.Namespace, tokens: TokenSet
) -> Callable[[], object]:
    """One step of the opponent: a model, an optimizer, and random parts of the text."""
    import torch

    device, gpu = torch.device(options.device), options.device != "cpu"
    torch.set_float32_matmul_precision("high")  # as nanoGPT does
    torch.manual_seed(0)
    make = _nanogpt(options.nanogpt) if options.nanogpt else plain_model
    model = make(shape).to(device)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=True)
    compiled = torch.compile(model) if gpu else model
    data, n_ctx = tokens.train, shape.n_ctx

    def batch() -> Any:
        at = torch.randint(len(data) - n_ctx - 1, (rows,)).tolist()
        found = np.stack([data[i : i + n_ctx + 1] for i in at]).astype(np.int64)
        ids = torch.from_numpy(found)
        ids = ids.pin_memory() if gpu else ids
        return ids.to(device, non_blocking=True)

    def step() -> None:
        ids = batch()
        with torch.autocast(device.type, torch.bfloat16, enabled=gpu):
            _, loss = compiled(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _nanogpt(path: Path) -> Callable[[Shape], Any]:
    """nanoGPT's own model, from its model.py."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not nanoGPT's model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module  # its dataclass looks there
    spec.loader.exec_module(module)

    def make(shape: Shape) -> Any:
        config = module.GPTConfig(
            block_size=shape.n_ctx, vocab_size=shape.vocab, n_layer=shape.n_layer,
            n_head=shape.n_heads, n_embd=shape.d_model, dropout=0.0, bias=True,
        )  # fmt: skip
        return module.GPT(config)

    return make


def plain_model(shape: Shape) -> Any:
    """A GPT in the manner of nanoGPT, written for the purpose."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    d, heads = shape.d_model, shape.n_heads

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.c_fc, self.mlp_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x: Tensor) -> Tensor:
            b, t, _ = x.size()
            q, k, v = self.c_attn(self.ln_1(x)).split(d, dim=2)
            q, k, v = (u.view(b, t, heads, d // heads).transpose(1, 2) for u in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=True)
            x = x + self.c_proj(y.transpose(1, 2).contiguous().view(b, t, d))
            return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(shape.vocab, d), nn.Embedding(shape.n_ctx, d)
            self.h = nn.ModuleList(Block() for _ in range(shape.n_layer))
            self.ln_f = nn.LayerNorm(d)
            self.lm_head = nn.Linear(d, shape.vocab, bias=False)
            self.lm_head.weight = self.wte.weight
            for weight in self.parameters():
                if weight.dim() == 2:
                    nn.init.normal_(weight, 0.0, 0.02)

        def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            x = self.wte(ids) + self.wpe(torch.arange(ids.size(1), device=ids.device))
            for block in self.h:
                x = block(x)
            logits = self.lm_head(self.ln_f(x))
            return logits, F.cross_entropy(logits.view(-1, shape.vocab), targets.view(-1))

    return GPT()


SIDES = {
    "ours-large": ours_large,
    "plain-large": plain_large,
    "sweep": sweep,
    "serial": serial,
}


def ask(side: str, options: argparse.Namespace, folder: Path, limit: float) -> list[dict[str, Any]]:
    """What one side tells, measured in a process of its own, which is ended at the limit."""
    print(f"{side}: at most {limit:.0f} s", file=sys.stderr, flush=True)
    words = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    words += ["--device", options.device, "--seconds", str(options.seconds)]
    words += ["--small"] if options.small else []
    words += ["--nanogpt", str(options.nanogpt)] if options.nanogpt else []
    # Measured anew, and compiled anew, whatever was kept before.
    own = {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / f"compiled-{side}"),
        "TRITON_CACHE_DIR": str(folder / f"triton-{side}"),
        "ISOLOSS_SPEEDS": str(folder / "speeds"),
    }
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, **own})
    timer = threading.Timer(max(1.0, limit), process.kill)
    timer.start()
    told: list[dict[str, Any]] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                told.append(json.loads(line))
            except ValueError:
                continue  # something else prints, or the line was cut off
            print(f"  {line.strip()}", file=sys.stderr, flush=True)
    finally:
        timer.cancel()
        process.kill()
        code = process.wait()
    took = time.perf_counter() - started
    print(f"{side}: {took:.0f} s, status {code}", file=sys.stderr, flush=True)
    return told


def merged(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a side told, in one."""
    return {key: value for one in told for key, value in one.items()}


def one_after_another(
    told: Sequence[dict[str, Any]], specs: Sequence[RunSpec]
) -> tuple[float, int]:
    """Seconds of all runs, and how many were timed: of others, as between their neighbours."""
    timed = {one["run"]: one for one in told}
    numbers = sorted(timed)
    total = 0.0
    for number, spec in enumerate(specs):
        compiling, each = (
            float(np.interp(number, numbers, [timed[n][key] for n in numbers]))
            for key in ("compiling", "each")
        )
        total += compiling + each * (spec.steps - 1)
    return total, len(timed)


def large_rows(
    ours: dict[str, Any], plain: dict[str, Any], small: bool
) -> list[tuple[object, ...]]:
    """The rows of the 124M shape, as far as they were measured."""
    rows: list[tuple[object, ...]] = []
    if "peak" in ours:
        rows.append(("measured peak, TFLOP/s", f"{ours['peak'] / 1e12:.4g}", "", "", ""))
    if "speed" not in ours:
        return rows
    used = ours["speed"] * flops_per_token(large(small)[0], "exact") / ours["peak"]
    beside, ratio, share = "not measured", "", ""
    if "speed" in plain:
        beside, ratio = f"{plain['speed']:,.0f}", f"{ours['speed'] / plain['speed']:.3g}"
        share = f"{used * plain['speed'] / ours['speed']:.1%}"
    rows.append(("124M, tokens/s", f"{ours['speed']:,.0f}", beside, ratio, ">= 1.1"))
    rows.append(("124M, part of the peak", f"{used:.1%}", share, "", ">= 45 %"))
    rows.append(("124M, peak memory, GB", f"{ours['memory']:.2f}", "", "", ""))
    return rows


def sweep_rows(
    ours: dict[str, Any], told: Sequence[dict[str, Any]], specs: Sequence[RunSpec]
) -> list[tuple[object, ...]]:
    """The row of the sweep, as far as it was measured."""
    if "seconds" not in ours:
        return []
    beside, ratio, timed = "not measured", "", 0
    if told:
        total, timed = one_after_another(told, specs)
        beside, ratio = f"{total:.1f}", f"{total / ours['seconds']:.3g}"
    what = f"sweep of {len(specs)} runs, s (opponent: {timed} timed)"
    return [(what, f"{ours['seconds']:.1f}", beside, ratio, ">= 6")]


def measure(options: argparse.Namespace, folder: Path, leave: Callable[[list[Any]], None]) -> None:
    """Measure everything in the time there is; `leave` gets the rows after each part."""
    over = time.perf_counter() + WHOLE - LEFT_FOR_THE_TABLE

    def left(most: float) -> float:
        return min(most, over - time.perf_counter())

    prepare_ids(options.tokens, folder, options.small)
    specs = ladder(options.small)
    ours = merged(ask("ours-large", options, folder, left(150)))
    leave(large_rows(ours, {}, options.small))
    plain = merged(ask("plain-large", options, folder, left(100)))
    rows = large_rows(ours, plain, options.small)
    leave(rows)
    swept = merged(ask("sweep", options, folder, left(100)))
    leave([*rows, *sweep_rows(swept, [], specs)])
    told = ask("serial", options, folder, left(WHOLE))
    leave([*rows, *sweep_rows(swept, told, specs)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--tokens", type=Path, help=".bin of 16-bit ids (default: generated)")
    parser.add_argument("--nanogpt", type=Path, help="nanoGPT's model.py (default: one alike)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="toy sizes; nothing is written")
    parser.add_argument("--seconds", type=float, default=15.0, help="of a measurement of the 124M")
    child = parser.add_argument_group("one side, as the benchmark calls itself")
    child.add_argument("--side", choices=tuple(SIDES))
    child.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        if options.device == "cpu":
            import torch

            torch.set_num_threads(1)
        for said in SIDES[options.side](options):
            print(json.dumps(said), flush=True)
        return
    import torch

    gpu = options.device != "cpu"
    if gpu and not torch.cuda.is_available():
        print("gpu: skipped, for there is no GPU here")
        return
    if not gpu and not options.small:
        raise SystemExit("gpu: --device cpu is for trying the script out; give --small too")
    text = f"the ids of {options.tokens.name}" if options.tokens else "generated ids"
    model = "nanoGPT's model.py" if options.nanogpt else "a model in the manner of nanoGPT's"
    note = f"On {text}; the opponent has {model}. Whole time {WHOLE / 60:.0f} minutes at most."
    partial = results.FOLDER / "gpu.partial.md"
    rows: list[Any] = []

    def leave(found: list[Any]) -> None:
        rows[:] = found
        if not options.small:
            results.FOLDER.mkdir(exist_ok=True)
            partial.write_text(results.table(HEADER, rows, note, "Cut off."), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        measure(options, Path(name), leave)
    if options.small:
        print(results.table(HEADER, rows, note))
        return
    results.append("gpu", HEADER, rows, note)
    partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
