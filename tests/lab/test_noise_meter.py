"""The noise meter against gradients of single sequences, in every way it has of measuring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

import _noise_toy as toy  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from isoloss.lab.noise_meter import NoiseMeter, NoiseWarning, Reading  # noqa: E402
from isoloss.lab.noise_meter.parameters import Parameters  # noqa: E402
from isoloss.lab.noise_meter.seen import SeenGradients  # noqa: E402
from isoloss.noise import effective_small, noise_scale  # noqa: E402

MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tied": True},
    "rms": {"rms": True},
    "used again": {"again": 3},
    "tied and used again": {"tied": True, "again": 2},
}


@pytest.fixture(scope="module")
def rows() -> Tensor:
    return toy.population()


def gradient(model: nn.Module, rows: Tensor) -> Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(toy.loss_of(model, rows), trained, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def squared(model: nn.Module, rows: Tensor) -> float:
    return float(gradient(model, rows).square().sum())


def one_step(model: nn.Module, *parts: Tensor, **options: Any) -> Reading:
    """One step of parts, weighed by their rows."""
    with NoiseMeter(model, **options) as meter:
        return toy.accumulate(meter, model, iter([list(parts)]))


def told(reading: Reading) -> tuple[float, float]:
    """|G|^2 and tr(Sigma) of a sequence."""
    return reading.scale.g2, reading.scale.tr_sigma / toy.LENGTH


# The norms themselves ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_parts_have_the_norms_of_their_own_gradients(name: str, rows: Tensor) -> None:
    model = toy.make(**MODELS[name])
    sizes = [3, 7, 2, 4]
    parts = rows[:16].split(sizes)
    small = sum(squared(model, part) * len(part) / 16 for part in parts)
    expected = noise_scale(
        [small], [squared(model, rows[:16])], small=effective_small(sizes), big=16
    )
    found = told(one_step(model, *parts))
    assert found == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)


@pytest.mark.parametrize("count", [16, 5])
@pytest.mark.parametrize("name", MODELS)
def test_examples_have_the_norms_of_their_own_gradients(
    name: str, count: int, rows: Tensor
) -> None:
    model = toy.make(**MODELS[name])
    alone = np.mean([squared(model, row[None]) for row in rows[:count]])
    expected = noise_scale([alone], [squared(model, rows[:16])], small=1, big=16)
    with NoiseMeter(model, examples=count) as meter:
        for _ in range(2):  # the first part is measured in another way than those after it
            found = told(toy.accumulate(meter, model, iter([[rows[:16]]])))
            assert found == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)


def test_examples_of_unequal_parts_count_by_their_parts(rows: Tensor) -> None:
    model = toy.make()
    parts = rows[:16].split([12, 4])
    alone = [np.mean([squared(model, row[None]) for row in part[:3]]) for part in parts]
    small = float(np.average(alone, weights=[12, 4]))
    expected = noise_scale([small], [squared(model, rows[:16])], small=1, big=16)
    found = told(one_step(model, *parts, examples=3))
    assert found == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)


def test_long_texts_are_measured_by_the_cheaper_of_two_formulas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from isoloss.lab.noise_meter import layers
    from isoloss.lab.noise_meter.layers import Use, squared_norms

    grams, gram = [], layers._gram
    monkeypatch.setattr(layers, "_gram", lambda x: grams.append(len(x)) or gram(x))
    for t, expected_grams in ((2, 2), (40, 2)):  # by Gram matrices, and by the gradients themselves
        a, e = torch.randn(3, t, 8), torch.randn(3, t, 12)
        expected = torch.einsum("bti,bto->boi", a, e).square().sum(dim=(1, 2))
        assert torch.allclose(squared_norms([Use(a, e)], []), expected, rtol=1e-4)
        assert len(grams) == expected_grams


def test_parts_that_weigh_alike_whatever_their_size(rows: Tensor) -> None:
    model = toy.make()
    parts = rows[:16].split([12, 4])
    with NoiseMeter(model, weights="equal") as meter:
        for part in parts:
            meter.part(len(part) * toy.LENGTH, len(part))
            (toy.loss_of(model, part) / 2).backward()
        meter.step()
        found = told(meter.read())
    small = sum(squared(model, part) for part in parts) / 2
    big = float(sum(gradient(model, part) / 2 for part in parts).square().sum())  # type: ignore[union-attr]
    expected = noise_scale(
        [small], [big], small=1 / (0.5 / 12 + 0.5 / 4), big=1 / (0.25 / 12 + 0.25 / 4)
    )
    assert found == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)


def test_groups_are_measured_apart_and_add_up(rows: Tensor) -> None:
    model = toy.make()
    groups = {
        "ends": [model.embedding.weight, *model.head.parameters()],
        "up": model.up.parameters(),
    }
    with NoiseMeter(model, groups=groups, level=0.999) as meter:
        found = toy.accumulate(
            meter, model, (list(toy.draws(rows, g, 32).split(4)) for g in [toy.seeded(1)] * 200)
        )
    for name, members in (
        ("up", ["up.weight", "up.bias"]),
        ("ends", ["embedding.weight", "head.weight", "head.bias"]),
    ):
        truth = toy.exact(model, rows, *members)
        assert found.groups[name].low < truth.tokens < found.groups[name].high
    rest = found.scale.g2 - sum(one.g2 for one in found.groups.values())
    truth = toy.exact(model, rows, "norm.weight", "norm.bias", "down.weight")
    assert rest == pytest.approx(truth.g2, rel=0.3)


# The interval -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", toy.WAYS)
def test_the_interval_holds_the_exact_noise_scale(way: str, rows: Tensor) -> None:
    held = toy.coverage(toy.WAYS[way], rows, trials=25)
    assert held >= 0.82  # 0.95, less three standard errors of 25 trials; all 300 by make validate


# Several processes ------------------------------------------------------------------------------


@pytest.mark.full
def test_two_processes_measure_what_one_does_with_two_parts(rows: Tensor) -> None:
    found = toy.by_torchrun(kinds=["ddp", "fsdp"], trials=1, steps=10, parts=1)
    model = toy.make()
    with NoiseMeter(model, groups={"up": model.up.parameters()}, level=0.95) as meter:
        alone = toy.accumulate(
            meter, model, (list(toy.draws(rows, g, 16).split(8)) for g in [toy.seeded(0)] * 10)
        )
    for kind in ("ddp", "fsdp"):
        (trial,), first = found[kind]["trials"], found[kind]["first"]
        expected = [alone.scale.low, alone.scale.b_simple, alone.scale.high]
        assert trial == pytest.approx(expected, rel=1e-3)
        for name, scale in (("all", alone.scale), ("up", alone.groups["up"])):
            assert first[name] == pytest.approx([scale.g2, scale.tr_sigma], rel=1e-3)


@pytest.mark.full
@pytest.mark.parametrize("parts", [1, 2])
def test_the_interval_of_two_processes_holds_the_exact_noise_scale(
    parts: int, rows: Tensor
) -> None:
    truth = toy.exact(toy.make(), rows).tokens
    found = toy.by_torchrun(kinds=["ddp", "fsdp"], trials=20, steps=30, parts=parts)
    for kind in ("ddp", "fsdp"):
        held = [low <= truth <= high for low, _, high in found[kind]["trials"]]
        assert np.mean(held) >= 0.8  # 0.95, less three standard errors of 20 trials


@pytest.mark.full
def test_two_processes_measure_examples_too(rows: Tensor) -> None:
    found = toy.by_torchrun(kinds=["ddp", "fsdp"], trials=1, steps=20, parts=1, examples=8)
    model = toy.make()
    with NoiseMeter(model, examples=8) as meter:
        alone = toy.accumulate(
            meter, model, (list(toy.draws(rows, g, 16).split(8)) for g in [toy.seeded(0)] * 20)
        )
    for kind in ("ddp", "fsdp"):
        expected = [alone.scale.g2, alone.scale.tr_sigma]
        assert found[kind]["first"]["all"] == pytest.approx(expected, rel=1e-3)


# What training loops do -------------------------------------------------------------------------


def test_frozen_and_unused_parameters_are_not_part_of_it(rows: Tensor) -> None:
    plain, frozen = toy.make(), toy.make()
    frozen.up.requires_grad_(False)
    frozen.unused = nn.Linear(3, 3)
    parts = rows[:16].split(4)
    small = sum(squared(frozen, part) for part in parts) / 4
    expected = noise_scale([small], [squared(frozen, rows[:16])], small=4, big=16)
    found = told(one_step(frozen, *parts))
    assert found == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)
    assert found[0] < told(one_step(plain, *parts))[0]


def test_a_parameter_that_thaws_later_is_refused(rows: Tensor) -> None:
    model = toy.make()
    model.up.requires_grad_(False)
    with NoiseMeter(model) as meter:
        model.up.requires_grad_(True)
        with pytest.raises(InputError, match=r"was frozen.*make the meter anew"):
            toy.accumulate(meter, model, iter([list(rows[:8].split(4))]))


def test_clipping_after_the_step_changes_nothing(rows: Tensor) -> None:
    model, clipped = toy.make(), toy.make()
    with NoiseMeter(model) as one, NoiseMeter(clipped) as other:
        for start in range(0, 48, 16):
            for m, meter in ((model, one), (clipped, other)):
                toy.accumulate(meter, m, iter([list(rows[start : start + 16].split(4))]))
            nn.utils.clip_grad_norm_(clipped.parameters(), 1e-3)
        assert one.read() == other.read()


@pytest.mark.parametrize("unscaled", [False, True])
def test_a_loss_that_was_scaled_is_scaled_back(unscaled: bool, rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        for part in rows[:16].split(4):
            meter.part(len(part) * toy.LENGTH, len(part))
            (toy.loss_of(model, part) / 4 * 1024.0).backward()
        for parameter in model.parameters() if unscaled else ():
            assert parameter.grad is not None
            parameter.grad /= 1024.0
        meter.step(scale=1024.0, unscaled=unscaled)
        found = told(meter.read())
    assert found == pytest.approx(told(one_step(toy.make(), *rows[:16].split(4))), rel=1e-4)


def test_gradients_that_are_not_finite_are_left_out(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        for step in range(12):
            model.zero_grad()
            for part in toy.draws(rows, toy.seeded(step), 16).split(4):
                meter.part(len(part) * toy.LENGTH, len(part))
                loss = toy.loss_of(model, part) / 4
                (loss * (float("inf") if step == 5 else 1.0)).backward()
            meter.step()
        found = meter.read()
    assert (found.steps, found.scale.steps) == (12, 11)
    assert np.isfinite(found.scale.b_simple)


def test_16_bits_give_the_noise_scale_of_32(rows: Tensor) -> None:
    def measured(narrow: bool, **options: Any) -> Reading:
        model = toy.make()
        with NoiseMeter(model, **options) as meter, torch.autocast("cpu", torch.bfloat16, narrow):
            return toy.accumulate(
                meter, model, (list(toy.draws(rows, toy.seeded(k), 16).split(4)) for k in range(40))
            )

    for options in ({}, {"examples": 4}):
        narrow, wide = (measured(bits, **options).scale for bits in (True, False))
        assert narrow.b_simple == pytest.approx(wide.b_simple, rel=0.02)
        assert narrow != wide


def test_checkpointed_layers_are_seen_once(rows: Tensor) -> None:
    class Checkpointed(toy.Toy):
        def forward(self, ids: Tensor) -> Tensor:
            x = self.embedding(ids)
            x = x + checkpoint(
                lambda x: self.down(torch.tanh(self.up(self.norm(x)))), x, use_reentrant=False
            )
            logits: Tensor = self.head(x)
            return logits

    torch.manual_seed(0)
    model = Checkpointed()
    for options in ({}, {"examples": 4}):
        with NoiseMeter(model, **options) as meter:
            for _ in range(2):
                found = told(toy.accumulate(meter, model, iter([list(rows[:16].split(8))])))
        plain = told(one_step(toy.make(), *rows[:16].split(8), **options))
        assert found == pytest.approx(plain, rel=1e-4)


class Positions(toy.Toy):
    """Adds what every sequence shares, which has no gradient of its own for each."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(toy.LENGTH, toy.WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) + self.head(self.positions(torch.arange(ids.shape[1])))


