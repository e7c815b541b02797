"""What accelerators can do at best, and what a booking of them buys in FLOPs.

Peaks are those of dense matrices as the vendors state them: sheets that print the figure for 2:4
sparsity print twice as much. A training run reaches a share of it, its utilisation (MFU: the
model's FLOPs over the peak), which is for the user to know; 0.3 to 0.5 is usual for large
transformers. Prices are not here: they change by the week.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from isoloss.errors import InputError
from isoloss.units import parse_number

_TERA, _GIGA, _HOUR = 1e12, 1e9, 3600.0
_BOOKING = re.compile(
    r"\s*(?:([\d.,_]+[kK]?)\s*[xX*]\s*)?([^:]+?)\s*:\s*([\d.,_]+)\s*([a-zA-Z]*)\s*"
)
_HOURS = {"h": 1.0, "hour": 1.0, "hours": 1.0, "d": 24.0, "day": 24.0, "days": 24.0, "w": 168.0}


@dataclass(frozen=True)
class Hardware:
    """One accelerator.

    peak: FLOP per second of dense matrix products, by precision. memory: bytes. bandwidth: of that
    memory, bytes per second. source: where the vendor says so.
    """

    name: str
    peak: Mapping[str, float]
    memory: float
    bandwidth: float
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "peak", MappingProxyType(dict(self.peak)))

    def flops_per_second(self, precision: str = "bf16", utilisation: float = 1.0) -> float:
        """Return the FLOP per second reached at a share of the peak.

        precision: such as "bf16"; utilisation: MFU, above 0 and at most 1.
        Raises InputError for a precision the sheet does not state, or a share that is none.
        """
        if precision not in self.peak:
            known = ", ".join(self.peak)
            raise InputError(f"{self.name} has no peak for {precision!r}; there is {known}")
        return self.peak[precision] * checked_utilisation(utilisation)


@dataclass(frozen=True)
class Booking:
    """So many accelerators for so many hours: `64xH100:72h`."""

    hardware: Hardware
    count: int
    hours: float

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not self.count >= 1 or self.count != int(self.count):
            raise InputError(f"a booking is of one device or more, not {self.count}")
        if not 0 < self.hours < float("inf"):
            raise InputError(f"a booking lasts some hours, not {self.hours}")

    @property
    def gpu_hours(self) -> float:
        """Devices times hours."""
        return self.count * self.hours

    def flops(self, utilisation: float, precision: str = "bf16") -> float:
        """Return the FLOPs done: count * hours * 3600 * peak * utilisation."""
        reached = self.hardware.flops_per_second(precision, utilisation)
        return self.gpu_hours * _HOUR * reached


def checked_utilisation(utilisation: float) -> float:
    """Return a utilisation, refused unless it is above 0 and at most 1."""
    if isinstance(utilisation, bool) or not 0 < utilisation <= 1:
        percent = f"; for {utilisation:g} % write {utilisation / 100:g}" if utilisation > 1 else ""
        raise InputError(
            f"utilisation is {utilisation!r}; it is a share of the peak, such as 0.4{percent}"
        )
    return float(utilisation)


def find_hardware(name: str) -> Hardware:
    """Return an accelerator by its name, in either case and whatever parts the words.

    Raises InputError with the nearest known name.
    """
    known = {_plain(one.name): one for one in HARDWARE}
    wanted = _plain(name)
    if wanted in _SHORT:
        wanted = _plain(_SHORT[wanted])
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f"; did you mean {known[near[0]].name}?" if near else ""
        names = ", ".join(one.name for one in HARDWARE)
        raise InputError(f"there is no hardware {name!r} here{hint}; known: {names}")
    return known[wanted]


def parse_booking(text: str) -> Booking:
    """Read a booking as people write it: `64xH100:72h`, `8 x A100 80GB : 3d`, `H100:24h`.

    text: COUNTxNAME:TIME, the count 1 if left out; time in hours, h, days, d, or weeks, w.
    Returns Booking. Raises InputError if it is not of that form.
    """
    match = _BOOKING.fullmatch(text)
    unit = "" if match is None else match[4].lower() or "h"
    if match is None or unit not in _HOURS:
        raise InputError(f"{text!r} is no booking; write it as 64xH100:72h or 8xA100:3d")
    count = parse_number(match[1]) if match[1] else 1.0
    if count != int(count):
        raise InputError(f"{text!r} books {match[1]} devices; write a whole number")
    return Booking(find_hardware(match[2]), int(count), parse_number(match[3]) * _HOURS[unit])


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).lower()


_NVIDIA, _GOOGLE, _AMD = "NVIDIA data sheet", "Google Cloud TPU documentation", "AMD data sheet"


def _made(name: str, source: str, memory: float, bandwidth: float, **teraflops: float) -> Hardware:
    """memory in GB, bandwidth in GB/s, peaks in TFLOP/s."""
    peak = {precision: value * _TERA for precision, value in teraflops.items()}
    return Hardware(name, peak, memory * _GIGA, bandwidth * _GIGA, source)


HARDWARE = (
    _made("V100", f"{_NVIDIA}, V100 SXM2", 32, 900, fp16=125.0, fp32=15.7),
    _made("A100 40GB", f"{_NVIDIA}, A100 SXM", 40, 1555, bf16=312.0, fp16=312.0, tf32=156.0),
    _made("A100 80GB", f"{_NVIDIA}, A100 SXM", 80, 2039, bf16=312.0, fp16=312.0, tf32=156.0),
    _made("A40", f"{_NVIDIA}, A40", 48, 696, bf16=149.7, fp16=149.7, tf32=74.8),
    _made("L4", f"{_NVIDIA}, L4", 24, 300, bf16=121.0, fp16=121.0, fp8=242.5, tf32=60.0),
    _made("L40S", f"{_NVIDIA}, L40S", 48, 864, bf16=362.05, fp16=362.05, fp8=733.0, tf32=183.0),
    _made(
        "H100 PCIe", f"{_NVIDIA}, H100 PCIe", 80, 2000,
        bf16=756.5, fp16=756.5, fp8=1513.0, tf32=378.0,
    ),
    _made(
        "H100", f"{_NVIDIA}, H100 SXM", 80, 3350,
        bf16=989.5, fp16=989.5, fp8=1979.0, tf32=494.5,
    ),
    _made(
        "H200", f"{_NVIDIA}, H200 SXM", 141, 4800,
        bf16=989.5, fp16=989.5, fp8=1979.0, tf32=494.5,
    ),
    _made(
        "B200", f"{_NVIDIA}, HGX B200", 180, 7700,
        bf16=2250.0, fp16=2250.0, fp8=4500.0, fp4=9000.0, tf32=1125.0,
    ),
    _made("MI250X", f"{_AMD}, MI250X", 128, 3277, bf16=383.0, fp16=383.0, fp32=95.7),
    _made("MI300X", f"{_AMD}, MI300X", 192, 5300, bf16=1307.4, fp16=1307.4, fp8=2614.9),
    _made("TPU v4", _GOOGLE, 32, 1228, bf16=275.0),
    _made("TPU v5e", _GOOGLE, 16, 819, bf16=197.0),
    _made("TPU v5p", _GOOGLE, 95, 2765, bf16=459.0),
    _made("TPU v6e", _GOOGLE, 32, 1640, bf16=918.0),
)  # fmt: skip
"""Accelerators with their peaks for dense matrices, memory and bandwidth, as the vendors state."""

_SHORT = {"a100": "A100 80GB", "h100sxm": "H100", "h200sxm": "H200", "trillium": "TPU v6e"}
