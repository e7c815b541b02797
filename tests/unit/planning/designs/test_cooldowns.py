"""What a trunk with cool-downs saves, by hand and as Hagele et al. state it."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.planning.designs.cooldowns import sweep_cost

# Table A9 of Hoffmann et al. 2022: millions of parameters.
SIZES = (
    *(44, 57, 74, 90, 106, 117, 140, 163, 175, 196, 217, 251, 278, 306, 425, 489, 509, 552, 587),
    *(632, 664, 724, 816, 893, 1018, 1143, 1266, 1424, 1429, 1593, 1609, 1731, 1794, 2007, 2283),
    *(2298, 2639, 2980, 3530, 3802, 4084, 4516, 6796, 9293, 11452, 12295, 12569, 13735, 14940),
    16183,
)


def test_by_hand() -> None:
    """Trunks of 0.9 times 50 and 8, and a tenth of every run."""
    found = sweep_cost([2.0, 30.0], [[10.0, 20.0, 50.0], [8.0]], cooldown=0.1)
    assert found.independent == pytest.approx(6 * (2 * 80 + 30 * 8))
    assert found.shared == pytest.approx(6 * (2 * (45 + 8) + 30 * 8))
    assert found.ratio == pytest.approx(found.shared / found.independent)
    dear = sweep_cost([2.0, 30.0], [[10.0, 20.0, 50.0], [8.0]], cooldown=0.1, cost=np.sqrt)
    assert dear.shared == pytest.approx(2**0.5 * 53 + 30**0.5 * 8)
    assert sweep_cost(5.0, [50.0, 10.0, 20.0]).shared == pytest.approx(30 * (40 + 16))
    assert sweep_cost(5.0, [10.0, 20.0], cooldown=1.0).ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("thousand_steps", "ratio"),
    [
        ((2.4, 5.6, 8), 0.6),
        ((3, 6, 9), 0.6),
        ((6, 10, 14), 0.5733),
        ((8, 14, 20), 0.5810),
        ((12, 20, 28), 0.5733),
        ((20, 30, 40), 0.5556),
        ((30, 40, 50), 0.5333),
    ],
)
def test_the_ratios_that_hagele_s_notebook_prints(thousand_steps, ratio) -> None:  # type: ignore[no-untyped-def]
    """Sizes of 33 M to 360 M, three lengths each, a fifth of each run cooling."""
    found = sweep_cost(1e8, np.array(thousand_steps) * 1e3 / 0.8 * 200 * 512)
    assert found.ratio == pytest.approx(ratio, abs=5e-5)


def test_their_estimate_for_chinchilla_s_sizes() -> None:
    """5.59e23 to 2.36e23 FLOPs with a tenth cooling: their ratio, and within 3 % of both.

    The tokens per parameter are inferred from that ratio: we have not read them in the paper.
    """
    n = np.array(SIZES) * 1e6
    assert len(n) == 50
    found = sweep_cost(n, np.outer(n, [10, 15, 20, 25]), cooldown=0.1)
    assert found.ratio == pytest.approx(2.36 / 5.59, abs=1e-3)
    assert found.independent == pytest.approx(5.59e23, rel=0.03)
    assert found.shared == pytest.approx(2.36e23, rel=0.03)


def test_nonsense_is_refused() -> None:
    for wrong in (0.0, -0.1, 1.5):
        with pytest.raises(InputError, match="cooldown is"):
            sweep_cost(1e8, [1e9, 2e9], cooldown=wrong)
    with pytest.raises(InputError, match="2 sizes and tokens for 3"):
        sweep_cost([1e8, 2e8], [[1e9], [2e9], [3e9]])
    with pytest.raises(InputError, match="no token counts"):
        sweep_cost([1e8, 2e8], [[1e9], []])
    with pytest.raises(InputError, match="tokens must be positive"):
        sweep_cost(1e8, [0.0, 1e9])
    with pytest.raises(InputError, match="n must be positive"):
        sweep_cost(-1e8, [1e9])
