"""What must hold of any split and any cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from isoloss.lab.corpus.split import WORST, choose_validation
from isoloss.lab.corpus.text_files import cut

SIZES = st.dictionaries(
    st.text(min_size=1, max_size=8), st.integers(1, 5_000), min_size=1, max_size=60
)
FRACTIONS = st.floats(0.01, 0.5)


@given(sizes=SIZES, fraction=FRACTIONS, order=st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_split_is_near_its_target_and_blind_to_order(
    sizes: dict[str, int], fraction: float, order: object
) -> None:
    chosen = choose_validation(sizes, fraction)
    shuffled = list(sizes.items())
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose_validation(dict(shuffled), fraction) == chosen
    if chosen is not None:
        target = fraction * sum(sizes.values())
        held = sum(sizes[unit] for unit in chosen)
        assert chosen <= set(sizes)
        assert target / WORST <= held <= target * WORST or len(chosen) == 1
        assert held <= target * WORST


@given(count=st.integers(200, 2_000), fraction=st.floats(0.02, 0.2))
@settings(max_examples=30, deadline=None)
def test_many_small_units_meet_the_target(count: int, fraction: float) -> None:
    sizes = {f"unit {i}": 100 + i % 7 for i in range(count)}
    chosen = choose_validation(sizes, fraction)
    assert chosen is not None
    held = sum(sizes[unit] for unit in chosen)
    target = fraction * sum(sizes.values())
    assert abs(held - target) <= max(0.021 * target, 106)


@given(
    text=st.text(alphabet="ab \n", max_size=300) | st.text(max_size=300),
    longest=st.integers(2, 80),
)
@settings(max_examples=300, deadline=None)
def test_a_cut_loses_only_white_space(text: str, longest: int) -> None:
    pieces = list(cut(text, longest))
    assert all(0 < len(piece) <= longest for piece in pieces)
    assert "".join("".join(piece.split()) for piece in pieces) == "".join(text.split())
