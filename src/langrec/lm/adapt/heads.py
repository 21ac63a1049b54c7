"""A linear head over unit vectors while it is trained: as a layer, or in one go as logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from langrec.lm.adapt.head import Head

# Ridges of the logistic regression that validation chooses from, as shares of the mean loss.
RIDGES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
# Logits are divided by at most so much before they are judged.
HOTTEST = 20.0


class LinearHead(nn.Module):  # type: ignore[misc]
    """(b, d) unit rows to (b, c) logits.

    Unit rows have entries of about 1/sqrt(d): they are stretched by sqrt(d) first, so that usual learning rates fit.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.stretch = float(dim) ** 0.5
        self.linear = nn.Linear(dim, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.linear(vectors * self.stretch)

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Takes a regression's parameters, made for unit rows."""
        with torch.no_grad():
            self.linear.weight.copy_(weight / self.stretch)
            self.linear.bias.copy_(bias)

    def soften(self, temperature: float) -> None:
        """Divides every logit from now on."""
        with torch.no_grad():
            self.linear.weight /= temperature
            self.linear.bias /= temperature

    def as_head(self, labels: Sequence[str], loss: str = "softmax") -> Head:
        """What is kept of it."""
        weight = (self.linear.weight.detach() * self.stretch).float().cpu().numpy()
        return Head(weight, self.linear.bias.detach().float().cpu().numpy(), tuple(labels), loss)


def regression(
    vectors: Tensor, targets: Tensor, classes: int, ridge: float, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Logistic regression with a ridge, on unit rows: weight (c, d) and bias (c,).

    Args:
        vectors: (n, d).
        targets: (n,) class numbers; or (n,) float labels in [0, 1], for one class.
        classes: c; 1 for float labels.
        start: a weight and bias to begin at.
    """
    x, y = (vectors.detach() * vectors.shape[1] ** 0.5).float().cpu(), targets.cpu()
    stretch = vectors.shape[1] ** 0.5
    weight, bias = (torch.zeros((classes, x.shape[1])), torch.zeros(classes)) if start is None else start
    weight = (weight / stretch).clone().requires_grad_(True)
    bias = bias.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimiser.zero_grad()
        loss = _loss(x @ weight.T + bias, y) + ridge * (weight**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach() * stretch, bias.detach()


def best_regression(
    train: Tensor, targets: Tensor, classes: int, valid: Tensor | None, valid_targets: Tensor | None
) -> tuple[Tensor, Tensor, float]:
    """The regression whose ridge has the lowest log loss on validation, and that ridge; the middle one without any.

    Ridges are tried from strong to weak, each from the solution before it, until validation gets worse.
    """
    if valid is None or valid_targets is None or not len(valid):
        ridge = RIDGES[len(RIDGES) // 2]
        return *regression(train, targets, classes, ridge), ridge
    best, found = float("inf"), None
    now: tuple[Tensor, Tensor] | None = None
    for ridge in RIDGES:
        now = regression(train, targets, classes, ridge, now)
        loss = float(_loss(valid.cpu().float() @ now[0].T + now[1], valid_targets.cpu()))
        if loss >= best:
            break
        best, found = loss, (*now, ridge)
    return found or (*regression(train, targets, classes, RIDGES[0]), RIDGES[0])


def softened(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """The temperature from 1 to HOTTEST at which logits (n, c) have the lowest mean cross-entropy, and that loss.

    Fine-tuning makes a model surer than it is right: its log loss rises while it still learns, which one number mends
    (temperature scaling, Guo et al. 2017). Nothing is made surer: few rows that are all right would ask for that.
    """
    own, y = logits.detach().double().cpu(), targets.cpu()

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(own / float(np.exp(log_temperature)), y))

    at_one, found = loss(0.0), minimize_scalar(loss, bounds=(0.0, float(np.log(HOTTEST))), method="bounded")
    return (float(np.exp(found.x)), float(found.fun)) if found.fun < at_one else (1.0, at_one)


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, c), for class numbers or for labels in [0, 1]."""
    if targets.is_floating_point():
        return functional.binary_cross_entropy_with_logits(logits[:, 0].float(), targets.float())
    return functional.cross_entropy(logits.float(), targets)
