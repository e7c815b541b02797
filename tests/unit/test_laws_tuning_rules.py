"""The published rules for rate and batch: golden values, units, ranges."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss import laws
from isoloss.counting import Family, count_params, flops_per_token
from isoloss.errors import InputError
from isoloss.laws.published_tuning import (
    DEEPSEEK_BATCH,
    DEEPSEEK_LR,
    KAPLAN_CRITICAL_BATCH,
    KAPLAN_LR,
    PORIAN_BATCH,
    PORIAN_LR,
    STEP_LAW_BATCH,
    STEP_LAW_LR,
    TUNING_RULES,
    ZHANG_CRITICAL_BATCH,
    carried_batch,
    timescale,
    weight_decay,
)
from isoloss.units import PF_DAY


def test_golden_values() -> None:
    assert float(STEP_LAW_LR(n=1e9, d=1e11)) == pytest.approx(0.0016325, rel=1e-4)
    assert float(STEP_LAW_BATCH(d=1e11)) == pytest.approx(1.10771e6, rel=1e-5)
    assert float(DEEPSEEK_LR(c=1e20)) == pytest.approx(0.000985998, rel=1e-6)
    assert float(DEEPSEEK_LR(c=1e22)) == pytest.approx(0.000554468, rel=1e-6)
    assert float(DEEPSEEK_BATCH(c=1e20)) == pytest.approx(1.01714e6, rel=1e-5)
    assert float(DEEPSEEK_BATCH(c=1e22)) == pytest.approx(4.58757e6, rel=1e-5)
    assert float(PORIAN_LR(n=108e6)) == pytest.approx(0.0047, rel=1e-12)
    assert float(PORIAN_LR(n=8 * 108e6)) == pytest.approx(0.00235, rel=1e-12)
    assert float(PORIAN_BATCH(n=8 * 108e6)) == pytest.approx(640, rel=1e-12)


def test_kaplan_rate_has_a_natural_logarithm_and_ends() -> None:
    assert float(KAPLAN_LR(n=1e6)) == pytest.approx(0.003239 - 0.0001395 * np.log(1e6), rel=1e-12)
    low, high = KAPLAN_LR(n=[1.20e10, 1.22e10])
    assert 0 < low < 2e-6
    assert np.isnan(high)


def test_batches_are_in_the_paper_s_unit_and_in_tokens() -> None:
    assert PORIAN_BATCH.unit == "sequences"
    assert float(PORIAN_BATCH(n=108e6)) == pytest.approx(160)
    assert float(PORIAN_BATCH.tokens(n=108e6)) == pytest.approx(160 * 2048)
    assert float(DEEPSEEK_BATCH.tokens(c=1e20)) == float(DEEPSEEK_BATCH(c=1e20))
    with pytest.raises(InputError, match="a learning rate, not a batch"):
        PORIAN_LR.tokens(n=1e8)


def test_a_rule_needs_its_variables_and_ignores_the_rest() -> None:
    with pytest.raises(InputError, match="Step Law, rate needs d"):
        STEP_LAW_LR(n=1e9)
    both = STEP_LAW_LR(n=[5e8, 1e9], d=4e10, c=1.0)
    assert both.shape == (2,)
    assert both[0] / both[1] == pytest.approx(2**0.713)


def test_a_range_is_held_against_a_model_only_where_it_is_known() -> None:
    assert PORIAN_LR.inside(n=[5_175_744, 6e3, 1e9], d=1.0).tolist() == [True, False, False]
    assert KAPLAN_LR.inside(n=768, d=22e6).item()
    assert not KAPLAN_LR.inside(n=768, d=1e6).item()
    assert DEEPSEEK_LR.inside(n=1.0, d=1.0, c=1e18).item()
    assert not STEP_LAW_LR.inside(n=1e9, d=2e9).item()


def test_at_six_thousand_parameters_two_rules_ask_for_rates_above_a_tenth() -> None:
    n, d = 6e3, 2e5
    assert 0.1 < float(PORIAN_LR(n=n)) < 0.2
    assert 0.1 < float(STEP_LAW_LR(n=n, d=d)) < 0.2
    assert not PORIAN_LR.inside(n=n, d=d).item()
    assert not STEP_LAW_LR.inside(n=n, d=d).item()


@pytest.mark.parametrize("rule", TUNING_RULES, ids=lambda rule: rule.name)
def test_every_rule_says_its_source_and_its_counts(rule) -> None:
    assert "arXiv:" in rule.citation
    assert rule.where
    assert (rule.unit == "") == (rule.gives == "lr")
    assert (rule.sequence_length > 1) == (rule.unit == "sequences")
    assert rule.n_range or rule.d_range or rule.c_range
    values = rule(n=[1e8, 3e8], d=[2e9, 7e9], c=[1e18, 1e19])
    assert values.shape == (2,)
    assert np.all(values > 0)


def test_the_rules_are_public() -> None:
    assert laws.TUNING_RULES is TUNING_RULES
    assert all(isinstance(rule, laws.TuningRule) for rule in TUNING_RULES)


def test_zhang_s_critical_batch_is_that_of_n_at_twenty_tokens_each() -> None:
    for millions, sequences in ((85, 745), (302, 1394), (1200, 2533)):
        d = 20 * millions * 1e6
        assert float(ZHANG_CRITICAL_BATCH(d=d)) == pytest.approx(93.20 * millions**0.468, rel=1e-12)
        assert float(ZHANG_CRITICAL_BATCH(d=d)) == pytest.approx(sequences, rel=0.04)
    assert float(ZHANG_CRITICAL_BATCH(d=20 * 302e6)) == pytest.approx(1349.146657, rel=1e-9)
    assert float(ZHANG_CRITICAL_BATCH.tokens(d=1e10)) == pytest.approx(
        512 * 22.92 * 1e4**0.468, rel=1e-3
    )


def test_kaplan_s_critical_batch_is_that_of_table_6() -> None:
    assert float(KAPLAN_CRITICAL_BATCH(c=2e3 * PF_DAY)) == pytest.approx(10496149.2, rel=1e-8)


def test_power_lines_carry_a_batch_and_set_the_timescale() -> None:
    assert timescale([20, 200]) == pytest.approx([0.22356, 0.066433], rel=1e-4)
    assert float(carried_batch(2**19, 1e9, 1e11)) == pytest.approx(2**19 * 100**0.383)
    decay = float(weight_decay(1e-3, 1e6, 1e9, 2e10))
    assert 1e6 / (1e-3 * decay * 2e10) == pytest.approx(0.22356, rel=1e-4)


def test_a_rule_counts_a_shape_as_its_paper_does() -> None:
    shape = Family(vocab=1000, n_ctx=64).near(1e6).shape
    found = KAPLAN_LR.measures(shape, 1e8)
    assert found["n"] == count_params(shape, "non_embedding")
    assert found["c"] == 6 * found["n"] * 1e8
    deepseek = DEEPSEEK_LR.measures(shape, 1e8, "total")
    assert deepseek["n"] == count_params(shape, "total")
    exact = flops_per_token(shape, "exact") - 6 * shape.d_model * shape.vocab
    assert deepseek["c"] == pytest.approx(exact * 1e8)


def test_a_rule_says_how_a_model_is_outside_it() -> None:
    assert PORIAN_LR.outside(n=1e8, d=1.0, c=1.0) == (1.0, "")
    far, said = KAPLAN_LR.outside(n=1e10, d=23e12, c=1.0)
    assert far == pytest.approx(1000)
    assert said == (
        "10.0B parameters, measured from 768 to 1.50B; 23.0T tokens, measured from 22.0M to 23.0B"
    )
    assert KAPLAN_LR.outside(n=7.68, d=1e9, c=1.0)[0] == pytest.approx(100)
