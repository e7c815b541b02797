"""Memory of training at d_model 256 beside parameters, optimizer and activations counted by hand.

Each shape is trained in a process of its own with the environment a sweep gives its workers, the
whole of `train`: measuring how to compute, evaluation, checkpoints every half second. Memory is the
most that the process held (`ru_maxrss`), less what it held with its libraries loaded and the token
ids read once, before anything was made. torch imports `torch._dynamo` with the first optimizer, so
this counts among the libraries; the code that is paged in at first use counts as training's.

Counted by hand, in 32 bits: 16 bytes a parameter (weight, gradient, two moments), and what the
backward pass needs of each token (`kept_by_hand`, which `tests/lab/test_training_memory.py` holds
against what torch saves). Not counted: what a pass makes and lets go, batches, held-out text,
fragments.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import _results as results

from isoloss.counting import Shape, activation_bytes, count_params, training_memory
from isoloss.lab.processes.environment import training_environment

MOST = 1.5
BLOCK = 64  # queries at once of isoloss.lab.models.attention
VARIANT = {"positions": "rotary", "gated": True, "norm": "rmsnorm", "bias": False}
CASES = (
    ({"n_layer": 4, "n_ctx": 256}, 2048),
    ({"n_layer": 4, "n_ctx": 256}, 8192),
    ({"n_layer": 8, "n_ctx": 256}, 4096),
    ({"n_layer": 2, "n_ctx": 512}, 4096),
    ({"n_layer": 4, "n_ctx": 256, "vocab": 8192}, 4096),
    ({"n_layer": 4, "n_ctx": 256, **VARIANT}, 4096),
)


def shape_of(fields: dict[str, object]) -> Shape:
    return Shape(**{"d_model": 256, "n_heads": 8, "vocab": 256, **fields})  # type: ignore[arg-type]


def kept_by_hand(shape: Shape, tokens: int, *, blocked: bool) -> int:
    """Bytes that the backward pass of our transformer needs of `tokens` tokens, in 32 bits.

    Per token and layer, numbers of 4 bytes: the inputs of two norms 2 d_model; attention's input,
    queries, keys, values and result d_model + 2 d_attn + 2 d_kv; the feed-forward's input, and what
    goes into the activation and comes out, d_model + 2 d_ff (`counting.activation_bytes`). More:
    blocked attention keeps the weights of the keys it looks at, n_heads (n_ctx + block) / 2, and
    the result in the order that the next product wants, d_attn; a gated layer keeps 4 d_ff, the
    gate, its activation, what it is to gate, and the product; rotated queries and keys lie apart
    from those they were made of, which stay as long as values are a part of them, and so does
    fused attention's result, 2 d_attn + d_kv; an RMSNorm keeps what it has normalized, d_model.
    At the end the norm's input and the gradient of what it gives, 2 d_model, and the gradient of
    the head; no logits, which `lab.models.cross_entropy` lets go.
    """
    layer = 0
    if shape.gated:
        layer += shape.d_ff
    if shape.positions == "rotary":
        layer += 2 * shape.d_attn + shape.d_kv
    if shape.norm == "rmsnorm":
        layer += 2 * shape.d_model
    if blocked:
        layer += shape.n_heads * (shape.n_ctx + BLOCK) // 2 + shape.d_attn
        if shape.positions == "rotary":
            layer -= 2 * shape.d_attn + shape.d_kv  # values are a copy, and the projection goes
    ends = shape.d_model if shape.norm == "rmsnorm" else 0
    plain = activation_bytes(shape, tokens, bytes_per_value=4) - 4 * shape.vocab * tokens
    more = 4 * tokens * (shape.n_layer * shape.reuse * layer + ends)
    return plain + more + 4 * shape.vocab * shape.d_model


def megabytes(kind: int = resource.RUSAGE_SELF) -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(kind).ru_maxrss * unit / 1e6


def one_case(fields: dict[str, object], batch: int, steps: int, folder: Path) -> dict[str, object]:
    """Train one case in this process: megabytes before and at the peak, and how it was computed."""
    import numpy as np
    import torch
    import torch._dynamo

    from isoloss.lab.tokens import load_tokens
    from isoloss.lab.train import train
    from isoloss.runs import RunSpec, read_record

    torch.set_num_threads(1)
    tokens = load_tokens(folder)
    for ids in (tokens.train, tokens.val):  # every page of the map, which is memory of the file
        int(np.asarray(ids).max())
    before = megabytes()
    spec = RunSpec(
        shape_of(fields), tokens=steps * batch, batch=batch, lr=1e-3, eval_points=2,
        eval_block=16_384, eval_final=65_536,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        train(spec, tokens, Path(name), checkpoint_seconds=0.5)
        engine = read_record(Path(name) / f"{spec.run_id}.jsonl").machine.get("engine", {})
    return {"before": before, "peak": megabytes(), "engine": engine}


def measure(number: int, steps: int, folder: Path) -> dict[str, object]:
    """One case in a fresh process."""
    words = [sys.executable, __file__, "--case", str(number), "--steps", str(steps)]
    done = subprocess.run(
        [*words, "--tokens", str(folder)],
        env=training_environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6)
    child = parser.add_argument_group("one case, as the benchmark calls itself")
    child.add_argument("--case", type=int)
    child.add_argument("--tokens", type=Path)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(one_case(*CASES[options.case], options.steps, options.tokens)))
        return
    from isoloss.lab.tokens import prepare

    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tokens"
        prepare("python-stdlib", folder)
        for number, (fields, batch) in enumerate(CASES):
            shape = shape_of(fields)
            found = measure(number, options.steps, folder)
            engine = found["engine"]
            blocked = isinstance(engine, dict) and engine.get("attention") == "blocked"
            states = training_memory(shape, precision="fp32").total / 1e6
            kept = kept_by_hand(shape, batch, blocked=blocked) / 1e6
            used = float(found["peak"]) - float(found["before"])  # type: ignore[arg-type]
            ratios.append(used / (states + kept))
            rows.append(
                (
                    f"{shape.n_layer} x {shape.d_model}, {'gated' if shape.gated else 'plain'}",
                    f"{count_params(shape, 'total'):,}", f"{shape.n_ctx}", f"{shape.vocab:,}",
                    f"{batch:,}", "blocked" if blocked else "fused", f"{states:.0f}",
                    f"{kept:.0f}", f"{used:.0f}", f"{ratios[-1]:.2f}",
                )
            )  # fmt: skip
            print(f"{number + 1} of {len(CASES)}: {ratios[-1]:.2f}", file=sys.stderr)
    verdict = "all within" if max(ratios) <= MOST else "NOT all within"
    results.append(
        "train_memory",
        (
            "layers x d_model", "parameters", "n_ctx", "vocab", "batch", "attention",
            "states, MB", "activations, MB", "used, MB", "ratio",
        ),
        rows,
        f"Ratios are {verdict} {MOST}. States: parameters, gradients, AdamW's moments; states and "
        "activations counted by hand, what was used measured beyond libraries and token ids. "
        f"One thread, 32 bits, {options.steps} steps, 8 heads.",
    )  # fmt: skip
    if max(ratios) > MOST:
        raise SystemExit(f"{max(ratios):.2f} times the count by hand; at most {MOST} is promised")


if __name__ == "__main__":
    main()
