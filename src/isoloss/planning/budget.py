"""What there is to spend, in the form people have it, and what must not be exceeded.

FLOPs, PF-days, hours of accelerators, dollars and a deadline are limits on the same thing,
training compute; the tightest counts, and two that claim to be the whole budget must agree. A
target loss may stand in place of a budget, or under one. Tokens and parameters are capped beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import numpy as np

from isoloss.counting import Booking, Hardware, checked_utilisation, find_hardware, parse_booking
from isoloss.errors import UsageError, argument
from isoloss.units import PF_DAY, format_number

UTILISATION = 0.4
"""The share of the peak that is assumed where none is given, and said."""

_HOUR = 3600.0
_SERVED_BYTES = 2
LEAST_FLOPS, MOST_FLOPS = 1e9, 1e28
"""Fewer FLOPs train nothing; with more a best size is beyond every count of parameters."""

_LEAST = {"max_tokens": 1e4, "max_params": 1e3, "serving_memory": 1e6}
_MOST = {"max_tokens": 1e17, "max_params": 1e15, "serving_memory": 2e15}
_MOST_LOSS = math.log(300_000)
_AGREE = 0.01
_NEEDS = {
    "gpu_hours": ("hardware",),
    "dollars": ("hardware", "price"),
    "deadline": ("hardware", "count"),
}
_WHOLE = ("flops", "pf_days", "booking")


class OtherAmounts(TypedDict, total=False):
    """What `budget` and `plan` take beside FLOPs, each left out or None where it is not given.

    pf_days: training compute in PF-days, 8.64e19 FLOPs. booking: accelerators and a
    time, such as "64xH100:72h". gpu_hours: hours of one of `hardware`. dollars: at `price` dollars
    for one hour of one device. deadline: hours of wall time, on `count` devices. hardware: a name
    of `counting.HARDWARE`. utilisation: share of the peak reached, 0.4 if not given. precision: of
    the matrix products, "bf16". loss: the target, nats per token. max_tokens: of text there is.
    max_params: what can be served. serving_memory: bytes that its weights may take to be served, at
    2 bytes each.
    """

    pf_days: float | None
    booking: str | Booking | None
    gpu_hours: float | None
    dollars: float | None
    price: float | None
    deadline: float | None
    hardware: str | Hardware | None
    count: int | None
    utilisation: float | None
    precision: str | None
    loss: float | None
    max_tokens: float | None
    max_params: float | None
    serving_memory: float | None


class Amounts(OtherAmounts, total=False):
    """All that `budget` takes: flops, training FLOPs, and `OtherAmounts`."""

    flops: float | None


@dataclass(frozen=True)
class Machine:
    """Where the training runs: count devices at a utilisation; price in dollars per device-hour."""

    hardware: Hardware
    utilisation: float
    precision: str = "bf16"
    count: int | None = None
    price: float | None = None

    def gpu_hours(self, flops: float) -> float:
        """Return the device-hours that some FLOPs take."""
        return flops / self.hardware.flops_per_second(self.precision, self.utilisation) / _HOUR

    def hours(self, flops: float) -> float | None:
        """Return the wall time in hours, None where the number of devices is not known."""
        return None if self.count is None else self.gpu_hours(flops) / self.count

    def dollars(self, flops: float) -> float | None:
        """Return the price, None where none was given."""
        return None if self.price is None else self.gpu_hours(flops) * self.price


@dataclass(frozen=True)
class Budget:
    """What may be spent: at most `flops`, to a loss or as low as it goes, within the caps.

    flops: None where only a loss is given. bound_by: the limit that flops comes from. machine: None
    without hardware. notes: what was assumed.
    """

    flops: float | None
    bound_by: str
    loss: float | None = None
    max_tokens: float | None = None
    max_params: float | None = None
    machine: Machine | None = None
    notes: tuple[str, ...] = ()


def budget(amounts: Amounts) -> Budget:
    """Read what there is to spend; see `Amounts` for what may be given.

    Limits on compute may be combined, and the tightest counts.
    Returns Budget. Raises UsageError naming the amount that is wrong, that lacks another it needs,
    or that contradicts another.
    """
    given = {name: value for name, value in amounts.items() if value is not None}
    unknown = sorted(set(given) - Amounts.__optional_keys__)
    if unknown:
        raise UsageError(f"there is no amount {unknown[0]!r}; see budget for those there are")
    booking = _booking(given.pop("booking", None))
    if booking is not None:
        _merge_booking(given, booking)
    numbers = {name: _number(name, given[name]) for name in _NUMBERS if name in given}
    machine, notes = _machine(given, numbers, booked=booking is not None)
    limits = _limits(numbers, machine, booking)
    if not limits and "loss" not in numbers:
        raise UsageError(
            "plan needs a budget: give flops=1e21 (--flops 1e21), or loss=2.2 (--loss 2.2)"
        )
    flops, bound_by = min((value, name) for name, value in limits.items()) if limits else (None, "")
    if flops is not None and flops < LEAST_FLOPS:
        raise UsageError(
            f"{argument(bound_by)} comes to {flops:.3g} FLOPs, which trains nothing: a budget is "
            f"some 1e21 FLOPs (PF-days times {PF_DAY:g})"
        )
    if flops is not None and flops > MOST_FLOPS:
        raise UsageError(
            f"{argument(bound_by)} comes to {flops:.3g} FLOPs, more than there is: check the unit"
        )
    if flops is not None and any(value > flops * (1 + _AGREE) for value in limits.values()):
        notes += (f"{argument(bound_by)} is the tightest of what was given, and binds",)
    caps = [numbers["max_params"]] if "max_params" in numbers else []
    if "serving_memory" in numbers:
        caps.append(numbers["serving_memory"] / _SERVED_BYTES)
        notes += (
            f"{numbers['serving_memory'] / 1e9:.3g} GB hold {format_number(caps[-1])} weights of "
            f"{_SERVED_BYTES} bytes; the cache of keys and values needs room beside them",
        )
    return Budget(
        flops=flops,
        bound_by=bound_by,
        loss=numbers.get("loss"),
        max_tokens=numbers.get("max_tokens"),
        max_params=min(caps, default=None),
        machine=machine,
        notes=notes,
    )


_NUMBERS = (
    "flops", "pf_days", "gpu_hours", "dollars", "price", "deadline", "count", "utilisation", "loss",
    "max_tokens", "max_params", "serving_memory",
)  # fmt: skip


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        example = " of FLOPs, such as 1e21" if name == "flops" else ""
        raise UsageError(f"{argument(name)} is {value!r}; give one number{example}")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        unit = " of FLOPs" if name == "flops" else ""
        raise UsageError(f"{argument(name)} is {number:g}; give a positive, finite number{unit}")
    if name in _LEAST and number < _LEAST[name]:
        raise UsageError(f"{argument(name)} is {number:g}, which trains nothing: check the unit")
    if name in _MOST and number > _MOST[name]:
        raise UsageError(f"{argument(name)} is {number:g}, more than there is: check the unit")
    if name == "loss" and number > _MOST_LOSS:
        raise UsageError(
            f"{argument(name)} is {number:g}, above guessing: give nats per token, such as 2.3, "
            "not perplexity"
        )
    if name == "count" and number != int(number):
        raise UsageError(f"{argument(name)} is {number:g}; give a whole number of devices")
    return number


def _booking(value: object) -> Booking | None:
    if value is None or isinstance(value, Booking):
        return value
    return parse_booking(str(value))


def _merge_booking(given: dict[str, object], booking: Booking) -> None:
    """Put the booking's devices in, unless others are named beside it."""
    parts = {"hardware": booking.hardware, "count": booking.count}
    for name, value in parts.items():
        if given.get(name, value) not in (value, booking.hardware.name):
            raise UsageError(f"the booking says its own {name}: leave {argument(name)} out")
        given[name] = value


