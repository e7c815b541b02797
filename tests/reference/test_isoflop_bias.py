"""The bias of approach 2 is that of Czech et al. 2026, by their table of D* errors, and goes."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import correct_isoflop, fit, isoflop, power_trend
from isoloss.fitting.isoflop import parabola
from isoloss.laws import Chinchilla, KaplanND, allocate
from isoloss.runs import Runs

SURFACES = {
    "symmetric": Chinchilla(1.69, 400.0, 400.0, 0.31, 0.31),
    "chinchilla": Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28),
    "asymmetric": Chinchilla(1.69, 406.4, 410.7, 0.465, 0.155),
}
BUDGETS = np.geomspace(1e17, 1e21, 5)
TARGET = 1e24
WIDTHS = (2.0, 4.0, 8.0, 16.0)
# D* error at 1e24 FLOPs in percent, by how many times too many tokens the sizes are centred on.
CENTRED, OFFSET = np.ones(5), np.full(5, 3.0)
DRIFT = np.geomspace(1.0, 3.0, 5)
TABLE = [
    ("symmetric", CENTRED, (0.0, 0.0, 0.0, 0.0)),
    ("chinchilla", CENTRED, (-0.33, -1.30, -2.90, -5.10)),
    ("asymmetric", CENTRED, (-1.67, -6.50, -13.91, -23.12)),
    ("symmetric", OFFSET, (3.97, 3.47, 2.65, 1.51)),
    ("chinchilla", OFFSET, (7.11, 5.69, 3.38, 0.24)),
    ("asymmetric", OFFSET, (19.22, 14.41, 6.96, -2.42)),
    ("symmetric", DRIFT, (6.07, 5.17, 3.70, 1.69)),
    ("chinchilla", DRIFT, (11.61, 9.83, 6.94, 3.05)),
    ("asymmetric", DRIFT, (34.57, 30.04, 22.97, 14.00)),
]
CELLS = [
    pytest.param(
        name, centres, width, error, id=f"{name}-{centres[0]:g}to{centres[-1]:g}-{width:g}"
    )
    for name, centres, errors in TABLE
    for width, error in zip(WIDTHS, errors, strict=True)
]


def design(law: Chinchilla, centres: np.ndarray, width: float) -> Runs:
    """Fifteen sizes at each budget, centred on `centres` times the best tokens."""
    n = np.concatenate(
        [
            allocate(law, c).n / centre * np.geomspace(1 / width, width, 15)
            for c, centre in zip(BUDGETS, centres, strict=True)
        ]
    )
    d = np.repeat(BUDGETS, 15) / (6 * n)
    return Runs(n=n, d=d, loss=law(n, d))


def percent(trend, law) -> float:
    return 100 * float(trend(TARGET) / allocate(law, TARGET).d - 1)


@pytest.mark.parametrize(("name", "centres", "width", "error"), CELLS)
def test_the_parabola_makes_the_errors_that_czech_prints(name, centres, width, error) -> None:
    law = SURFACES[name]
    runs = design(law, centres, width)
    vertices = []
    for rows in np.arange(len(runs)).reshape(5, 15):
        _, p1, p2 = parabola(np.log(runs.d[rows]), runs.loss[rows])
        vertices.append(np.exp(-p1 / (2 * p2)))
    assert percent(power_trend(BUDGETS, vertices), law) == pytest.approx(error, abs=0.0051)


@pytest.mark.parametrize(("name", "centres", "width", "error"), CELLS)
def test_without_noise_the_correction_leaves_nothing(name, centres, width, error) -> None:
    law = SURFACES[name]
    runs = design(law, centres, width)
    found = isoflop(runs)
    if width == 2.0 and centres[-1] == 3.0:
        # Sizes within a factor of two, centred a factor of three off, do not hold the minimum.
        assert Status.EDGE_BUDGET in found.status
        return
    assert percent(found.d_trend, law) == pytest.approx(error, abs=0.0051)
    corrected = correct_isoflop(found, runs)
    assert abs(percent(corrected.d_trend, law)) < max(1e-5, 0.001 * abs(error))
    assert corrected.n_trend.exponent == pytest.approx(law.beta / (law.alpha + law.beta), abs=1e-8)
    n_bias, d_bias = corrected.bias(TARGET)
    assert 100 * d_bias == pytest.approx(error, abs=0.0051)
    assert (1 + n_bias) * (1 + d_bias) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "centres", "width"),
    [
        ("asymmetric", DRIFT, 8.0),
        pytest.param("asymmetric", CENTRED, 8.0, marks=pytest.mark.full),
        pytest.param("chinchilla", DRIFT, 4.0, marks=pytest.mark.full),
    ],
)
def test_with_noise_the_correction_removes_nine_tenths_of_the_bias(name, centres, width) -> None:
    """The law that shows the bias is fitted to the same noisy runs; 0.1 % noise, 16 studies.

    The noise itself moves both answers alike, so what is compared is how far each lies from the
    same noisy answer's unbiased value: the corrected trend over the raw one is the bias removed.
    """
    law = SURFACES[name]
    runs = design(law, centres, width)
    exact = np.log(isoflop(runs).d_trend(TARGET) / allocate(law, TARGET).d)
    removed = []
    for seed in range(16):
        noise = np.random.default_rng(seed).standard_normal(len(runs))
        noisy = runs.replace(loss=runs.loss * np.exp(0.001 * noise))
        found = isoflop(noisy)
        corrected = correct_isoflop(found, noisy)
        removed.append(np.log(found.d_trend(TARGET) / corrected.d_trend(TARGET)))
    assert np.mean(removed) == pytest.approx(exact, rel=0.1)


def test_a_correction_by_a_law_of_the_wrong_form_is_only_as_good_as_the_law() -> None:
    """Kaplan's law, corrected with Chinchilla's form: half the bias goes where sizes are centred.

    Where they are not, the wrong form makes it worse, and with it budgets that lose their vertex
    say so: the page of the method warns of it.
    """
    law = KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103)
    true = np.array([allocate(law, c).d for c in BUDGETS])
    for centres, better in ((CENTRED, True), (OFFSET, False)):
        runs = design(law, centres, 8.0)
        runs = runs.replace(loss=law(runs.n, runs.d))
        found = isoflop(runs)
        corrected = correct_isoflop(found, runs, law=fit(Chinchilla, runs, delta=None))
        raw = np.array([budget.d_opt for budget in found.budgets]) / true - 1
        left = corrected.d_opt / true - 1
        assert np.all(np.abs(raw) > 0.09)
        if better:
            assert np.all(np.abs(left) < 0.65 * np.abs(raw))
            assert corrected.status == ()
        else:
            assert np.isnan(left).any()
            assert Status.FEW_BUDGETS in corrected.status


def test_the_correction_refuses_what_it_cannot_use() -> None:
    runs = design(SURFACES["chinchilla"], CENTRED, 4.0)
    found = isoflop(runs)
    with pytest.raises(InputError, match="other runs"):
        correct_isoflop(found, runs[:20], law=SURFACES["chinchilla"])
    for other in (runs[np.arange(len(runs))[::-1]], runs.replace(n=runs.n * 1.1)):
        with pytest.raises(InputError, match="other runs"):
            correct_isoflop(found, other, law=SURFACES["chinchilla"])
    with pytest.raises(InputError, match="not a function"):
        correct_isoflop(found, runs, law=lambda n, d: n + d)
    one = runs[:15]
    with pytest.raises(UnidentifiedError):
        correct_isoflop(isoflop(one), one)
    given = correct_isoflop(isoflop(one), one, law=SURFACES["chinchilla"])
    assert given.n_trend is None
    assert np.isnan(given.bias(TARGET)).all()
    assert given.n_opt[0] == pytest.approx(allocate(SURFACES["chinchilla"], 1e17).n, rel=1e-6)


def test_sizes_far_from_the_minimum_can_be_left_out() -> None:
    law = SURFACES["asymmetric"]
    runs = design(law, CENTRED, 16.0)
    wide, near = isoflop(runs), isoflop(runs, within=4.5)
    assert all(budget.runs < 15 for budget in near.budgets)
    assert abs(percent(near.d_trend, law)) < 0.5 * abs(percent(wide.d_trend, law))
    assert isoflop(runs, within=1.01).budgets == wide.budgets  # too few sizes: all are kept
    with pytest.raises(InputError, match="factor above 1"):
        isoflop(runs, within=1.0)
