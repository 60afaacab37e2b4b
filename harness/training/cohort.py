"""Training many models: every model of the project goes through `train`.

Many small models are trained at once, parameters stacked, one vmapped step for all.

A cohort's members share architecture, recipe, number of examples and stage of the pipeline; each
has its own initialisation, data and batch order, drawn exactly as if it were trained alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from harness.data.examples import Split
from harness.finite import check_training
from harness.learning.fit import batches, fit, make_optimizer, num_steps, set_lr
from harness.seeds import derive
from harness.training.job import Job, Trained, network
from harness.training.single import train_alone
from zoo import nets
from zoo.recipe import Recipe

WIDTH = 4
"""Models in the measurement that decides whether a cohort pays."""


def train(
    jobs: list[Job], pool: Split, bases: dict[str, dict[str, Tensor]]
) -> Iterator[tuple[Job, Trained, int]]:
    """Train all jobs and give each model as soon as it is finished, in any order.

    Jobs that may share their steps do so where that was measured to be faster.

    Args:
        jobs: All on the dataset that ``pool`` holds.
        pool: The whole dataset, on the device to train on.
        bases: Starting weights by sha256, for jobs that fine-tune.

    Yields:
        The job, its model, and how many models were trained with it.
    """
    for group in groups(jobs):
        if len(group) > 1 and pays(group, pool):
            for job, model in zip(group, train_together(group, pool, bases), strict=True):
                yield job, Trained(model, {}), len(group)
        else:
            for job in group:
                base = bases[job.base] if job.base else None
                yield job, train_alone(job, pool.take(job.index.to(pool.x.device)), base), 1


def groups(jobs: list[Job]) -> list[list[Job]]:
    """The jobs, with those side by side that could be trained together; first come first."""
    found: dict[tuple[object, ...], list[Job]] = {}
    for position, job in enumerate(jobs):
        alike = (
            job.architecture,
            job.input_shape,
            job.num_classes,
            job.mean,
            job.std,
            job.recipe,
            len(job.index),
            job.base is None,
        )
        found.setdefault(alike if may_share(job) else (position,), []).append(job)
    return list(found.values())


def may_share(job: Job) -> bool:
    """Whether this job gives the same model in a cohort as alone, up to rounding.

    Any defense may make its data, steps or network differ from the others'. Batch norm makes
    training chaotic: the rounding of a shared step, 1e-7, is another model after ten epochs.
    """
    if job.stack or job.poison or job.second or job.recipe is None:
        return False
    return not _has_batch_norm(job.architecture, job.input_shape, job.num_classes)


@cache
def _has_batch_norm(architecture: str, input_shape: tuple[int, ...], num_classes: int) -> bool:
    net = nets.skeleton(architecture, input_shape, num_classes)
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules())


def pays(jobs: list[Job], pool: Split) -> bool:
    """Whether these jobs are trained faster together on this device, by a short measurement."""
    job = jobs[0]
    assert job.recipe is not None, "groups() leaves such jobs alone"
    return _pays(
        job.architecture,
        job.input_shape,
        job.num_classes,
        min(job.recipe.batch_size, len(job.index)),
        job.recipe.optimizer,
        str(pool.x.device),
        torch.get_num_threads(),
    )


@cache
def _pays(
    architecture: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    batch_size: int,
    optimizer: Literal["adam", "sgd"],
    device: str,
    threads: int,
) -> bool:
    """Seconds of three steps of `WIDTH` models, together and one by one, the best of two tries."""
    recipe = Recipe(optimizer=optimizer, epochs=1, batch_size=batch_size)
    data = Split(
        torch.rand(3 * batch_size, *input_shape, device=device),
        torch.arange(3 * batch_size, device=device) % num_classes,
    )
    channels = input_shape[0]
    jobs = [
        Job(
            dataset="",
            fingerprint="",
            index=torch.arange(len(data)),
            architecture=architecture,
            input_shape=input_shape,
            num_classes=num_classes,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            recipe=recipe,
            seed=seed,
        )
        for seed in range(WIDTH)
    ]

    def together() -> None:
        train_together(jobs, data, {})

    def alone() -> None:
        for job in jobs:
            fit(network(job, None)[0].to(device), data, recipe, seed=0)

    def seconds(work: Callable[[], None]) -> float:
        best = float("inf")
        for _ in range(2):
            begin = time.process_time() if device == "cpu" else time.perf_counter()
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            end = time.process_time() if device == "cpu" else time.perf_counter()
            best = min(best, end - begin)
        return best

    try:
        return seconds(together) < seconds(alone)
    except RuntimeError as error:
        # Dropout under vmap would not draw what it draws alone; such models are trained one by one.
        if "randomness" in str(error):
            return False
        raise


def train_together(
    jobs: list[Job], pool: Split, bases: dict[str, dict[str, Tensor]]
) -> list[nn.Module]:
    """Train one group of jobs with shared steps; the models in eval mode, in order.

    Args:
        jobs: One of `groups`.
        pool: The whole dataset, on the device to train on.
        bases: Starting weights by sha256.

    Raises:
        DivergedError: One of them is no model.
    """
    device = pool.x.device
    models = [
        network(job, bases[job.base] if job.base else None)[0].to(device).train() for job in jobs
    ]
    skeleton, recipe, n = models[0], jobs[0].recipe, len(jobs[0].index)
    assert recipe is not None, "groups() leaves such jobs alone"
    params, buffers = stack_module_state(models)
    optimizer = make_optimizer(list(params.values()), recipe)
    index = torch.stack([job.index for job in jobs]).to(device)  # (m, n)
    steps = num_steps(n, recipe)

    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(skeleton, (params, buffers), (x,)), y)

    gradients = vmap(grad(loss), randomness="error")
    orders = zip(*(batches(n, recipe, derive("train", job.seed)) for job in jobs), strict=True)
    for step, order in enumerate(orders):
        batch = index.gather(1, torch.stack(order).to(device))  # (m, b)
        set_lr(optimizer, recipe, step, steps)
        found = gradients(params, buffers, pool.x[batch], pool.y[batch])
        for name, parameter in params.items():
            parameter.grad = found[name]
        optimizer.step()
    for position, model in enumerate(models):
        stacked = {**params, **buffers}
        model.load_state_dict({name: stacked[name][position] for name in model.state_dict()})
        check_training(model.eval(), pool.x)
    return models
