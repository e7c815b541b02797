"""Blocked attention and the fused loss: the numbers of torch's own functions, and their gradients.

`gradcheck` in 64 bits is the independent witness; torch's composed functions are the second.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

import torch.nn.functional as F  # noqa: E402

from isoloss.lab.models import cross_entropy as module  # noqa: E402
from isoloss.lab.models.attention import BLOCK, blocked_attention  # noqa: E402
from isoloss.lab.models.cross_entropy import linear_cross_entropy  # noqa: E402


def draw(*sizes: int, dtype: Any = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(sum(sizes))
    return torch.randn(sizes, generator=generator, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("t", [1, 5, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 7])
def test_blocked_attention_is_causal_attention(t: int) -> None:
    q, k, v = (draw(2, 3, t, size) for size in (5, 5, 5))
    q = (3 * q.detach()).requires_grad_()  # sharp enough for the softmax to matter
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    found = blocked_attention(q, k, v)
    torch.testing.assert_close(found, expected)
    weight = draw(2, 3, t, 5).detach()
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), (q, k, v)), wanted)


def test_blocked_attention_takes_heads_that_are_strided_in_memory() -> None:
    x = draw(2, 7, 3 * 4 * 5)
    q, k, v = (part.view(2, 7, 4, 5).transpose(1, 2) for part in x.split(20, 2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(blocked_attention(q, k, v), expected)


def test_gradients_of_blocked_attention_are_its_slopes() -> None:
    inputs = tuple(draw(1, 2, 6, size) for size in (3, 3, 3))
    assert torch.autograd.gradcheck(blocked_attention, inputs)


@pytest.mark.parametrize("logits", [1 << 19, 7 * 17, 1])
def test_the_loss_in_parts_is_the_loss(logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._LOGITS, "cpu", logits)  # rows at once: all, seven, four
    hidden, weight = draw(11, 4), draw(17, 4)
    targets = torch.arange(11) * 5 % 17
    expected = F.cross_entropy(hidden @ weight.t(), targets)
    found = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    wanted = torch.autograd.grad(3 * expected, (hidden, weight))
    torch.testing.assert_close(
        torch.autograd.grad(3 * found, (hidden, weight)), wanted, rtol=1e-5, atol=1e-8
    )


def test_a_target_of_no_probability_has_a_finite_loss() -> None:
    hidden = torch.tensor([[1.0, 0.0]], requires_grad=True)
    weight = torch.tensor([[300.0, 0.0], [0.0, 300.0]], requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.tensor([1]))
    assert float(loss.detach()) == 300.0  # exp(-300) is zero in 32 bits
    loss.backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[300.0, -300.0]]


def test_a_loss_that_is_not_finite_says_so() -> None:
    hidden = torch.tensor([[float("inf"), 0.0]], requires_grad=True)
    loss = linear_cross_entropy(hidden, draw(3, 2, dtype=torch.float32), torch.tensor([1]))
    assert not torch.isfinite(loss)


def test_under_autocast_products_are_narrow_and_the_loss_is_not() -> None:
    hidden, weight = draw(64, 16, dtype=torch.float32), draw(32, 16, dtype=torch.float32)
    targets = torch.arange(64) % 32
    exact = linear_cross_entropy(hidden, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, targets)
    assert found.dtype == torch.float32
    assert found != exact  # bfloat16 has been at work
    assert float(found.detach()) == pytest.approx(float(exact.detach()), rel=5e-3)
    wanted = torch.autograd.grad(exact, (hidden, weight))
    for grad, right in zip(torch.autograd.grad(found, (hidden, weight)), wanted, strict=True):
        assert grad.dtype == torch.float32
        assert float((grad - right).norm() / right.norm()) < 0.02
