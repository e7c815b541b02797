"""The noise scale of gradients as Adam weighs them, against gradients of single sequences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from isoloss.errors import InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

import _noise_toy as toy  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402

from isoloss.lab.noise_meter import NoiseMeter, Reading  # noqa: E402
from isoloss.noise import effective_small, noise_scale  # noqa: E402

RATE, EPS, BETA = 0.01, 1e-8, 0.95


@pytest.fixture(scope="module")
def rows() -> Tensor:
    return toy.population()


def gradient(model: nn.Module, rows: Tensor) -> Tensor:
    found = torch.autograd.grad(toy.loss_of(model, rows), list(model.parameters()))
    return torch.cat([g.flatten() for g in found])


def trained(rows: Tensor, steps: int = 5) -> tuple[nn.Module, torch.optim.Adam, Tensor]:
    """A model after some steps of Adam, and P, worked out from the gradients of those steps."""
    model = toy.make()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, BETA), eps=EPS)
    square = torch.zeros(sum(p.numel() for p in model.parameters()))
    for step in range(steps):
        model.zero_grad()
        batch = toy.draws(rows, toy.seeded(step), 16)
        square = BETA * square + (1 - BETA) * gradient(model, batch) ** 2
        toy.loss_of(model, batch).backward()
        optimizer.step()
    model.zero_grad()
    return model, optimizer, 1 / ((square / (1 - BETA**steps)).sqrt() + EPS)


def test_norms_are_weighed_by_what_adam_divides_by(rows: Tensor) -> None:
    model, optimizer, weights = trained(rows)
    sizes = [3, 7, 2, 4]
    parts = rows[:16].split(sizes)
    squares = [float((weights * gradient(model, part) ** 2).sum()) for part in parts]
    big = float((weights * gradient(model, rows[:16]) ** 2).sum())
    expected = noise_scale(
        [np.average(squares, weights=sizes)], [big], small=effective_small(sizes), big=16
    )
    with NoiseMeter(model, optimizer=optimizer) as meter:
        found = toy.accumulate(meter, model, iter([list(parts)])).scale
    assert found.g2 == pytest.approx(expected.g2, rel=1e-3)
    assert found.tr_sigma == pytest.approx(expected.tr_sigma * toy.LENGTH, rel=1e-3)


def test_the_interval_holds_the_exact_noise_scale_of_weighed_gradients(rows: Tensor) -> None:
    model, optimizer, weights = trained(rows)
    alone = torch.stack([gradient(model, row[None]) for row in rows]).double()
    mean, weights = alone.mean(dim=0), weights.double()
    tr_sigma = float((weights * (alone - mean).square()).sum(dim=1).mean())
    truth = toy.LENGTH * tr_sigma / float((weights * mean.square()).sum())
    assert abs(truth / toy.exact(model, rows).tokens - 1) > 0.3  # another number than B_simple
    held = []
    for trial in range(12):
        random = toy.seeded(trial)
        with NoiseMeter(model, optimizer=optimizer, level=0.95) as meter:
            batches: Iterator[list[Tensor]] = (
                list(toy.draws(rows, random, 16).split(4)) for _ in range(30)
            )
            one = toy.accumulate(meter, model, batches).scale
        held.append(one.low <= truth <= one.high)
    assert np.mean(held) >= 0.75  # 0.95, less three standard errors of 12 trials


def test_splitting_and_groups_weigh_too(rows: Tensor) -> None:
    model, optimizer, weights = trained(rows)
    with NoiseMeter(model, optimizer=optimizer, groups={"up": model.up.parameters()}) as meter:
        meter.split(
            lambda part: toy.loss_of(model, part), rows[:16], parts=2, tokens_per_sequence=5
        )
        meter.step()
        found = meter.read()
    names = [name for name, p in model.named_parameters() for _ in range(p.numel())]
    inside = torch.tensor([name.startswith("up.") for name in names])
    halves = [gradient(model, half) ** 2 * weights for half in rows[:16].split(8)]
    big = gradient(model, rows[:16]) ** 2 * weights
    for scale, chosen in ((found.scale, inside | True), (found.groups["up"], inside)):
        small = np.mean([float(half[chosen].sum()) for half in halves])
        expected = noise_scale([small], [float(big[chosen].sum())], small=8, big=16)
        assert scale.g2 == pytest.approx(expected.g2, rel=1e-3)


def test_a_common_rate_changes_nothing_and_rates_of_groups_count(rows: Tensor) -> None:
    def measured(*rates: float) -> Reading:
        model = toy.make()
        head = list(model.head.parameters())
        rest = [p for p in model.parameters() if all(p is not q for q in head)]
        optimizer = torch.optim.AdamW([{"params": rest}, {"params": head}])
        toy.loss_of(model, rows).backward()
        optimizer.step()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        toy_groups = {"head": head, "rest": rest}
        with NoiseMeter(model, optimizer=optimizer, groups=toy_groups) as meter:
            return toy.accumulate(meter, model, iter([list(rows[:16].split(4))]))

    alike = measured(0.0, 0.0)  # as at the first step of a warm-up
    assert measured(3e-4, 3e-4) == alike
    halved = measured(1e-3, 5e-4)
    assert halved.groups["rest"] == alike.groups["rest"]
    assert halved.groups["head"].g2 == pytest.approx(0.5 * alike.groups["head"].g2, rel=1e-5)


def test_steps_before_there_is_a_state_are_not_measured(rows: Tensor) -> None:
    model = toy.make()
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    with NoiseMeter(model, optimizer=optimizer) as meter:
        for k in range(3):
            model.zero_grad()
            for part in toy.draws(rows, toy.seeded(k), 16).split(4):
                meter.part(len(part) * toy.LENGTH, len(part))
                (toy.loss_of(model, part) / 4).backward()
            meter.step()
            if not k:
                with pytest.raises(InputError, match="nothing was measured yet"):
                    meter.read()
            optimizer.step()
        assert meter.read().steps == 2


@pytest.mark.full
def test_two_processes_weigh_as_one_does_with_two_parts(rows: Tensor) -> None:
    found = toy.by_torchrun(kinds=["ddp"], trials=1, steps=10, parts=1, adam=True)["ddp"]
    model = toy.make()
    with NoiseMeter(model, optimizer=toy.adam_after(model, rows), level=0.95) as meter:
        random = toy.seeded(0)
        alone = toy.accumulate(
            meter, model, (list(toy.draws(rows, random, 16).split(8)) for _ in range(10))
        ).scale
    expected = [alone.low, alone.b_simple, alone.high]
    assert found["trials"][0] == pytest.approx(expected, rel=1e-3)


def test_what_cannot_be_weighed_is_refused(rows: Tensor) -> None:
    model = toy.make()
    adam = torch.optim.Adam(model.parameters())
    for optimizer, says, options in (
        (torch.optim.SGD(model.parameters()), "is a SGD", {}),
        (torch.optim.Adam(model.up.parameters()), "does not train embedding.weight", {}),
        (adam, "leave one of them out", {"examples": 4}),
    ):
        with pytest.raises(InputError, match=says):
            NoiseMeter(model, optimizer=optimizer, **options)


def test_a_model_that_is_cut_is_refused() -> None:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        model = toy.make()
        fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        with pytest.raises(InputError, match=r"cut \(FSDP\)"):
            NoiseMeter(model, optimizer=torch.optim.Adam(model.parameters()))
    finally:
        torch.distributed.destroy_process_group()
