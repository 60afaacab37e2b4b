"""What evasion attacks share: steps and projections within an L∞ or L2 ball, and trying in turn.

References:
    Madry et al. (2018). Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.shared import tabular_perturbation
from harness.attacks.shared.redraws import Finds
from harness.batches import at_once
from harness.data.examples import Split
from harness.learning.scores import Redecides
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.data.dataset import Dataset

Norm = Literal["linf", "l2"]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of logits (n, classes), true labels (n,) and classes to reach (n,): what to raise, (n,)."""

PIXELS = (0.0, 1.0)
"""The range of every pixel and every number, in which a perturbed input has to stay."""


def check_epsilon(name: str, epsilon: float, norm: Norm) -> None:
    """Refuse a radius that is no radius.

    Raises:
        ZooError: ``epsilon`` is negative, or larger than the pixel range allows.
    """
    if not 0 <= epsilon < math.inf:
        raise ZooError(f"{name} wants epsilon of at least 0, found {epsilon}.")
    if norm == "linf" and epsilon > 1:
        raise ZooError(
            f"{name} wants epsilon in the pixel range [0, 1], found {epsilon:g}; for a radius of "
            f"8 grey levels write {8 / 255:.4f}."
        )


def check_counts(method: object, *names: str) -> None:
    """Refuse a setting of ``method`` that has to be at least 1 and is not.

    Raises:
        ZooError: One of the fields called ``names`` is less than 1.
    """
    for name in names:
        if getattr(method, name) < 1:
            raise ZooError(
                f"{method.name} wants {name} of at least 1, found {getattr(method, name)}."  # type: ignore[attr-defined]
            )


def radius(name: str, epsilon: float | None, norm: Norm, dataset: Dataset) -> float:
    """``epsilon`` if it is given and makes sense, else the dataset's customary radius.

    Raises:
        ZooError: See `check_epsilon`.
        NotApplicableError: The dataset has nothing that may be moved.
    """
    tabular_perturbation.check(name, dataset)
    epsilon = dataset.epsilon[norm] if epsilon is None else epsilon
    check_epsilon(name, epsilon, norm)
    return epsilon


def cross_entropy(logits: Tensor, y: Tensor, goal: Tensor) -> Tensor:
    """Of the true label; where another class is to be reached, that of the class, negated."""
    sign = 1 - 2 * (goal != y).to(logits.dtype)
    return sign * F.cross_entropy(logits, goal, reduction="none")


