"""B_noise by Hessian-vector products against the whole Hessian of a small model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from isoloss.errors import InputError, Status

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from noisy_quadratic import quadratic  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.func import functional_call  # noqa: E402

from isoloss.counting import Shape  # noqa: E402
from isoloss.lab.batch_size.hessian import measure_curvature  # noqa: E402
from isoloss.lab.batch_size.task import Examples, Learner, drawn_from  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402

POPULATION = 24


class Small(nn.Module):
    """Two layers, and a weight that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 4), nn.Linear(4, 1)
        self.unused = nn.Parameter(torch.ones(2))
        self.down.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.down(torch.tanh(self.up(x)))
        return made[:, 0]


def losses(model: nn.Module, examples: Examples) -> Tensor:
    x, y = examples
    return 0.5 * (model(x) - y).square()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(3)
    return Small()


@pytest.fixture(scope="module")
def data() -> Examples:
    random = torch.Generator().manual_seed(5)
    x = torch.randn(POPULATION, 3, generator=random) + 0.3
    return x, 3.0 * x[:, 0] - x[:, 1] + 0.5 * torch.randn(POPULATION, generator=random)


def whole(model: nn.Module, data: Examples) -> tuple[Tensor, Tensor]:
    """Gradients by example (examples, q) and the Hessian (q, q), by torch's own functions."""
    own = {name: p.detach().double() for name, p in model.named_parameters() if p.requires_grad}
    rest = {name: p.detach().double() for name, p in model.named_parameters() if name not in own}
    sizes = [p.numel() for p in own.values()]

    def by_example(flat: Tensor) -> Tensor:
        parts = flat.split(sizes)
        found = {n: part.view(p.shape) for (n, p), part in zip(own.items(), parts, strict=True)}
        x, y = (one.double() for one in data)
        return 0.5 * (functional_call(model, found | rest, (x,)) - y).square()

    at = torch.cat([p.flatten() for p in own.values()])
    gradients = torch.autograd.functional.jacobian(by_example, at)
    hessian = torch.autograd.functional.hessian(lambda w: by_example(w).mean(), at)
    return gradients, hessian


def truth(gradients: Tensor, hessian: Tensor) -> tuple[float, float, float]:
    """G'HG, tr(H Sigma) and |G|^2."""
    mean = gradients.mean(dim=0)
    apart = gradients - mean
    tr = torch.einsum("ni,ij,nj->n", apart, hessian, apart).mean()
    return float(mean @ hessian @ mean), float(tr), float(mean @ mean)


def drawing(data: Examples, seed: int) -> Callable[[int], Examples]:
    return drawn_from(*data)(nn.Module(), seed)


def test_with_all_examples_in_each_batch_there_is_no_noise(
    model: nn.Module, data: Examples
) -> None:
    found = measure_curvature(model, losses, lambda _: data, batch=POPULATION, repeats=2)
    ghg, _, g2 = truth(*whole(model, data))
    assert found.noise.ghg == pytest.approx(ghg, rel=1e-4)
    assert found.simple.g2 == pytest.approx(g2, rel=1e-4)
    assert found.noise.tr_h_sigma == pytest.approx(0.0, abs=1e-4 * ghg)
    assert found.eps_max == pytest.approx(g2 / ghg, rel=1e-4)
    assert found.gain_max == pytest.approx(0.5 * g2**2 / ghg, rel=1e-4)
    assert found.noise.b_noise == pytest.approx(0.0, abs=1e-3)
    assert all(p.grad is None for p in model.parameters())


def test_the_interval_holds_what_the_whole_hessian_says(model: nn.Module, data: Examples) -> None:
    ghg, tr, g2 = truth(*whole(model, data))
    gradients, _ = whole(model, data)
    sigma = float((gradients - gradients.mean(dim=0)).square().sum(dim=1).mean())
    noise, simple = [], []
    for trial in range(14):
        found = measure_curvature(
            model, losses, drawing(data, trial), batch=8, repeats=24, level=0.95
        )
        noise.append(found.noise.low <= tr / ghg <= found.noise.high)
        simple.append(found.simple.low <= sigma / g2 <= found.simple.high)
    assert abs(tr / ghg / (sigma / g2) - 1) > 0.2  # two numbers, not one
    assert min(np.mean(noise), np.mean(simple)) >= 0.77  # 0.95, less three standard errors


def test_a_large_measurement_comes_near_the_truth(model: nn.Module, data: Examples) -> None:
    ghg, tr, _ = truth(*whole(model, data))
    found = measure_curvature(model, losses, drawing(data, 9), batch=64, repeats=150).noise
    assert found.b_noise == pytest.approx(tr / ghg, rel=0.25)
    assert found.low < tr / ghg < found.high
    assert not found.status


