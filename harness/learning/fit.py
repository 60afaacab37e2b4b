"""The one training loop, its losses, and the types of what may change a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Split
from harness.finite import LARGEST_LOGIT, DivergedError
from harness.seeds import generator, seeded
from zoo.finite import tensor_not_finite
from zoo.recipe import Recipe


def batches(n: int, recipe: Recipe, seed: int) -> Iterator[Tensor]:
    """Index tensors of every step: each epoch a fresh shuffle, the last batch may be short."""
    order = generator("batches", seed)
    for _ in range(recipe.epochs):
        yield from torch.randperm(n, generator=order).split(recipe.batch_size)


def num_steps(n: int, recipe: Recipe) -> int:
    """How many batches `batches` gives."""
    return recipe.epochs * math.ceil(n / recipe.batch_size)


def make_optimizer(parameters: list[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; both kinds work element by element, so a cohort may share one."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def set_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    """Set the learning rate of step ``step`` (from 0) out of ``steps``."""
    if recipe.schedule == "cosine":
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit(
    model: nn.Module,
    data: Split,
    recipe: Recipe,
    *,
    seed: int,
    inputs: InputsOf | None = None,
    loss: LossOf | None = None,
    progress: Callable[[int, int], None] | None = None,
    after_epoch: Callable[[int], bool] | None = None,
) -> nn.Module:
    """Train ``model`` in place and return it in eval mode.

    Args:
        model: On the device of ``data``.
        data: ``y`` is (n,) int64 labels, or (n, classes) probabilities to reproduce.
        recipe: How to train.
        seed: Batch order, dropout where there is any, and the randomness of the next two.
        inputs: What to train on instead of the inputs of a step.
        loss: Of each example, instead of cross-entropy.
        progress: Called with steps done and steps in all.
        after_epoch: Called with the epochs done; whether the training ends with that.

    Raises:
        DivergedError: The last loss or a weight is not finite.
    """
    model.train()
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], recipe)
    steps = num_steps(len(data), recipe)
    in_epoch = steps // recipe.epochs
    stream = generator("hooks", seed)
    # Batch norm has no statistics of a single example, which may be all that is left of an epoch.
    kinds = nn.modules.batchnorm._BatchNorm
    fewest = 2 if any(isinstance(layer, kinds) for layer in model.modules()) else 1
    last = torch.zeros(())
    with seeded("dropout", seed):
        for step, batch in enumerate(batches(len(data), recipe, seed)):
            if len(batch) >= fewest:
                part = data.take(batch.to(data.x.device))
                if inputs:
                    part = replace(part, x=inputs(model, part, stream))
                set_lr(optimizer, recipe, step, steps)
                optimizer.zero_grad()
                last = step_loss(model, part, loss, stream)
                last.backward()
                optimizer.step()
                if progress:
                    progress(step + 1, steps)
            done, left = divmod(step + 1, in_epoch)
            if after_epoch and left == 0 and after_epoch(done):
                break
    if what := tensor_not_finite(model.state_dict()):
        raise DivergedError(what)
    if not last.detach().abs() <= LARGEST_LOGIT:  # NaN is not
        raise DivergedError(f"the loss of its last step is {last.item():.3g}")
    return model.eval()


def step_loss(
    model: nn.Module, batch: Split, loss: LossOf | None, stream: torch.Generator
) -> Tensor:
    """What one step descends: the weighted mean of its examples' losses.

    Args:
        model: In training mode.
        batch: Its examples.
        loss: Of each example; None for cross-entropy.
        stream: CPU generator for ``loss``.
    """
    if loss is None and batch.weight is None:
        return F.cross_entropy(model(batch.x), batch.y)
    return losses(model, batch, loss, stream).mean()


def losses(model: nn.Module, batch: Split, loss: LossOf | None, stream: torch.Generator) -> Tensor:
    """The weighted loss of each example (b,); see `step_loss`."""
    if loss is None:
        found = F.cross_entropy(model(batch.x), batch.y, reduction="none")
    else:
        found = loss(model, batch, stream)
    return found if batch.weight is None else batch.weight * found


InputsOf = Callable[[nn.Module, Split, torch.Generator], Tensor]
"""What to train on instead of a batch's inputs, from the model, the batch and a CPU generator."""


LossOf = Callable[[nn.Module, Split, torch.Generator], Tensor]
"""The loss of each example (b,) of a batch, from the same."""