def logits_loss_gradient(
    model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """Logits (n, classes), each example's loss (n,), and its gradient by the input.

    No gradient of a parameter is computed or left behind. What the model decides is not always what
    these logits say; see `decided`.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        losses = loss(logits)
        gradient = None
        if losses.requires_grad:
            gradient = torch.autograd.grad(losses.sum(), x, allow_unused=True)[0]
    if gradient is None:  # the answers do not depend on the input in a way that can be followed
        gradient = torch.zeros_like(x)
    return logits.detach(), losses.detach(), gradient


def input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each example's own cross-entropy by its input; the shape of ``x``."""
    return logits_loss_gradient(model, x, lambda logits: cross_entropy(logits, y, y))[2]


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Values (n,) shaped to multiply ``like`` (n, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def sizes(delta: Tensor, norm: Norm) -> Tensor:
    """Size of each perturbation (n, ...), (n,)."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def norms(delta: Tensor) -> Tensor:
    """L2 norm of each example (n, ...), shaped to multiply it."""
    return per_example(sizes(delta, "l2"), delta)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 in ``norm`` along which the loss rises fastest."""
    if norm == "linf":
        return gradient.sign()
    return gradient / norms(gradient).clamp_min(1e-12)


def project(x: Tensor, start: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The nearest point within ``epsilon`` of ``start``, then the nearest within the pixels."""
    delta = x - start
    if norm == "linf":
        delta = delta.clamp(-epsilon, epsilon)
    else:
        delta = delta * (epsilon / norms(delta).clamp_min(1e-12)).clamp(max=1)
    return (start + delta).clamp(*PIXELS)


def random_start(points: Split, epsilon: float, norm: Norm, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from the ball around each of ``points``, clipped to the pixels.

    Of a table, from the ball of the numbers: the categories stay.
    """
    start, movable = points.x, tabular_perturbation.movable(points.x, points.columns)
    if norm == "linf":
        noise = torch.rand(start.shape, generator=generator).mul_(2).sub_(1) * epsilon
        noise = noise.to(start.device) * movable
    else:
        noise = torch.randn(start.shape, generator=generator).to(start.device) * movable
        dim = movable.flatten(1).sum(1).clamp_min(1).cpu()
        lengths = torch.rand(len(start), generator=generator) ** (1 / dim)
        noise = (
            noise / norms(noise).clamp_min(1e-12) * per_example(lengths.to(noise), noise) * epsilon
        )
    return (start + noise).clamp(*PIXELS)


@torch.no_grad()
def correct(model: nn.Module, data: Split) -> Tensor:
    """Which examples the model gets right, (n,) bool."""
    return model(data.x).argmax(1) == data.y


@torch.no_grad()
def decided(model: nn.Module, x: Tensor, logits: Tensor) -> Tensor:
    """The model's decisions (n,) int64.

    Args:
        model: In eval mode.
        x: Inputs (n, ...).
        logits: What `look` says of them. A guard that decides for itself is asked once more, as it
            shows something else to whoever differentiates.
    """
    if any(isinstance(part, Redecides) for part in model.modules()):
        logits = model(x)
    return logits.argmax(1)


def followed(model: nn.Module, x: Tensor) -> Tensor:
    """The logits (n, classes) that `look` gives, without the gradient."""
    with torch.enable_grad():
        return model(x.detach().requires_grad_()).detach()


def likely(model: nn.Module, data: Split, rank: int) -> Tensor:
    """The ``rank``-th most likely class besides the true one, from 1, (n,) int64.

    By the logits that can be followed: behind a guard the answers may rank nothing.
    """
    logits = followed(model, data.x).scatter(1, data.y[:, None], -math.inf)
    return logits.argsort(1, descending=True)[:, rank - 1]


def check_steps(name: str, steps: int, step_size: float | None) -> None:
    """Refuse steps that cannot be taken.

    Raises:
        ZooError: ``steps`` is below 1, or ``step_size`` below 0.
    """
    if steps < 1:
        raise ZooError(f"{name} wants steps of at least 1, found {steps}.")
    if step_size is not None and not step_size >= 0:  # 0 goes with a radius of 0
        raise ZooError(f"{name} wants step_size of at least 0, found {step_size}.")


def step_length(name: str, step_size: float | None, epsilon: float, customary: float) -> float:
    """``step_size`` if it is given and moves anything, else the customary one.

    Raises:
        ZooError: It is 0 though the radius is not: whatever is attacked so looks safe.
    """
    if step_size == 0 and epsilon > 0:
        raise ZooError(f"{name} wants step_size above 0 with an epsilon of {epsilon:g}, found 0.")
    return customary if step_size is None else step_size


def follow(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    centre: Tensor,
    *,
    epsilon: float,
    norm: Norm,
    steps: int,
    step_size: float,
) -> Tensor:
    """Follow ``gradient`` from ``start``, within ``epsilon`` of ``centre`` and the pixel range."""
    x = start
    for _ in range(steps):
        x = project(x + step_size * direction(gradient(x), norm), centre, epsilon, norm)
    return x


def ascend(
    model: nn.Module,
    points: Split,
    start: Tensor,
    *,
    epsilon: float,
    norm: Norm,
    steps: int,
    step_size: float,
    goal: Tensor | None = None,
    stop: bool = True,
) -> Tensor:
    """Steps of one length along the gradient of the cross-entropy, inside the ball.

    Args:
        model: In eval mode, on the device of ``points``.
        points: Centres of the balls, and true labels.
        start: Where to start, inside the balls.
        epsilon: Radius.
        norm: Of the ball and of the steps.
        steps: How many.
        step_size: Length of each.
        goal: Classes (n,) to reach, instead of just leaving the true one.
        stop: Whether an example stays where the model's decision is first wrong; where decisions
            are draws, see `harness.attacks.shared.redraws`.
    """
    goal = points.y if goal is None else goal
    out, row = start.clone(), torch.arange(len(points), device=start.device)
    x, origin, y = start, points.x, points.y
    finds = Finds(model if stop else None, start, points.y)
    for _ in range(steps):
        logits, _, gradient = logits_loss_gradient(
            model, x, lambda z, y=y, goal=goal: cross_entropy(z, y, goal)
        )
        if stop:
            standing = finds.going(row, x, decided(model, x, logits) == y)
            x, origin, y, goal, gradient, row = (
                t[standing] for t in (x, origin, y, goal, gradient, row)
            )
            if not len(row):
                break
        x = project(x + step_size * direction(gradient, norm), origin, epsilon, norm)
        out[row] = x
    if finds.is_random:
        finds.going(row, x, correct(model, Split(x, y)))
    return finds.best(out)


def try_in_turn(
    model: nn.Module,
    points: Split,
    tries: Sequence[Callable[[Split], Tensor]],
    *,
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """Try one thing after the other on every example that the model still gets right.

    Args:
        model: On ``device``.
        points: Anywhere; only a batch of them is taken to the device.
        tries: Each gives perturbed inputs of a batch.
        batch_size: Examples on the device at once.
        device: Where to compute.

    Returns:
        Of each example the perturbed input that the model gets wrong; else that of the last try.
        Where decisions are draws, the one of those that is wrong in most draws.
        Examples that the model gets wrong as they are stay as they are.
    """
    out = points.x.clone()
    for index in torch.arange(len(points), device=points.x.device).split(
        at_once(points.x, batch_size)
    ):
        batch = points.take(index).to(device)
        found = batch.x.clone()
        standing = correct(model, batch).nonzero().squeeze(1)
        finds = Finds(model, batch.x, batch.y)
        for attempt in tries:
            if not len(standing):
                break
            left = batch.take(standing)
            perturbed = attempt(left)
            found[standing] = perturbed
            right = correct(model, Split(perturbed, left.y))
            standing = standing[finds.going(standing, perturbed, right)]
        out[index] = finds.best(found).to(out.device)
    return out


CLASSES = 3
"""The fewest that the loss is defined for."""


def ratio(logits: Tensor, y: Tensor, goal: Tensor) -> Tensor:
    """How far the true class is behind the best other one, by the spread of the first three."""
    top = logits.sort(1, descending=True).values
    own = logits.gather(1, y[:, None]).squeeze(1)
    best_other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (best_other - own) / (top[:, 0] - top[:, 2] + 1e-12)
