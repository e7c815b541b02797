"""Rates by rule and from a tuned sweep: numbers in the run, refused where nobody measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape, count_params
from isoloss.errors import InputError
from isoloss.fitting import tune
from isoloss.runs import (
    RATE_RULES,
    Runs,
    RunSpec,
    Schedule,
    read_sweep,
    ruled_decay,
    ruled_rate,
    sweep_text,
    trunk_of,
    tuned_rates,
    write_runs,
)

TINY = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64)
LARGE = Shape(n_layer=24, d_model=1024, n_heads=16, vocab=50_257, n_ctx=1024)  # 302M non-embedding
HUGE = Shape(n_layer=24, d_model=1536, n_heads=16, vocab=50_257, n_ctx=1024)  # 680M


def test_a_rule_becomes_a_number_before_the_run_has_a_name() -> None:
    assert list(RATE_RULES) == ["step-law", "deepseek", "porian", "kaplan"]
    n = count_params(HUGE, "non_embedding")
    expected = 1.79 * n**-0.713 * 5e10**0.307
    spec = RunSpec(HUGE, tokens="50B", batch=2**19, lr="step-law")  # type: ignore[arg-type]
    assert spec.lr == pytest.approx(expected, rel=1e-12)
    assert spec.run_id == replace(spec, lr=spec.lr).run_id
    assert spec.to_dict()["lr"] == spec.lr
    kaplan = RunSpec(LARGE, tokens=10**10, batch=2**19, lr="kaplan")  # type: ignore[arg-type]
    n = count_params(LARGE, "non_embedding")
    assert kaplan.lr == pytest.approx(0.003239 - 0.0001395 * np.log(n), rel=1e-9)


def test_power_lines_sets_the_time_over_which_weights_are_averaged() -> None:
    spec = RunSpec(LARGE, 10**10, 2**19, 0.001, weight_decay="power-lines")  # type: ignore[arg-type]
    n = count_params(LARGE, "total")
    timescale = spec.batch / (spec.lr * spec.weight_decay * spec.tokens)
    assert timescale == pytest.approx(1.084 * (1e10 / n) ** -0.527, rel=1e-9)
    both = RunSpec(LARGE, 10**10, 2**19, "kaplan", weight_decay="power-lines")  # type: ignore[arg-type]
    assert both.lr * both.weight_decay == pytest.approx(spec.lr * spec.weight_decay, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": "step-law"}, "lr is 'step-law': refused at 6.14K parameters, measured from 400M"),
        ({"lr": "porian"}, "refused at 10.2K parameters, measured from 5.18M to 902M; give a"),
        ({"lr": "deepseek"}, "FLOPs, measured from 1.00e+17"),
        ({"lr": "kaplan", "tokens": 10**6}, "refused at 1.00M tokens, measured from 22.0M"),
        ({"weight_decay": "power-lines"}, "'power-lines': refused at 11.7K parameters, measured"),
        ({"lr": "steplaw"}, "lr: 'steplaw' is not a number"),
        ({"lr": "kaplan", "optimizer": "muon"}, "lr is 'kaplan', a rule for adamw in the standard"),
        ({"lr": "kaplan", "parametrization": "mup", "base_width": 8}, "not for adamw, mup"),
        ({"lr": -1, "weight_decay": "power-lines"}, "lr is -1.0; it must be positive"),
    ],
)
def test_a_rule_is_refused_where_it_was_not_measured(change: dict[str, Any], words: str) -> None:
    given = {"shape": TINY, "tokens": 10**8, "batch": 512, "lr": 0.01, **change}
    with pytest.raises(InputError) as caught:
        RunSpec(**given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_forced_rule_is_followed_anywhere_it_is_positive() -> None:
    assert ruled_rate("porian", TINY, 1e6, force=True) == pytest.approx(
        0.0047 * (10_240 / 108e6) ** (-1 / 3), rel=1e-6
    )
    assert ruled_decay(0.01, TINY, 1e6, 512, force=True) > 0
    with pytest.raises(InputError, match="use a number, or one of step-law"):
        ruled_rate("chinchilla", TINY, 1e6, force=True)
    giant = replace(LARGE, n_layer=4000, d_model=20_480, n_heads=16, d_ff=None, d_attn=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gives no rate at"):
        ruled_rate("kaplan", giant, 1e10, force=True)


def table(folder: Path, n: list[float], d: list[float], **columns: Any) -> Path:
    sizes, tokens = np.array(n), np.array(d)
    runs = Runs(
        n=sizes,
        d=tokens,
        loss=np.full(sizes.size, 3.0),
        lr=2.0 * sizes**-0.5 * tokens**0.1,
        n_convention=columns.pop("n_convention", "non_embedding_plus_head"),
        **columns,
    )
    write_runs(runs, folder / "tuned.csv")
    return folder / "tuned.csv"


def test_a_tuned_rate_follows_the_law_of_its_table(tmp_path: Path) -> None:
    rate = tuned_rates(table(tmp_path, [1e3, 1e5, 1e3, 1e5], [1e6, 1e6, 1e8, 1e8]))
    n = count_params(TINY, "non_embedding_plus_head")
    assert rate(TINY, 3e6) == pytest.approx(2.0 * n**-0.5 * 3e6**0.1, rel=1e-9)
    with pytest.raises(
        InputError, match=r"tuned\.csv: refused at 1\.00B tokens, tuned from 1\.00M"
    ):
        rate(TINY, 1e9)
    assert rate(TINY, 1e9, force=True) == pytest.approx(2.0 * n**-0.5 * 1e9**0.1, rel=1e-9)
    with pytest.raises(InputError, match=r"parameters, tuned from 1\.00K to 100K"):
        rate(LARGE, 3e6)


def test_what_tune_writes_is_what_a_sweep_reads(tmp_path: Path) -> None:
    n, d, step = (a.ravel() for a in np.meshgrid([3e3, 1e4, 4e4], [1e6, 4e6], [-2, -1, 0, 1, 2.0]))
    lr, best = 0.006 * 2.0**step, 0.6 * n**-0.5
    loss = 3.0 * (n / 1e4) ** -0.05 * np.exp(0.04 * np.log(lr / best) ** 2)
    noise = np.exp(1e-4 * np.random.default_rng(0).standard_normal(n.size))
    runs = Runs(n=n, d=d, lr=lr, loss=loss * noise, n_convention="non_embedding_plus_head")
    write_runs(tune(runs, draws=200).best_runs(), tmp_path / "tuned.csv")
    size = count_params(TINY, "non_embedding_plus_head")
    assert tuned_rates(tmp_path / "tuned.csv")(TINY, 2e6) == pytest.approx(
        0.6 * size**-0.5, rel=0.03
    )


def test_a_sweep_along_a_line_is_followed_along_it(tmp_path: Path) -> None:
    n = count_params(TINY, "non_embedding_plus_head")
    rate = tuned_rates(table(tmp_path, [1e3, 1e4, 1e5], [2e4, 2e5, 2e6]))
    assert rate(TINY, 20 * n) == pytest.approx(2.0 * n**-0.5 * (20 * n) ** 0.1, rel=1e-9)
    one = tuned_rates(table(tmp_path, [n], [1e6]))
    assert one(TINY, 1e6) == pytest.approx(2.0 * n**-0.5 * 1e6**0.1, rel=1e-9)
    with pytest.raises(InputError, match=r"refused at 2\.00M tokens"):
        one(TINY, 2e6)


def test_a_table_that_does_not_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say how n is counted"):
        tuned_rates(table(tmp_path, [1e3], [1e6], n_convention="unknown"))
    (tmp_path / "bare.csv").write_text("n,d,loss\n1000,1e6,3\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no column lr"):
        tuned_rates(tmp_path / "bare.csv")


SWEEP = """
[defaults]
batch = 512
lr = 0.01
shape = { n_layer = 2, d_model = 16, n_heads = 2, vocab = 256, n_ctx = 64 }

