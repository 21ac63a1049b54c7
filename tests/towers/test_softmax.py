"""The whole softmax by a few rows at a time, against PyTorch's cross-entropy over all logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from langrec.towers import softmax
from langrec.towers.softmax import NEVER, whole_softmax


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(softmax, "AT_ONCE", 7 * 11)
    monkeypatch.setattr(softmax, "LEAST", 5)


def drawn(m, t=11, d=6):
    draw = torch.Generator().manual_seed(3)
    states = torch.randn(m, d, generator=draw, requires_grad=True)
    vectors = torch.randn(t, d, generator=draw, requires_grad=True)
    right = torch.randint(0, t, (m,), generator=draw)
    left_out = torch.rand(m, t, generator=draw) < 0.3
    left_out[torch.arange(m), right] = False
    return states, vectors, right, left_out


def plain(states, vectors, right, left_out, smoothing):
    logits = (states @ vectors.T).float()
    return functional.cross_entropy(logits.masked_fill(left_out, NEVER), right, label_smoothing=smoothing)


def with_gradients(loss, states, vectors):
    return [loss, *torch.autograd.grad(loss * 3, (states, vectors))]


@pytest.mark.parametrize("m", [1, 7, 20, 21])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_all_logits_at_once(m, smoothing):
    states, vectors, right, left_out = drawn(m)
    rows, columns = left_out.nonzero(as_tuple=True)
    found = whole_softmax(states, vectors, right, (rows.contiguous(), columns), smoothing)
    expected = plain(states, vectors, right, left_out, smoothing)
    pairs = zip(with_gradients(found, states, vectors), with_gradients(expected, states, vectors), strict=True)
    for ours, theirs in pairs:
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_nothing_left_out_is_the_plain_softmax():
    states, vectors, right, left_out = drawn(9)
    expected = plain(states, vectors, right, torch.zeros_like(left_out), 0.0)
    assert torch.allclose(whole_softmax(states, vectors, right), expected, rtol=1e-5)


def test_large_logits_stay_finite():
    states, vectors, right, _ = drawn(9)
    loss = whole_softmax(states * 1e4, vectors * 1e2, right)
    assert torch.isfinite(loss) and loss > 0


def test_products_are_made_in_the_type_that_autocast_asks_for():
    states, vectors, right, left_out = drawn(20)
    exact = whole_softmax(states, vectors, right)
    with torch.autocast("cpu", torch.bfloat16):
        low = whole_softmax(states, vectors, right)
        expected = plain(states, vectors, right, torch.zeros_like(left_out), 0.0)
    assert low != exact and torch.allclose(low, exact, rtol=2e-2)
    assert torch.allclose(low, expected, rtol=1e-4)
    assert all(one.dtype == torch.float32 for one in with_gradients(low, states, vectors))


def test_no_rows_are_no_loss():
    states, vectors, right, _ = drawn(3)
    loss = whole_softmax(states[:0], vectors, right[:0])
    assert loss == 0
    loss.backward()
    assert not vectors.grad.any()
