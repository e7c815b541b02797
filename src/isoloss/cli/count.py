"""`isoloss count`: what a model costs, from its configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isoloss.cli.options import Count, Json, Number
from isoloss.cli.output import emit_json, show, table
from isoloss.counting import count_all, flops_all, kv_cache_bytes, params_by_group, read_config
from isoloss.errors import UsageError
from isoloss.units import PF_DAY, format_number

_MOST = 1e18
"""More tokens than anyone will train on or keep."""


def count(
    config: Annotated[Path, Parameter(help="A Shape as JSON, or a Hugging Face config.json.")],
    *,
    tokens: Annotated[
        Number | None, Parameter(help="Training tokens, such as 20B: adds the whole run's FLOPs.")
    ] = None,
    context: Annotated[
        Count | None, Parameter(help="Tokens in the KV cache; the model's n_ctx without it.")
    ] = None,
    bytes_per_value: Annotated[Count, Parameter(help="Bytes per number in the KV cache.")] = 2,
    json: Json = False,
) -> None:
    """Count a model's parameters, FLOPs and KV cache, by every convention.

    The file is read, never executed. A paper's "N" and "FLOPs" mean different things in
    different papers: the rows say which.
    """
    for option, given in (("--tokens", tokens), ("--context", context)):
        if given is not None and given > _MOST:
            raise UsageError(f"{option} is {given:g}: it must be at most {_MOST:g}")
    shape = read_config(config)
    groups, counts, flops = params_by_group(shape), count_all(shape), flops_all(shape)
    cached = shape.n_ctx if context is None else context
    cache = kv_cache_bytes(shape, tokens=cached, bytes_per_value=bytes_per_value)
    lstm = shape.kind == "lstm"
    held = "State, at any length" if lstm else f"KV cache at {cached:,} tokens"
    if json:
        emit_json(
            {
                "shape": shape.to_dict(),
                "params_by_group": groups,
                "params": counts,
                "flops_per_token": flops,
                "flops": None if tokens is None else {k: v * tokens for k, v in flops.items()},
                "kv_cache": {"tokens": cached, "bytes": cache, "bytes_per_value": bytes_per_value},
            }
        )
        return
    show(
        table(
            "group",
            ">parameters",
            rows=[(name.replace("_", " "), f"{value:,}") for name, value in groups.items()],
            title="Parameters by group",
        ),
        table(
            "convention",
            ">parameters",
            "",
            rows=[(name, f"{n:,}", format_number(n)) for name, n in counts.items()],
            title="Parameters by convention",
        ),
        table(
            "convention",
            ">per token",
            ">over 6nd",
            *([">whole run", ">PF-days"] if tokens is not None else []),
            rows=[
                (
                    name,
                    format_number(value),
                    f"{value / flops['6nd']:.3f}",
                    *(
                        (format_number(value * tokens), format_number(value * tokens / PF_DAY))
                        if tokens is not None
                        else ()
                    ),
                )
                for name, value in flops.items()
            ],
            title="Training FLOPs, forward and backward",
        ),
        f"{held}: {format_number(cache)} bytes ({bytes_per_value} bytes per number)",
    )