@pytest.mark.parametrize("options", [{}, {"examples": 4}])
def test_an_update_that_is_left_out_changes_nothing(options: dict[str, Any], rows: Tensor) -> None:
    model = toy.make()
    batches = [list(toy.draws(rows, toy.seeded(k), 16).split(4)) for k in range(12)]
    with NoiseMeter(model, **options) as meter:
        expected = toy.accumulate(meter, model, iter(batches))
    with NoiseMeter(model, **options) as meter:
        for start in (0, 6):
            meter.part(4 * toy.LENGTH, 4)
            toy.loss_of(model, rows[:4]).backward()
            meter.skip()
            found = toy.accumulate(meter, model, iter(batches[start : start + 6]))
    assert (found.steps, found.scale) == (14, expected.scale)
    assert found.tokens_per_sequence == toy.LENGTH


def test_what_examples_cannot_see_is_left_out_and_named(rows: Tensor) -> None:
    torch.manual_seed(0)
    model = Positions()
    with (
        pytest.warns(NoiseWarning, match=r"head\.bias, head\.weight, positions\.weight"),
        NoiseMeter(model, examples=48) as meter,
    ):
        found = toy.accumulate(meter, model, iter([[rows]] * 2))
    seen = [n for n, _ in model.named_parameters() if not n.startswith(("head", "positions"))]
    truth = toy.exact(model, rows, *seen)
    # Of all the population: the big norm is |G|^2 itself, and the small |G|^2 + tr(Sigma).
    small, big = truth.g2 + truth.tr_sigma, truth.g2
    expected = noise_scale([small], [big], small=1, big=48)
    assert told(found) == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)


