"""A process of a team that measures the noise scale of the toy; started by torchrun.

    torchrun ... _noise_team.py '{"kinds": ["ddp", "fsdp"], "trials": 20, "steps": 40, "parts": 1}'

The first process prints one JSON line: by kind, the (low, b_simple, high) of every trial in tokens,
and the norms of the first trial by group.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from _noise_toy import accumulate, adam_after, draws, make, population
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from isoloss.lab.noise_meter import NoiseMeter

ROWS = 8  # of each process in a step


def share(model: nn.Module, kind: str) -> nn.Module:
    if kind == "ddp":
        return DistributedDataParallel(model)
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    for layer in (model.up, model.down):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def batches(seed: int, rank: int, steps: int, parts: int) -> Iterator[list[Tensor]]:
    """The same draws as one process would make, of which this one takes its own rows."""
    generator, rows = torch.Generator().manual_seed(seed), population()
    for _ in range(steps):
        whole = draws(rows, generator, 2 * ROWS)
        yield list(whole[rank * ROWS : (rank + 1) * ROWS].tensor_split(parts))


def study(job: dict[str, Any], kind: str, rank: int) -> dict[str, Any]:
    model = share(make(tied=job.get("tied", False)), kind)
    optimizer = adam_after(model, population()) if job.get("adam") else None
    found = []
    for trial in range(job["trials"]):
        groups = {"up": [p for name, p in model.named_parameters() if "up." in name]}
        options = {"groups": groups, "optimizer": optimizer, "examples": job.get("examples", 0)}
        with NoiseMeter(model, level=0.95, **options) as meter:
            one = accumulate(meter, model, batches(trial, rank, job["steps"], job["parts"]))
        found.append([one.scale.low, one.scale.b_simple, one.scale.high])
        if not trial:
            first = {
                "all": [one.scale.g2, one.scale.tr_sigma],
                "up": [one.groups["up"].g2, one.groups["up"].tr_sigma],
            }
    return {"trials": found, "first": first}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, told = int(os.environ["RANK"]), json.loads(sys.argv[1])
    results = {kind: study(told, kind, rank) for kind in told["kinds"]}
    if rank == 0:
        print(json.dumps(results), flush=True)
    torch.distributed.destroy_process_group()
