"""What the callbacks of all trainers share: counting a batch, and a meter that is driven."""

from __future__ import annotations

from typing import Any

import pytest

from isoloss.errors import InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

import _noise_toy as toy  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from isoloss.integrations.batches import count_batch  # noqa: E402
from isoloss.integrations.gauge import Gauge, Setting  # noqa: E402
from isoloss.lab.noise_meter import NoiseMeter  # noqa: E402

IDS = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
LABELS = torch.tensor([[5, 6, 7, 8], [-100, 6, -100, -100]])


def gauge(model: nn.Module, *, alone: bool = True, count: Any = None, **options: Any) -> Gauge:
    def rows(batch: Tensor) -> tuple[float, float]:
        return len(batch) * toy.LENGTH, len(batch)

    return Gauge(
        model, Setting({"examples": 0, **options}, count or rows, alone, "take the callback out")
    )


def update(gauge: Gauge, model: nn.Module, *parts: Tensor, backward: bool = True) -> None:
    model.zero_grad()
    for part in parts:
        gauge.begin(part)
        loss = toy.loss_of(model, part)
        if backward:
            gauge.went_back()
            (loss / len(parts)).backward()
    gauge.end()


@pytest.fixture(scope="module")
def rows() -> Tensor:
    return toy.population()


@pytest.mark.parametrize(
    ("batch", "counted"),
    [
        ({"labels": LABELS, "attention_mask": MASK, "input_ids": IDS}, (4, 2)),
        ({"labels": LABELS, "shift_labels": LABELS}, (5, 2)),
        ({"attention_mask": MASK, "input_ids": IDS}, (4, 2)),
        ({"attention_mask": MASK.flip(1), "input_ids": IDS}, (4, 2)),
        ({"input_ids": IDS}, (6, 2)),
        ({"pixel_values": torch.ones(3, 4), "labels": torch.tensor([1, 0, 2])}, (3, 3)),
        ({"labels": torch.tensor([0.5, 0.25])}, (2, 2)),
        (IDS, (6, 2)),
        ((IDS, LABELS), (5, 2)),
        ([torch.ones(3, 2, 2), torch.tensor([1, 0, 2])], (3, 3)),
    ],
)
def test_a_batch_is_counted_by_what_its_loss_is_a_mean_over(
    batch: Any, counted: tuple[float, float]
) -> None:
    assert count_batch(batch) == counted


FLAT = {"input_ids": torch.arange(6)[None], "labels": torch.arange(6)[None]}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]])}, "position_ids start again"),
        ({"seq_idx": torch.tensor([[0, 0, 0, 1, 1, 1]])}, "seq_idx"),
        ({"cu_seq_lens_q": torch.tensor([0, 3, 6])}, "cu_seq_lens_q"),
    ],
)
def test_a_packed_batch_asks_for_count(more: dict[str, Tensor], says: str) -> None:
    with pytest.raises(InputError, match=rf"several sequences \({says}\): give .* count="):
        count_batch(FLAT | more)


def test_positions_that_start_again_in_padding_alone_are_no_packing() -> None:
    right = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 0]])
    left = torch.tensor([[0, 1, 2, 3], [1, 1, 0, 1]])
    ids = {"input_ids": IDS, "labels": LABELS}
    assert count_batch({**ids, "attention_mask": MASK, "position_ids": right}) == (4, 2)
    assert count_batch({**ids, "attention_mask": MASK.flip(1), "position_ids": left}) == (4, 2)
    assert count_batch({**ids, "position_ids": torch.arange(4)[None]}) == (4, 2)
    assert count_batch({**ids, "seq_idx": None}) == (4, 2)


def test_labels_that_are_targets_already_are_not_shifted() -> None:
    assert count_batch({"labels": LABELS}, shifted=False) == (5, 2)


@pytest.mark.parametrize("batch", [torch.ones(2, 3), {"pixels": IDS}, "text", (IDS, IDS, IDS)])
def test_a_batch_that_is_not_understood_asks_for_count(batch: Any) -> None:
    with pytest.raises(InputError, match="count="):
        count_batch(batch)


@pytest.mark.parametrize("found", [3, (1, 2, 3)])
def test_a_count_of_another_form_is_named(found: Any, rows: Tensor) -> None:
    with pytest.raises(InputError, match=r"count= of a batch gave .*it gives \(tokens, sequences"):
        gauge(toy.make(), count=lambda batch: found).begin(rows)


@pytest.mark.parametrize("found", [(float("nan"), 2), (3, 0)])
def test_a_count_of_nothing_says_what_to_do(found: Any, rows: Tensor) -> None:
    model = toy.make()
    with pytest.raises(InputError, match=r"above 0. In this trainer: take the callback out"):
        update(gauge(model, count=lambda batch: found), model, *rows[:8].split(4))


@pytest.mark.parametrize("leftover", ["one part", "no target", "no backward pass"])
def test_an_update_that_cannot_be_measured_is_left_out(leftover: str, rows: Tensor) -> None:
    def count(batch: Tensor) -> tuple[float, float]:
        return (len(batch) - 3) * toy.LENGTH, len(batch)  # of 3 rows, none has a target

    model = toy.make()
    taken, plain = (gauge(model, count=count) for _ in range(2))
    for k in range(10):
        parts = toy.draws(rows, toy.seeded(k), 16).split(8)
        for one in (taken, plain):
            update(one, model, *parts)
            one.close() if one is plain and k == 9 else None
        if leftover == "one part":
            update(taken, model, rows[:8])
        elif leftover == "no target":
            update(taken, model, rows[:8], rows[:3])
        else:
            update(taken, model, rows[:8], rows[8:16], backward=False)
    assert (taken.read().steps, plain.read().steps) == (20, 10)
    assert taken.read().scale == plain.read().scale
    assert taken.numbers() == plain.numbers()


def test_one_part_in_one_of_several_processes_is_measured(rows: Tensor) -> None:
    model = toy.make()
    several = gauge(model, alone=False)
    with pytest.raises(InputError, match=r"no smaller batch.*In this trainer: take the callback"):
        update(several, model, rows[:8])  # for the meter knows better: there is but this one


def test_a_model_that_thaws_is_measured_anew(rows: Tensor) -> None:
    model = toy.make()
    model.up.requires_grad_(False)
    thawing = gauge(model)
    for step in range(12):
        if step == 8:
            model.up.requires_grad_(True)
        update(thawing, model, *toy.draws(rows, toy.seeded(step), 16).split(4))
    with NoiseMeter(model) as meter:
        batches = (list(toy.draws(rows, toy.seeded(k), 16).split(4)) for k in range(8, 12))
        assert thawing.read() == toy.accumulate(meter, model, batches)


def test_what_is_infinite_is_not_logged_and_before_a_finite_step_nothing_is(rows: Tensor) -> None:
    model = toy.make()
    one = gauge(model)
    assert one.numbers() == {}
    with pytest.raises(InputError, match="train first"):
        one.read()
    one.begin(rows[:4])
    (toy.loss_of(model, rows[:4]) * float("inf")).backward()
    one.went_back()
    one.begin(rows[4:8])
    one.went_back()
    toy.loss_of(model, rows[4:8]).backward()
    one.end()
    assert one.numbers() == {}
    update(one, model, *rows[:16].split(4))
    assert set(one.numbers()) == {"gns/b_simple", "gns/b_simple_low", "gns/g2", "gns/tr_sigma"}
    assert one.read().log()["gns/b_simple_high"] == float("inf")