def test_examples_of_a_model_that_is_hardly_seen_are_refused(rows: Tensor) -> None:
    class Functional(toy.Toy):
        def forward(self, ids: Tensor) -> Tensor:
            return nn.functional.linear(self.embedding(ids), self.head.weight)

    torch.manual_seed(0)
    model = Functional()
    model.embedding.requires_grad_(False)
    with (
        NoiseMeter(model, examples=4) as meter,
        pytest.raises(InputError, match=r"not known of head\.weight.*split"),
    ):
        toy.accumulate(meter, model, iter([[rows]]))


def test_chunks_of_one_document_are_warned_of(rows: Tensor) -> None:
    with NoiseMeter(toy.make()) as meter:
        meter.part(20, 4, documents=["a", "b", "c", "d"])
        with pytest.warns(NoiseWarning, match="2 of 4 sequences"):
            meter.part(20, 4, documents=["a", "a", "b", "a"])


def test_a_window_forgets_and_a_closed_meter_sees_nothing(rows: Tensor) -> None:
    model = toy.make()
    batches = [list(toy.draws(rows, toy.seeded(k), 16).split(4)) for k in range(20)]
    with NoiseMeter(model, window=5) as meter:
        found = toy.accumulate(meter, model, iter(batches))
    with NoiseMeter(model) as meter:
        assert toy.accumulate(meter, model, iter(batches[-5:])) == found
    assert all(not p._backward_hooks for p in model.parameters())