[[run]]
tokens = ["1M", "3M"]
lr_from = "tuned.csv"

[[run]]
tokens = "40M"
lr = ["kaplan", 0.002]
seed = 1

[[run]]
tokens = "1M"
lr = "porian"
weight_decay = "power-lines"
force_rules = true
"""


def read(folder: Path, text: str) -> tuple[RunSpec, ...]:
    (folder / "sweep.toml").write_text(text, encoding="utf-8")
    return read_sweep(folder / "sweep.toml")


def test_a_sweep_file_says_where_its_rates_come_from(tmp_path: Path) -> None:
    table(tmp_path, [1e3, 1e5, 1e3, 1e5], [1e6, 1e6, 1e8, 1e8])
    specs = read(tmp_path, SWEEP)
    n = count_params(TINY, "non_embedding_plus_head")
    assert [spec.lr for spec in specs] == pytest.approx(
        [
            2.0 * n**-0.5 * 1e6**0.1,
            2.0 * n**-0.5 * 3e6**0.1,
            ruled_rate("kaplan", TINY, 4e7),
            0.002,
            ruled_rate("porian", TINY, 1e6, force=True),
        ],
        rel=1e-9,
    )
    assert specs[4].weight_decay == ruled_decay(specs[4].lr, TINY, 1e6, 512, force=True)
    assert specs[0].weight_decay == 0.1
    # What is written holds numbers alone.
    (tmp_path / "tuned.csv").unlink()
    assert read(tmp_path, sweep_text(specs)) == specs


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("force_rules = true", "", "number 3: lr is 'porian': refused at"),
        ("force_rules = true", "force_rules = 1", "force_rules is 1; it must be true or false"),
        ('"3M"]', '"3B"]', "number 1: lr_from is tuned.csv: refused at 3.00B tokens"),
        ('"tuned.csv"', '"lost.csv"', "lost.csv: no such file"),
        ("seed = 1", 'seed = 1\nlr_from = "tuned.csv"', "gives both lr and lr_from; leave one out"),
        ('lr = "porian"', 'lr = "poria"', "number 3: lr: 'poria' is not a number"),
    ],
)
def test_a_wrong_rate_gives_one_clear_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    table(tmp_path, [1e3, 1e5, 1e3, 1e5], [1e6, 1e6, 1e8, 1e8])
    assert old in SWEEP
    with pytest.raises(InputError) as caught:
        read(tmp_path, SWEEP.replace(old, new))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sweep_file_says_that_runs_share_a_trunk(tmp_path: Path) -> None:
    text = """
    [defaults]
    batch = 512
    lr = 0.01
    shape = { n_layer = 2, d_model = 16, n_heads = 2, vocab = 256, n_ctx = 64 }
    [[run]]
    trunk = "shared"
    tokens = ["100K", "150K", "225K"]
    seed = [0, 1]
    schedule = { kind = "wsd_sqrt", final = 0.0, warmup = 0.05 }
    """
    specs = read(tmp_path, text)
    assert [(spec.tokens, spec.seed) for spec in specs] == [
        (tokens, seed) for tokens in (100_000, 150_000, 225_000) for seed in (0, 1)
    ]
    assert {trunk_of(spec).run_id for spec in specs if spec.seed == 0} == {
        trunk_of(specs[0]).run_id
    }
    assert len({trunk_of(spec).run_id for spec in specs}) == 2
    assert specs[0].trunk == specs[-1].branch_step * 512
    assert specs[0].schedule == Schedule("wsd_sqrt", 0.05, 0.0, warmup_steps=22)
    assert read(tmp_path, sweep_text(specs)) == specs
    with pytest.raises(InputError, match="a run can leave a trunk only to cool down"):
        read(tmp_path, text.replace("wsd_sqrt", "cosine"))
    with pytest.raises(InputError, match="trunk: 'share' is not a number"):
        read(tmp_path, text.replace('"shared"', '"share"'))
