"""Budgets in every form people have them, and what contradicts what."""

import pytest

from isoloss.errors import InputError
from isoloss.planning.budget import UTILISATION, budget
from isoloss.units import PF_DAY

H100 = 989.5e12 * 3600


def test_each_form_comes_to_its_flops() -> None:
    assert budget({"flops": 1e21}).flops == 1e21
    assert budget({"pf_days": 10}).flops == 10 * PF_DAY
    found = budget({"booking": "64xH100:72h", "utilisation": 0.5})
    assert found.flops == pytest.approx(64 * 72 * H100 * 0.5)
    assert found.machine is not None
    assert found.machine.count == 64
    assert found.machine.hours(found.flops or 0) == pytest.approx(72)
    assert found.notes == ()
    hours = budget({"gpu_hours": 100, "hardware": "h100", "utilisation": 0.5})
    assert hours.flops == pytest.approx(100 * H100 * 0.5)
    money = budget({"dollars": 500, "price": 2.5, "hardware": "H100", "utilisation": 0.5})
    assert money.flops == pytest.approx(200 * H100 * 0.5)
    assert money.machine is not None
    assert money.machine.dollars(money.flops or 0) == pytest.approx(500)
    assert money.machine.hours(1e21) is None
    late = budget({"deadline": 10, "count": 8, "hardware": "H100", "utilisation": 0.5})
    assert late.flops == pytest.approx(80 * H100 * 0.5)


def test_an_assumed_utilisation_is_said() -> None:
    found = budget({"booking": "8xA100:24h"})
    assert found.machine is not None
    assert found.machine.utilisation == UTILISATION
    assert found.notes == (
        "40% of the peak is assumed: give utilisation= (--utilisation) as measured",
    )


def test_the_tightest_limit_counts() -> None:
    how = {"hardware": "H100", "count": 8, "utilisation": 0.4, "price": 2.0}
    found = budget({**how, "deadline": 24, "dollars": 100})  # type: ignore[typeddict-item]
    assert found.bound_by == "dollars"
    assert found.flops == pytest.approx(50 * H100 * 0.4)
    wider = budget({**how, "deadline": 24, "dollars": 1e6, "flops": 1e24})  # type: ignore[typeddict-item]
    assert wider.bound_by == "deadline"


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({}, "needs a budget"),
        ({"max_tokens": 1e12}, "needs a budget"),
        (
            {"flops": 1e21, "pf_days": 5},
            r"flops= .* comes to 1.00e\+21 FLOPs and pf_days= .* to 4.32e\+20",
        ),
        ({"pf_days": 1, "booking": "64xH100:72h"}, "give one of them"),
        ({"gpu_hours": 5}, "gpu_hours= .* needs hardware="),
        ({"dollars": 5, "hardware": "H100"}, "dollars= .* needs price="),
        ({"deadline": 5, "hardware": "H100"}, "deadline= .* needs count="),
        ({"flops": 1e21, "utilisation": 0.4}, "utilisation= .* needs hardware="),
        ({"gpu_hours": 5, "hardware": "H100", "utilisation": 40}, "for 40 % write 0.4"),
        ({"gpu_hours": 5, "hardware": "H100", "precision": "fp64"}, "no peak for 'fp64'"),
        ({"booking": "64xH100:72h", "hardware": "A100"}, "leave hardware= .* out"),
        ({"booking": "64xH100:72h", "count": 8}, "leave count= .* out"),
        ({"flops": 1e3}, "which trains nothing"),
        ({"pf_days": 1e-12}, "pf_days= .* comes to 8.64e"),
        ({"flops": -1.0}, "flops= .* is -1; give a positive"),
        ({"flops": 1e40}, r"flops= .* comes to 1e\+40 FLOPs, more than there is"),
        ({"pf_days": 1e12}, r"pf_days= .* comes to 8.64e\+31 FLOPs, more than there is"),
        ({"flops": True}, "give one number"),
        ({"flops": [1e21]}, "give one number"),
        ({"loss": 9.7e3}, "not perplexity"),
        ({"flops": 1e21, "max_params": 1e21}, "max_params= .* is 1e"),
        ({"flops": 1e21, "max_params": 7}, "max_params= .* is 7, which trains nothing"),
        ({"flops": 1e21, "max_tokens": 20}, "max_tokens= .* is 20, which trains nothing"),
        ({"flops": 1e21, "count": 2.5, "hardware": "H100"}, "whole number of devices"),
        ({"floops": 1e21}, "no amount 'floops'"),
    ],
)
def test_what_is_wrong_is_refused_by_name(amounts: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        budget(amounts)  # type: ignore[arg-type]


def test_a_loss_may_stand_alone_or_under_a_budget() -> None:
    assert budget({"loss": 2.3}).flops is None
    found = budget({"loss": 2.3, "flops": 1e22, "max_tokens": 1e12, "max_params": 7e9})
    assert (found.loss, found.max_tokens, found.max_params) == (2.3, 1e12, 7e9)