def test_a_backward_pass_that_nobody_announced_is_not_measured(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        toy.loss_of(model, rows).backward()
        found = toy.accumulate(meter, model, iter([list(rows[:16].split(4))]))
    assert found == one_step(toy.make(), *rows[:16].split(4))


def test_the_reading_has_the_keys_that_trackers_get(rows: Tensor) -> None:
    found = one_step(toy.make(), *rows[:16].split(4))
    assert found.log() == {
        "gns/b_simple": found.scale.b_simple,
        "gns/b_simple_low": 0.0,
        "gns/b_simple_high": float("inf"),
        "gns/g2": found.scale.g2,
        "gns/tr_sigma": found.scale.tr_sigma,
    }
    assert found.tokens_per_sequence == toy.LENGTH


def test_wrong_calls_get_one_line(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        for call, says in (
            (lambda: meter.step(), "call part"),
            (lambda: meter.read(), "nothing was measured"),
            (lambda: meter.part(0), "above 0"),
            (lambda: meter.part(10, -1), "above 0"),
            (lambda: meter.split(lambda x: x, rows[:3], parts=4), "2 to 3 parts"),
        ):
            with pytest.raises(InputError, match=says):
                call()
        with pytest.raises(InputError, match="no smaller batch beside it"):
            toy.accumulate(meter, model, iter([[rows]]))
    other = toy.make()
    for options, says in (
        ({"window": 0}, "at least one step"),
        ({"weights": "rows"}, "tokens or equal"),
        ({"examples": -1}, "0 for none"),
        ({"groups": {"a": other.up.parameters()}}, "does not train"),
        ({"groups": {"a": model.up.parameters(), "b": model.up.parameters()}}, "two groups"),
    ):
        with pytest.raises(InputError, match=says):
            NoiseMeter(model, **options)  # type: ignore[arg-type]
    model.requires_grad_(False)
    with pytest.raises(InputError, match="there is no gradient"):
        NoiseMeter(model)


# What would make the numbers wrong --------------------------------------------------------------


def test_two_backward_passes_in_one_part_are_refused(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        for part in rows[:16].split(8):
            meter.part(len(part) * toy.LENGTH, len(part))
            for half in part.split(4):
                (toy.loss_of(model, half) / 4).backward()
        with pytest.raises(InputError, match="two gradients in one part"):
            meter.step()


def test_a_gradient_that_no_hook_has_seen_is_refused(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        toy.loss_of(model, rows).backward()  # before part()
        for _ in range(2):
            meter.part(20, 4)
            next(model.parameters()).sum().backward()
        with pytest.raises(InputError, match="that the meter has not seen"):
            meter.step()


def test_a_loss_of_any_size_is_held_against_autograd(rows: Tensor) -> None:
    torch.manual_seed(0)
    model = Positions()
    with NoiseMeter(model, examples=8) as meter:
        meter.part(rows[:, 1:].numel(), len(rows))
        (toy.loss_of(model, rows) * 1e-6).backward()
        with pytest.warns(NoiseWarning, match="positions"):
            meter.step(scale=1e-6)


def test_a_part_of_another_size_than_was_said_is_refused(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model, examples=8) as meter:
        toy.accumulate(meter, model, iter([[rows[:16]]]))
        meter.part(16 * toy.LENGTH, 16)
        toy.loss_of(model, rows[:12]).backward()
        with pytest.raises(InputError, match=r"told of 16 sequences, and the layer of .* seen 12"):
            meter.step()


def test_one_sequence_alone_is_refused(rows: Tensor) -> None:
    model = toy.make()
    with (
        NoiseMeter(model, examples=8) as meter,
        pytest.raises(InputError, match="no smaller batch"),
    ):
        toy.accumulate(meter, model, iter([[rows[:1]]]))


def test_padding_has_no_gradient(rows: Tensor) -> None:
    model = toy.make()
    model.embedding.padding_idx = 2
    assert bool((rows[:16, :-1] == 2).any())
    alone = np.mean([squared(model, row[None]) for row in rows[:8]])
    expected = noise_scale([alone], [squared(model, rows[:16])], small=1, big=16)
    found = told(one_step(model, rows[:16], examples=8))
    assert found == pytest.approx((expected.g2, expected.tr_sigma), rel=1e-3)


def test_a_first_step_that_overflows_is_left_out_and_the_next_is_looked_at(rows: Tensor) -> None:
    model = Positions()
    with NoiseMeter(model, examples=8) as meter:
        meter.part(rows[:, 1:].numel(), len(rows))
        (toy.loss_of(model, rows) * float("inf")).backward()
        meter.step()
        with pytest.warns(NoiseWarning, match="positions"):
            found = toy.accumulate(meter, model, iter([[rows]]))
    assert (found.steps, found.scale.steps) == (2, 1)


def test_measuring_inside_autocast_is_in_32_bits(rows: Tensor) -> None:
    model = toy.make()

    def measured(**options: Any) -> Reading:
        with NoiseMeter(model, examples=8, **options) as meter:
            return toy.accumulate(meter, model, iter([[rows], [rows]]))

    with torch.autocast("cpu", torch.bfloat16):
        narrow = measured()
    wide = measured()
    assert told(narrow) == pytest.approx(told(wide), rel=0.05)


def test_odd_layers_are_left_out_and_nothing_breaks(rows: Tensor) -> None:
    class Odd(toy.Toy):
        def __init__(self) -> None:
            super().__init__()
            self.square = nn.LayerNorm((toy.LENGTH, toy.WIDTH))
            self.named = nn.Linear(toy.WIDTH, toy.WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embedding(ids.to(torch.int32))
            logits: Tensor = self.head(self.named(input=self.square(x)))
            return logits

    torch.manual_seed(0)
    model = Odd()
    with pytest.warns(NoiseWarning, match=r"named\.bias, named\.weight, square\.bias"):
        one_step(model, rows, examples=4)


def test_a_single_layer_is_a_model_too(rows: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Linear(toy.LENGTH, 3)
    with NoiseMeter(model, examples=4) as meter:
        meter.part(16, 16)
        model(rows[:16, :-1].float()).square().mean().backward()
        meter.step()
        assert meter.read().scale.g2 > 0


def test_a_closed_meter_of_examples_leaves_no_hook(rows: Tensor) -> None:
    model = toy.make()
    one_step(model, rows, examples=4)
    assert all(not module._forward_hooks for module in model.modules())
    assert all(not p._backward_hooks for p in model.parameters())


@pytest.mark.parametrize("examples", [0, 4])
def test_a_closed_meter_says_so(examples: int) -> None:
    with NoiseMeter(toy.make(), examples=examples) as meter:
        pass
    with pytest.raises(InputError, match="the meter is closed"):
        meter.part(8, 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_wide_and_complex_weights_are_measured(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 3, bias=False, dtype=dtype)
    rows = torch.randn(16, 6, dtype=dtype)

    def loss_of(part: torch.Tensor) -> torch.Tensor:
        return model(part).abs().square().sum(dim=1).mean()

    def squared_norm(part: torch.Tensor) -> float:
        (gradient,) = torch.autograd.grad(loss_of(part), [model.weight])
        return float(gradient.abs().square().sum())

    with NoiseMeter(model) as meter:
        meter.split(loss_of, rows, parts=4)
        meter.step()
        found = meter.read().scale
    small = sum(squared_norm(part) for part in rows.split(4)) / 4
    expected = noise_scale([small], [squared_norm(rows)], small=4, big=16)
    assert found.g2 == pytest.approx(expected.g2, rel=1e-4)
    assert found.tr_sigma == pytest.approx(expected.tr_sigma, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"level": 95}, "level is 95"),
        ({"level": 1.5}, "level is 1.5"),
        ({"examples": 2.5}, "examples is 2.5"),
        ({"groups": {"all": []}}, "a group is called 'all'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(options, word) -> None:
    with pytest.raises(InputError, match=word):
        NoiseMeter(toy.make(), **options)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no parameter of the model"):
        NoiseMeter(torch.nn.ReLU())


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
@pytest.mark.parametrize("kind", ["sparse", "graph"])
def test_gradients_that_are_sparse_or_have_a_graph_are_measured(kind: str) -> None:
    torch.manual_seed(4)
    table = nn.Embedding(7, 3, sparse=kind == "sparse")
    ids = torch.tensor([[1, 2, 2, 5], [0, 3, 6, 1]])
    with NoiseMeter(table) as meter:
        for part in ids:
            meter.part(4)
            loss = 0.5 * table(part).square().sum(dim=1).pow(1.5).mean()
            loss.backward(create_graph=kind == "graph")
            assert table.weight.grad is not None
            assert table.weight.grad.is_sparse == (kind == "sparse")
        meter.step()
        ((_, _, small, big),) = meter.norms()
    x = table.weight.detach()
    each = 1.5 * x * x.norm(dim=1, keepdim=True) / 4
    counts = torch.stack([torch.bincount(part, minlength=7) for part in ids]).float()
    alone = counts[:, :, None] * each
    # The loop adds up gradients of parts, of which each counts twice in what would be their mean.
    assert small == pytest.approx(float(2 * alone.square().sum()), rel=1e-5)
    assert big == pytest.approx(float(alone.sum(dim=0).square().sum()), rel=1e-5)


class Scaled(nn.Module):
    """Vectors and a number, whose gradients come after the last matrix's."""

    def __init__(self, *more: nn.Module) -> None:
        super().__init__()
        self.norm, self.more = nn.LayerNorm(6), nn.Sequential(*more)
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.more(self.gain * self.norm(rows))
        return (found - 1).square().mean()


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("more", [0, 1])
def test_vectors_that_no_matrix_follows_are_counted(more: int, dropped: bool) -> None:
    torch.manual_seed(5)
    model, rows = Scaled(*[nn.Linear(6, 1)] * more), torch.randn(8, 6)
    alone = [
        torch.cat([g.flatten() for g in torch.autograd.grad(model(part), [*model.parameters()])])
        for part in rows.split(4)
    ]
    with NoiseMeter(model, groups={"gain": [model.gain]}) as meter:
        if dropped:
            meter.part(4, 4)
            model(rows[:4]).backward()
            meter.skip()
            model.zero_grad()
        for part in rows.split(4):
            meter.part(4, 4)
            (model(part) / 2).backward()
        meter.step()
        small, big = meter.norms()[-1, 2:]
    assert small == pytest.approx(float(torch.stack(alone).square().sum(dim=1).mean()), rel=1e-5)
    assert big == pytest.approx(float(torch.stack(alone).mean(dim=0).square().sum()), rel=1e-5)


def test_what_becomes_of_a_gradient_later_does_not_count() -> None:
    torch.manual_seed(5)
    model, rows = Scaled(nn.Linear(6, 1)), torch.randn(8, 6)
    parameters = list(model.parameters())
    alone = torch.autograd.grad(model(rows), parameters)
    named = Parameters(model, {})
    seen = SeenGradients(named)
    for name, parameter in model.named_parameters():
        parameter.register_hook(seen.hook(name))
    seen.begin()
    model(rows).backward()
    for parameter in parameters:  # as a scaler, DDP or clipping may
        assert parameter.grad is not None
        parameter.grad.mul_(3.0)
    sums, names = seen.end()
    assert sums == [pytest.approx(float(sum(g.square().sum() for g in alone)), rel=1e-5)]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_sums_of_norms_may_stay_on_a_device() -> None:
    parameters = Parameters(nn.Linear(2, 2), {})
    sums = parameters.sums()
    for norm in (2.0, 3.0):
        sums[0] += torch.tensor(norm)  # as of a device that would have to be waited for
    assert isinstance(sums[0], Tensor)
    assert parameters.stack(sums).tolist() == [5.0]
    parameters.add(sums, "bias", torch.tensor(1.5))
    assert parameters.stack(sums).tolist() == [6.5]
    assert parameters.stack(parameters.sums()).tolist() == [0.0]


def test_calls_in_the_wrong_order_are_refused(rows: Tensor) -> None:
    model = toy.make()
    with NoiseMeter(model) as meter:
        for part in rows[:8].split(4):
            toy.loss_of(model, part).backward()
            meter.part(len(part))
        with pytest.raises(InputError, match=r"before each forward and backward pass, not after"):
            meter.step()
        model.zero_grad()
        for part in rows[:8].split(4):
            meter.part(len(part))
            toy.loss_of(model, part).backward()
        model.zero_grad()
        with pytest.raises(InputError, match=r"before zero_grad\(\)"):
            meter.step()
    for call in (meter.step, meter.skip):
        with pytest.raises(InputError, match="the meter is closed"):
            call()


def test_a_group_that_was_gone_through_is_refused() -> None:
    layer = nn.Linear(2, 2)
    groups = {"all of it": layer.parameters()}
    NoiseMeter(layer, groups=groups).close()
    with pytest.raises(InputError, match="group 'all of it' is empty"):
        NoiseMeter(layer, groups=groups)
