"""Numbers as people write and read them."""

from __future__ import annotations

import math

import pytest

from isoloss.errors import InputError
from isoloss.units import LN2, PF_DAY, format_number, nats_to_bits, parse_number, plural


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7B", 7e9),
        (" 1.5 t ", 1.5e12),
        ("802.8K", 802_800.0),
        ("1e21", 1e21),
        ("1.2e-3m", 1200.0),
        ("3g", 3e9),
        ("2P", 2e15),
        ("-.5k", -500.0),
        ("1,234,567.5", 1_234_567.5),
        ("1,000B", 1e12),
        ("600_000", 600_000.0),
        (12, 12.0),
    ],
)
def test_numbers_as_people_write_them(text: str | int, value: float) -> None:
    assert parse_number(text) == value


def test_what_is_written_is_met_exactly() -> None:
    for tenths in range(1, 10_000):
        assert parse_number(f"{tenths // 10}.{tenths % 10}M") == tenths * 100_000


@pytest.mark.parametrize("text", ["", "many", "7X", "7MB", "1e", "1,5", "1,0000", ",100", "1,23,4"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a number; write one such as 7B"):
        parse_number(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7e9, "7.00B"),
        (1.5e12, "1.50T"),
        (802_800, "803K"),
        (-12_340_000, "-12.3M"),
        (999, "999"),
        (999_999, "1.00M"),
        (999.9, "1.00K"),
        (0.25, "0.250"),
        (0, "0"),
        (1e15, "1.00e+15"),
        (1.2e-4, "1.20e-04"),
        (math.inf, "inf"),
    ],
)
def test_numbers_as_people_read_them(value: float, text: str) -> None:
    assert format_number(value) == text


def test_constants() -> None:
    assert PF_DAY == 1e15 * 24 * 3600
    assert nats_to_bits(3 * LN2) == pytest.approx(3.0, rel=1e-15)


def test_things_are_counted_in_the_singular_too() -> None:
    assert [plural(k, "run") for k in (0, 1, 2, 1200)] == [
        "0 runs",
        "1 run",
        "2 runs",
        "1,200 runs",
    ]
