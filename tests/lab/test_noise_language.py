"""Language as something to learn at any batch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from dataclasses import replace  # noqa: E402

from isoloss.counting import Shape  # noqa: E402
from isoloss.errors import InputError  # noqa: E402
from isoloss.experiments.batch_size.language_task import HELD_OUT, language  # noqa: E402
from isoloss.lab.batch_size.curve import train_curve  # noqa: E402
from isoloss.lab.batch_size.task import Learner, Task  # noqa: E402
from isoloss.lab.models import LanguageModel  # noqa: E402
from isoloss.lab.tokens import TokenSet  # noqa: E402

SHAPE = Shape(n_layer=2, d_model=8, n_heads=1, vocab=256, n_ctx=16)


@pytest.fixture(scope="module")
def task(tokens: TokenSet) -> Task:
    return language(tokens, SHAPE, rate=0.02, rate_batch=16)


def test_an_example_is_a_stretch_of_the_text_and_its_loss_the_mean_over_it(
    task: Task, tokens: TokenSet
) -> None:
    learner = Learner(task, seed=1)
    (ids,) = learner.draw(5)
    text = bytes(np.asarray(tokens.train, dtype=np.uint8))
    assert all(bytes(row.numpy().astype(np.uint8)) in text for row in ids)
    assert ids.shape == (5, 17)
    assert task.units == 16
    losses = task.losses(learner.model, (ids,))
    logits = learner.model(ids[:, :-1].long()).log_softmax(dim=2)
    plain = -logits.gather(2, ids[:, 1:, None].long()).mean(dim=(1, 2))
    torch.testing.assert_close(losses, plain)


def test_a_batch_has_the_gradient_of_the_mean_loss_that_training_takes(task: Task) -> None:
    learner = Learner(task, seed=2)
    (ids,) = examples = learner.draw(6)
    found = learner.gradient(examples)
    assert isinstance(learner.model, LanguageModel)
    learner.model.loss(ids[:, :-1].long(), ids[:, 1:].long()).backward()  # type: ignore[no-untyped-call]
    for gradient, parameter in zip(found, learner.model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_baseline_is_what_the_shares_of_the_bytes_alone_give(
    task: Task, tokens: TokenSet
) -> None:
    share = np.bincount(np.asarray(tokens.train), minlength=256) / len(tokens.train)
    held_out = np.asarray(tokens.val)
    assert task.baseline == pytest.approx(-np.log(share[held_out]).mean(), rel=0.01)


def test_learning_beats_the_baseline_on_a_fixed_held_out_text(task: Task) -> None:
    curve = train_curve(task, batch=16, rate=0.02, seed=0, most_steps=300, until=0.0)
    assert not curve.diverged
    assert curve.loss[0] == pytest.approx(np.log(256), rel=0.1)
    assert curve.loss[-1] < 0.9 * task.baseline
    learner = Learner(task, seed=0)
    assert learner.held_out() == learner.held_out()


def test_text_too_short_or_of_another_vocabulary_is_refused(tokens: TokenSet) -> None:
    with pytest.raises(InputError, match="vocabulary is 256"):
        language(tokens, replace(SHAPE, vocab=300), rate=0.02, rate_batch=16)
    few = replace(tokens, val=tokens.val[: HELD_OUT * 16 - 1])
    with pytest.raises(InputError, match="take a larger corpus"):
        language(few, SHAPE, rate=0.02, rate_batch=16)
