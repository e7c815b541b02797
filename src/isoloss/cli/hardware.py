"""The accelerators that are known, with what each can do at best and where its vendor says so."""

from __future__ import annotations

from rich.table import Table

from isoloss.cli.output import table
from isoloss.counting import HARDWARE

_PRECISIONS = ("bf16", "fp16", "fp8", "fp4", "tf32", "fp32")
_TERA, _GIGA = 1e12, 1e9


def hardware_tables() -> tuple[Table, Table]:
    """Return the peaks by precision with memory and bandwidth, and the sources."""
    stated = {name for one in HARDWARE for name in one.peak}
    precisions = [name for name in _PRECISIONS if name in stated]
    precisions += sorted(stated - set(precisions))
    rows = [
        (
            one.name,
            *(_rounded(one.peak[p] / _TERA) if p in one.peak else "-" for p in precisions),
            _rounded(one.memory / _GIGA),
            _rounded(one.bandwidth / _GIGA),
        )
        for one in HARDWARE
    ]
    return (
        table(
            "",
            *(f">{name}" for name in precisions),
            ">GB",
            ">GB/s",
            rows=rows,
            title="Peaks of dense matrix products in TFLOP/s, memory and its bandwidth",
        ),
        table("", "source", rows=[(one.name, one.source) for one in HARDWARE]),
    )


def _rounded(value: float) -> str:
    """A vendor's number with the digits it was given."""
    return f"{value:,.6g}"
