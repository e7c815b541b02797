"""The table of accelerators, and bookings of them."""

import pytest

from isoloss.counting import HARDWARE, Booking, find_hardware, parse_booking
from isoloss.errors import InputError


def test_a_booking_is_read_as_people_write_it() -> None:
    for text in ("64xH100:72h", "64 x h100 : 72 hours", "64*H100:3d", "64xH100-SXM:72"):
        found = parse_booking(text)
        assert (found.hardware.name, found.count, found.hours) == ("H100", 64, 72.0)
    assert parse_booking("A100:1w").gpu_hours == 168.0
    assert parse_booking("8xtpu_v5p:0.5h").hardware.memory == 95e9


@pytest.mark.parametrize("text", ["", "64", "64xH100", "64xH100:3 fortnights", "H100:"])
def test_what_is_no_booking_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="64xH100:72h"):
        parse_booking(text)


def test_a_booking_buys_its_share_of_the_peak() -> None:
    booking = parse_booking("64xH100:72h")
    assert booking.flops(0.4) == pytest.approx(64 * 72 * 3600 * 989.5e12 * 0.4)
    assert booking.flops(0.4, "fp8") == pytest.approx(2 * booking.flops(0.4))
    # Hoffmann's 5.76e23 at half of an A100's peak: 1.03 million hours.
    a100 = find_hardware("A100")
    assert 5.76e23 / a100.flops_per_second("bf16", 0.5) / 3600 == pytest.approx(1.026e6, rel=1e-3)


def test_wrong_shares_names_and_counts_are_refused() -> None:
    booking = parse_booking("H100:1h")
    with pytest.raises(InputError, match=r"utilisation is 40; .* for 40 % write 0.4"):
        booking.flops(40)
    with pytest.raises(InputError, match="utilisation is 0"):
        booking.flops(0)
    with pytest.raises(InputError, match="has no peak for 'fp8'; there is bf16"):
        parse_booking("A100:1h").flops(0.4, "fp8")
    with pytest.raises(InputError, match=r"did you mean H100\?"):
        find_hardware("H1000")
    with pytest.raises(InputError, match="whole number"):
        parse_booking("1.5xH100:3h")
    with pytest.raises(InputError, match="one device or more"):
        Booking(find_hardware("H100"), 0, 3.0)
    with pytest.raises(InputError, match="some hours"):
        Booking(find_hardware("H100"), 1, 0.0)


def test_the_table_holds_together() -> None:
    assert len({one.name for one in HARDWARE}) == len(HARDWARE)
    for one in HARDWARE:
        half = one.peak.get("bf16", one.peak.get("fp16", 0.0))
        assert 1e14 < half < 1e16
        assert one.peak.get("fp8", 2 * half) == pytest.approx(2 * half, rel=0.02)
        assert one.peak.get("tf32", half / 2) == pytest.approx(half / 2, rel=0.02)
        assert one.memory >= 16e9
        # Memory-bound below this many FLOPs per byte: a modern accelerator needs 100 and more.
        assert 80 < half / one.bandwidth < 700
        assert one.source
