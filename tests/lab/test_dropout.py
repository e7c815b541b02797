"""Dropout: where it drops, when it does not, and a run that goes on drops what it would have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import Shape
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RunSpec, content, read_record

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.evaluate import evaluate, held_out  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402
from isoloss.lab.train import train  # noqa: E402

SHAPES = {
    "transformer": Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=32),
    "recurrent": Shape(n_layer=1, d_model=16, n_heads=2, vocab=256, n_ctx=32, reuse=2),
    "lstm": Shape.lstm(2, 16, 256, 32),
    "one-layer lstm": Shape.lstm(1, 16, 256, 32),
}


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def built(shape: Shape, dropout: float) -> Any:
    torch.manual_seed(1)
    return make_model(shape, dropout=dropout)


def some_ids() -> Any:
    return torch.randint(0, 256, (4, 32), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", SHAPES)
def test_no_dropout_draws_nothing_and_changes_nothing(name: str) -> None:
    plain, without = make_model(SHAPES[name]), built(SHAPES[name], 0.0)
    without.load_state_dict(plain.state_dict())
    before = torch.get_rng_state()
    assert torch.equal(plain(some_ids()), without.eval()(some_ids()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", SHAPES)
def test_it_drops_in_training_alone(name: str) -> None:
    plain, dropping = built(SHAPES[name], 0.0), built(SHAPES[name], 0.3)
    ids = some_ids()
    assert not torch.allclose(dropping(ids), plain(ids))
    assert not torch.allclose(dropping(ids), dropping(ids))
    assert torch.equal(dropping.eval()(ids), plain(ids))


def test_a_transformer_drops_where_gpt2_does() -> None:
    shape = Shape(n_layer=1, d_model=64, n_heads=1, vocab=256, n_ctx=32)
    model = built(shape, 0.25)
    seen: dict[str, Any] = {}

    def note(name: str) -> Any:
        def hook(_: Any, given: Any, made: Any) -> None:
            seen[name], seen[f"{name} in"] = made, given[0]

        return hook

    block = model.blocks[0]
    for name in ("attention", "feed_forward_norm", "feed_forward"):
        getattr(block, name).register_forward_hook(note(name))
    block.register_forward_hook(note("block"))
    ids = torch.arange(32).expand(64, 32)
    model(ids)
    embedded = model.token_embedding(ids) + model.position_embedding.weight
    added = (
        seen["feed_forward_norm in"] - seen["block in"],
        seen["block"] - seen["feed_forward_norm in"],
    )
    for what, whole in (
        (seen["block in"], embedded),
        (added[0], seen["attention"]),
        (added[1], seen["feed_forward"]),
    ):
        kept = (what - whole / 0.75).abs() < 1e-4
        assert (kept | (what.abs() < 1e-4)).all()
        assert kept.float().mean() == pytest.approx(0.75, abs=0.02)
    # The first token can attend to itself alone: its weight is dropped or not.
    first = seen["attention"][:, 0].abs().amax(1)
    assert 0.1 < (first == 0).float().mean() < 0.4


def test_an_lstm_drops_between_its_layers_and_never_in_its_state() -> None:
    model = built(Shape.lstm(1, 64, 256, 32), 0.25)
    inputs: list[Any] = []
    heads: list[Any] = []
    model.recurrent.register_forward_hook(lambda _, given, made: inputs.append((given[0], made[0])))
    model.head.register_forward_hook(lambda _, given, made: heads.append(given[0]))
    ids = torch.arange(32).expand(64, 32)
    model(ids)
    (given, made), (seen,) = inputs[0], heads
    for what, whole in ((given, model.token_embedding(ids)), (seen, made)):
        assert torch.allclose(what[what != 0], (whole / 0.75)[what != 0])
        assert (what != 0).float().mean() == pytest.approx(0.75, abs=0.02)
    assert torch.equal(model.recurrent(given)[0], made)
    assert built(Shape.lstm(3, 16, 256, 32), 0.25).recurrent.dropout == 0.25


def test_held_out_text_is_read_without_dropout(tokens: TokenSet) -> None:
    dropping, plain = (built(SHAPES["transformer"], part) for part in (0.5, 0.0))
    data = held_out(tokens, 32, 4096)
    assert evaluate(dropping, data) == evaluate(plain, data)
    assert dropping.training
    evaluate(dropping.eval(), data)
    assert not dropping.training


@pytest.mark.parametrize("name", ["transformer", "lstm"])
@pytest.mark.parametrize("killed_at", [1, 47])
def test_a_killed_run_goes_on_bit_for_bit(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, name: str, killed_at: int, monkeypatch: Any
) -> None:
    spec = replace(spec, shape=SHAPES[name], dropout=0.1)
    whole = train(spec, tokens, tmp_path / "whole")
    assert whole.loss != train(replace(spec, dropout=0.0), tokens, tmp_path / "whole").loss
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Any) -> None:
        if progress.step == killed_at:
            raise Killed

    torn = tmp_path / "torn"
    with pytest.raises(Killed):
        train(spec, tokens, torn, on_progress=kill, checkpoint_seconds=0.0)
    torch.manual_seed(12345)  # another process, another generator
    steps: list[int] = []
    train(spec, tokens, torn, on_progress=lambda progress: steps.append(progress.step))
    assert steps[0] == killed_at
    records = [
        read_record(folder / f"{spec.run_id}.jsonl") for folder in (torn, tmp_path / "whole")
    ]
    assert content(records[0]) == content(records[1])


def test_every_step_and_every_seed_drops_something_else(spec: RunSpec) -> None:
    from isoloss.lab.train import seed_dropout

    def drawn(seed: int, step: int, part: float = 0.1) -> Any:
        torch.manual_seed(0)
        seed_dropout(replace(spec, seed=seed, dropout=part), step)
        return tuple(torch.rand(3).tolist())

    assert drawn(0, 5) == drawn(0, 5)
    assert len({drawn(seed, step) for seed in (0, 1, 2**60) for step in (0, 1, 7)}) == 9
    torch.manual_seed(0)
    untouched = tuple(torch.rand(3).tolist())
    assert drawn(3, 4, part=0.0) == untouched