def _machine(
    given: Mapping[str, object], numbers: Mapping[str, float], *, booked: bool
) -> tuple[Machine | None, tuple[str, ...]]:
    for name, needed in _NEEDS.items():
        missing = [other for other in needed if name in numbers and other not in given]
        if missing:
            raise UsageError(f"{argument(name)} needs {' and '.join(map(argument, missing))}")
    named = given.get("hardware")
    if named is None:
        for name in ("utilisation", "count", "price", "precision"):
            if name in given:
                raise UsageError(f"{argument(name)} needs {argument('hardware')}")
        return None, ()
    device = named if isinstance(named, Hardware) else find_hardware(str(named))
    notes: tuple[str, ...] = ()
    if "utilisation" in numbers:
        share = checked_utilisation(numbers["utilisation"])
    else:
        share = UTILISATION
        notes = (f"{share:.0%} of the peak is assumed: give {argument('utilisation')} as measured",)
    machine = Machine(
        hardware=device,
        utilisation=share,
        precision=str(given.get("precision", "bf16")),
        count=int(numbers["count"]) if "count" in numbers else None,
        price=numbers.get("price"),
    )
    machine.gpu_hours(1.0)  # refuses a precision that the device does not have
    return machine, notes


def _limits(
    numbers: Mapping[str, float], machine: Machine | None, booking: Booking | None
) -> dict[str, float]:
    """What each amount comes to in FLOPs, those that claim to be the whole budget agreeing."""
    limits = {}
    if "flops" in numbers:
        limits["flops"] = numbers["flops"]
    if "pf_days" in numbers:
        limits["pf_days"] = numbers["pf_days"] * PF_DAY
    if machine is not None:
        hourly = machine.hardware.flops_per_second(machine.precision, machine.utilisation) * _HOUR
        if booking is not None:
            limits["booking"] = booking.flops(machine.utilisation, machine.precision)
        if "gpu_hours" in numbers:
            limits["gpu_hours"] = numbers["gpu_hours"] * hourly
        if "dollars" in numbers and machine.price is not None:
            limits["dollars"] = numbers["dollars"] / machine.price * hourly
        if "deadline" in numbers and machine.count is not None:
            limits["deadline"] = numbers["deadline"] * machine.count * hourly
    whole = [name for name in _WHOLE if name in limits]
    for first, second in pairwise(whole):
        if abs(math.log(limits[first] / limits[second])) > _AGREE:
            raise UsageError(
                f"{argument(first)} comes to {format_number(limits[first])} FLOPs and "
                f"{argument(second)} to {format_number(limits[second])}: give one of them"
            )
    return limits