def test_steps_of_adam_are_weighed_on_both_sides_of_the_hessian(data: Examples) -> None:
    torch.manual_seed(3)
    model = Small()
    del model.unused
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    with pytest.raises(InputError, match="has taken no step"):
        measure_curvature(model, losses, drawing(data, 0), batch=4, repeats=2, optimizer=optimizer)
    losses(model, data).mean().backward()
    optimizer.step()
    p = torch.cat(
        [1 / (q.grad.abs() + 1e-8).flatten() for q in model.parameters() if q.grad is not None]
    )
    gradients, hessian = whole(model, data)
    weighed, mean = gradients * p.double(), gradients.mean(dim=0)
    ghg, tr, _ = truth(weighed, hessian)
    exact = measure_curvature(
        model, losses, lambda _: data, batch=POPULATION, repeats=1, optimizer=optimizer
    )
    assert exact.noise.ghg == pytest.approx(ghg, rel=1e-3)
    assert exact.simple.g2 == pytest.approx(float(mean @ (p.double() * mean)), rel=1e-3)
    found = measure_curvature(
        model, losses, drawing(data, 1), batch=64, repeats=60, optimizer=optimizer
    )
    assert found.noise.tr_h_sigma == pytest.approx(tr, rel=0.3)
    model.down.bias.requires_grad_(True)  # thawed: one parameter of five has no state
    optimizer.add_param_group({"params": [model.down.bias]})
    with pytest.raises(InputError, match=r"no step with down\.bias"):
        measure_curvature(model, losses, drawing(data, 0), batch=4, repeats=1, optimizer=optimizer)


@pytest.mark.parametrize("options", [{}, {"n_kv_heads": 1}])
def test_a_transformer_s_attention_is_gone_back_through_twice(options: dict[str, int]) -> None:
    torch.manual_seed(0)
    shape = Shape(n_layer=1, d_model=8, n_heads=2, vocab=11, n_ctx=12, **options)
    model = make_model(shape).double()
    layers = [module for module in model.modules() if hasattr(module, "blocked")]
    for layer in layers:
        layer.blocked = not options  # blocks know no shared heads
    ids = torch.randint(11, (6, 13))

    def by_text(model: nn.Module, examples: Examples) -> Tensor:
        (rows,) = examples
        made: Tensor = model.loss(rows[:, :-1], rows[:, 1:], "none")
        return made.view(len(rows), -1).mean(dim=1)

    def gradient() -> list[Tensor]:
        return list(torch.autograd.grad(by_text(model, (ids,)).mean(), list(model.parameters())))

    found = measure_curvature(model, by_text, lambda _: (ids,), batch=6, repeats=1).noise.ghg
    assert layers
    assert all(layer.blocked == (not options) for layer in layers)  # as it was
    start, step = gradient(), 1e-4
    ends = []
    for sign in (1, -2):
        with torch.no_grad():
            for p, g in zip(model.parameters(), start, strict=True):
                p += sign * step * g
        ends.append(gradient())
    slope = sum(
        float(((a - b) / (2 * step) * g).sum()) for a, b, g in zip(*ends, start, strict=True)
    )
    assert found == pytest.approx(slope, rel=1e-3)


def test_a_noisy_quadratic_has_its_known_noise_scales() -> None:
    bends, start = [1.0, 4.0, 0.5], [2.0, 1.0, -3.0]
    learner = Learner(quadratic(bends, start, 3.0, rate=0.1), seed=1)
    found = measure_curvature(
        learner.model, learner.task.losses, learner.draw, batch=32, repeats=600
    )
    h, w = np.array(bends), np.array(start)
    assert found.noise.b_noise == pytest.approx(9 * h.sum() / (h**3 * w**2).sum(), rel=0.15)
    assert found.simple.b_simple == pytest.approx(27 / (h**2 * w**2).sum(), rel=0.15)
    assert found.eps_max == pytest.approx((h**2 * w**2).sum() / (h**3 * w**2).sum(), rel=0.1)


def test_where_the_loss_curves_down_nothing_is_measurable() -> None:
    learner = Learner(quadratic([-1.0, 0.1], [2.0, 1.0], 0.5, rate=0.1), seed=1)
    found = measure_curvature(learner.model, learner.task.losses, learner.draw, batch=8, repeats=20)
    assert math.isnan(found.noise.b_noise)
    assert math.isnan(found.eps_max)
    assert math.isnan(found.gain_max)
    assert Status.NOT_MEASURABLE in found.noise.status


def test_a_plane_has_no_curvature_and_wrong_calls_one_line(data: Examples) -> None:
    torch.manual_seed(0)
    line = nn.Linear(3, 1)

    def tilt(model: nn.Module, examples: Examples) -> Tensor:
        made: Tensor = model(examples[0])
        return made[:, 0]

    assert measure_curvature(line, tilt, drawing(data, 0), batch=4, repeats=2).noise.ghg == 0.0
    with pytest.raises(InputError, match="whole numbers from 1"):
        measure_curvature(line, tilt, drawing(data, 0), batch=4, repeats=0)
