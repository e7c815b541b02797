"""What the solver derives from a formula: scaling, Jacobian, exact weights; and new laws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from isoloss.fitting import fit
from isoloss.fitting.design import Design
from isoloss.fitting.polish import huber, polish
from isoloss.fitting.projection import nonnegative, starts
from isoloss.laws.forms import (
    Array,
    Chinchilla,
    Coefficient,
    KaplanND,
    Law,
    PowerLaw,
    SaturatingPowerLaw,
    log,
)
from isoloss.runs import Runs

RANDOM = np.random.default_rng(5)
N = np.exp(RANDOM.uniform(14, 21, 17))
D = np.exp(RANDOM.uniform(16, 24, 17))
LOSS = 1.6 + 300 / N**0.31 + 700 / D**0.35 + 0.02 * RANDOM.standard_normal(17)


@dataclass(frozen=True)
class Tied(Law):
    """A law of one exponent: loss = E + A / n ** alpha + B / d ** alpha."""

    E: Coefficient
    A: Coefficient
    B: Coefficient
    alpha: Coefficient

    variables = ("n", "d")
    scales = ("E", "A", "B")
    exponents: ClassVar = {"alpha": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d = logs
        return log(self.E), log(self.A) - self.alpha * log_n, log(self.B) - self.alpha * log_d


@dataclass(frozen=True)
class Shifted(Law):
    """A power law that also levels off at small x: loss = E + A / (x + g) ** alpha."""

    E: Coefficient
    A: Coefficient
    alpha: Coefficient
    g: Coefficient

    variables = ("x",)
    scales = ("E", "A")
    exponents: ClassVar = {"alpha": (1e-2, 5.0), "g": (1e4, 1e9)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        return log(self.E), log(self.A) - self.alpha * log(np.exp(logs[0]) + self.g)


CASES = [
    (Chinchilla, {}, [0.6, 0.2, 0.25, 0.3, 0.4]),
    (Chinchilla, {"E": 0.0}, [0.4, 0.5, 0.3, 0.35]),
    (Chinchilla, {"alpha": 0.3, "B": 640.0}, [0.5, 0.3, 0.33]),
    (KaplanND, {}, [0.5, 0.4, 0.08, 0.11]),
    (KaplanND, {"Nc": 3e12}, [0.4, 0.08, 0.11]),
    (KaplanND, {"alpha_d": 0.12}, [0.4, 0.5, 0.08]),
    (PowerLaw, {}, [0.9, 0.07]),
    (PowerLaw, {"xc": 1e13}, [0.07]),
    (SaturatingPowerLaw, {}, [0.6, 0.3, 0.3]),
    (Tied, {}, [0.5, 0.3, 0.2, 0.3]),
    (Shifted, {}, [0.5, 0.4, 0.3, 3e6]),
]


def lay(form: type[Law], fixed: dict[str, float], residual: str = "log") -> Design:
    variables = (N, D) if len(form.variables) == 2 else (N,)
    return Design.over(form, variables, LOSS, residual, fixed)


@pytest.mark.parametrize(("form", "fixed", "at"), CASES)
@pytest.mark.parametrize("residual", ["log", "linear"])
def test_residuals_are_those_of_the_law(form, fixed, at, residual) -> None:
    design = lay(form, fixed, residual)
    coordinates = np.array([at, 1.01 * np.array(at)])
    residuals, _ = design.evaluate(coordinates, design.log_loss[None])
    variables = (N, D) if len(form.variables) == 2 else (N,)
    predicted = design.law(coordinates).column()(*variables)
    expected = np.log(predicted / LOSS) if residual == "log" else predicted - LOSS
    assert residuals == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("form", "fixed", "at"), CASES)
@pytest.mark.parametrize("residual", ["log", "linear"])
def test_the_jacobian_is_the_slope_of_the_residuals(form, fixed, at, residual) -> None:
    design = lay(form, fixed, residual)
    target = design.log_loss[None]
    _, jacobian = design.evaluate(np.array([at]), target)
    for i, value in enumerate(at):
        step = 1e-6 * value
        above, below = np.array([at]), np.array([at])
        above[0, i] += step
        below[0, i] -= step
        slope = (design.evaluate(above, target)[0] - design.evaluate(below, target)[0]) / (2 * step)
        assert jacobian[0, i] == pytest.approx(
            slope[0], rel=1e-6, abs=1e-7 * np.abs(slope).max() + 1e-14
        )


def test_a_law_of_straight_terms_and_one_that_is_not_agree_with_the_complex_step() -> None:
    for form, at in ((Chinchilla, CASES[0][2]), (KaplanND, CASES[3][2])):
        design = lay(form, {})
        theta = np.array([at[len(design.scales) :]])
        _, slopes = design.logarithms(theta)
        for key, slope in design._step(theta).items():
            assert np.broadcast_to(slopes[key], slope.shape) == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize(
    ("form", "law", "x"),
    [
        (Tied, Tied(1.4, 210.0, 950.0, 0.33), None),
        (Shifted, Shifted(1.1, 60.0, 0.29, 2.5e6), "n"),
    ],
)
def test_a_new_law_of_ten_lines_is_fitted_without_fitter_work(form, law, x) -> None:
    loss = law(N, D) if x is None else law(N)
    found = fit(form, Runs(n=N, d=D, loss=loss), x=x).law
    for name, value in law.coefficients().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)


def test_non_negative_least_squares_is_exact() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(3)
    columns = random.standard_normal((200, 12, 3)) + 0.3
    target = random.standard_normal((200, 12)) + 0.2
    gram = columns.transpose(0, 2, 1) @ columns
    found = nonnegative(gram, (columns.transpose(0, 2, 1) @ target[:, :, None])[:, :, 0])
    for i in range(200):
        assert found[i] == pytest.approx(optimize.nnls(columns[i], target[i])[0], abs=1e-9)
    assert ((found == 0).sum(axis=1) > 0).any()
    assert ((found > 0).all(axis=1)).any()


def test_every_start_leads_to_the_same_optimum() -> None:
    design = lay(Chinchilla, {})
    begun = starts(design, np.ones(17), 1e-3)
    ended = polish(design, begun, design.log_loss, np.ones(17), 1e-3)
    assert len(begun) > 10
    assert ended.converged.all()
    assert ended.objectives == pytest.approx(ended.objectives.min(), rel=1e-9)


def test_huber_joins_its_branches() -> None:
    delta = 0.01
    assert huber(np.array([delta]), delta) == pytest.approx(0.5 * delta**2)
    assert huber(np.array([-0.03]), delta) == pytest.approx(delta * (0.03 - 0.5 * delta))
    assert huber(np.array([0.2]), None) == pytest.approx(0.02)


def test_no_start_however_wild_overflows() -> None:
    design = Design.over(Chinchilla, (np.array([1e3, 1e9, 1e15]), D[:3]), LOSS[:3], "log", {})
    wild = np.array([[0.0, 0.0, 0.0, 5.0, 5.0], [1e60, 1e60, 1e60, 5.0, 0.01], [1, 1, 1, 5, 5]])
    residuals, jacobian = design.evaluate(wild, design.log_loss[None])
    assert np.isfinite(residuals).all()
    assert np.isfinite(jacobian).all()
