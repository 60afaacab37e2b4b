"""Training one model from a job that says everything about it.

A model is determined by its job alone. Whether it was trained by itself or in a cohort of others
(`harness.training.cohort`), the result agrees to floating point tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness import registry
from harness.attacks.protocol import AttackerData
from harness.data.datasets import Dataset
from harness.defenses.protocol import LEFT_OUT, GuardsBySecond, Spares
from harness.defenses.shared.defender import Workshop, trusted_index
from harness.defenses.stack import Stack, step_loss
from harness.finite import LARGEST_LOGIT, DivergedError, check_model, check_training
from harness.results import Method
from harness.seeds import derive, generator, seeded
from harness.types import NotApplicableError, Split, UnfitError
from zoo import nets
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.files import digest
from zoo.finite import tensor_not_finite
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.attacks.protocol import Poisoned
    from harness.defenses.protocol import InputsOf, LossOf

ARTIFACT_FORMAT = 3
"""Part of every job's key: raise it when training changes what a job gives."""


def check_data(entry: ModelEntry, dataset: Dataset) -> None:
    """Refuse a dataset that is no longer what a model of the catalog was entered for.

    Images may have another size: the network scales them. What a published model of images calls
    its classes is its publisher's affair.

    Raises:
        ZooError: A table has other features, or a model to be trained is for other classes.
    """
    tables = 1 in (len(entry.input_shape), len(dataset.input_shape))
    reshaped = tables and entry.input_shape != dataset.input_shape
    if reshaped or (entry.recipe is not None and entry.num_classes != dataset.num_classes):
        took, has = ("x".join(map(str, one.input_shape)) for one in (entry, dataset))
        raise ZooError(
            f"{entry.name} was added for {took} features and {entry.num_classes} classes, but "
            f"{dataset.name} has {has} and {dataset.num_classes} now. Add it again under another "
            f"name with zoo add --train, or get the data that it was added for."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """Everything that determines one trained model.

    Attributes:
        dataset: Name of the dataset.
        fingerprint: Digest of its contents.
        index: (n,) int64, the examples to train on.
        architecture: Key of `zoo.nets.build`.
        input_shape: (channels, height, width) or (features,) of the network's input.
        num_classes: Number of logits.
        mean: Input scaling, per channel.
        std: Input scaling, per channel.
        recipe: How to train; None to leave the weights of ``base`` as they are before the defenses
            edit them.
        stack: The defenses with all their settings.
        seed: Initialisation, batch order and the defenses' randomness.
        base: sha256 of the weights to start from; None to start at random.
        poison: The attack that changes the training data; None if nobody does.
        thief: The attack whose surrogate this is, trained on the labels of its own examples by its
            own recipe; None for a model of the owner's kind.
        second: The guard, of `harness.defenses.protocol.GuardsBySecond`, whose second model this
            is, trained on part of the examples; None for a model that is trained on all.
    """

    dataset: str
    fingerprint: str
    index: Tensor
    architecture: str
    input_shape: tuple[int, ...]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe | None
    stack: tuple[Method, ...] = ()
    seed: int = 0
    base: str | None = None
    poison: Method | None = None
    thief: Method | None = None
    second: Method | None = None

    @classmethod
    def of(
        cls,
        entry: ModelEntry,
        dataset: Dataset,
        index: Tensor,
        *,
        recipe: Recipe | None,
        seed: int,
        stack: tuple[Method, ...] = (),
        base: str | None = None,
        poison: Method | None = None,
    ) -> Job:
        """The job that trains a model of the catalog on some examples of its dataset.

        Raises:
            ZooError: The model's source does not say how its input is scaled.
        """
        mean, std = entry.scaling
        return cls(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            index=index,
            architecture=entry.architecture,
            input_shape=entry.input_shape,
            num_classes=entry.num_classes,
            mean=mean,
            std=std,
            recipe=recipe,
            stack=stack,
            seed=seed,
            base=base,
            poison=poison,
        )

    @classmethod
    def stolen(
        cls, dataset: Dataset, index: Tensor, *, architecture: str, thief: Any, seed: int
    ) -> Job:
        """The job that trains a thief's surrogate on the labels of some examples.

        Args:
            dataset: The target's.
            index: (n,) int64, what the thief holds.
            architecture: Of the surrogate.
            thief: An attack, of `harness.attacks.protocol.LearnsLabels`.
            seed: Of the attack.
        """
        return cls(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            index=index,
            architecture=architecture,
            input_shape=dataset.input_shape,
            num_classes=dataset.num_classes,
            mean=(),  # a surrogate takes its inputs as they are
            std=(),
            recipe=None,
            seed=seed,
            thief=registry.describe(thief),
        )

    @property
    def spec(self) -> dict[str, Any]:
        """The job as JSON values; the examples are named by the digest of their indices."""
        poison, thief, second = (
            [method.name, dict(method.params)] if method else None
            for method in (self.poison, self.thief, self.second)
        )
        return {
            "format": ARTIFACT_FORMAT,
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "index": digest(self.index.tolist()),
            "n": len(self.index),
            "architecture": self.architecture,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "mean": list(self.mean),
            "std": list(self.std),
            "recipe": asdict(self.recipe) if self.recipe else None,
            "stack": [[method.name, dict(method.params)] for method in self.stack],
            "seed": self.seed,
            "base": self.base,
            **({"poison": poison} if poison else {}),
            **({"thief": thief} if thief else {}),
            **({"second": second} if second else {}),
        }

    @property
    def key(self) -> str:
        """Digest of `spec`: the artifact's name in the store."""
        return digest(self.spec)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Attributes:
        model: In eval mode.
        evidence: What its defenses say for themselves.
        left_out: (k,) int64, which of the training data, as they came to the defenses, it was not
            fitted to; None if none of the defenses decides about that.
    """

    model: nn.Module
    evidence: dict[str, Any]
    left_out: Tensor | None = None


def network(job: Job, base: dict[str, Tensor] | None) -> tuple[nn.Module, dict[str, Any]]:
    """The untrained model of a job (scaling built in, defenses' changes made), and their notes.

    Args:
        job: What to build.
        base: Weights to start from, if ``job.base`` names some.
    """
    if job.thief is not None:
        with seeded("surrogate", job.seed):
            return nets.build(job.architecture, job.input_shape, job.num_classes), {}
    with seeded("init", job.seed):
        net = nets.build(job.architecture, job.input_shape, job.num_classes)
        if base is not None:
            net.load_state_dict(base)
        model: nn.Module = nets.Scaled(net, job.mean, job.std, job.input_shape)
        return Stack.of(registry.defenses(job.stack)).adapt(model, fine_tuned=base is not None)


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


def collected(job: Job, data: Split) -> Poisoned | None:
    """The examples of a job as its owner gets them from an attacker; None if nobody poisons any.

    Args:
        job: What is made.
        data: The examples that ``job.index`` names.
    """
    if job.poison is None:
        return None
    return registry.attack(job.poison).poison(
        data,
        trusted=trusted_index(len(data), job.seed),
        num_classes=job.num_classes,
        seed=derive("poison", job.seed),
    )


def workshop(job: Job, data: Split, trusted: Split, base: dict[str, Tensor] | None) -> Workshop:
    """What the defenses of ``job`` may use.

    Args:
        job: What is made.
        data: The training data.
        trusted: The examples of `harness.defenses.shared.defender.trusted_index`.
        base: Weights to start from, if ``job.base`` names some.
    """
    seed = derive("train", job.seed)

    def train(data: Split) -> nn.Module:
        if job.recipe is None:
            raise UnfitError(
                "A published model as downloaded is not trained; this defense has to train one."
            )
        model, _ = network(replace(job, stack=()), base)
        return fit(model.to(data.x.device), data, job.recipe, seed=seed)

    return Workshop(
        data=data,
        trusted=trusted,
        num_classes=job.num_classes,
        train=train,
        recipe=job.recipe,
        seed=seed,
    )


def train_alone(
    job: Job,
    data: Split,
    base: dict[str, Tensor] | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train one job on its examples ``data``.

    Args:
        job: What to train.
        data: The examples that ``job.index`` names.
        base: Weights to start from, if ``job.base`` names some.
        progress: Called with steps done and steps in all, by training without defenses.

    Raises:
        DivergedError: What came out is no model.
    """
    if job.thief is not None:
        return Trained(_surrogate(job, data), {})
    stack = Stack.of(registry.defenses(job.stack))
    trusted = trusted_index(len(data), job.seed)
    checked = data.take(trusted.to(data.x.device))
    poisoned = None
    if (found := collected(job, data)) is not None:
        data, poisoned = found.data, found.poisoned
        if found.left_out is not None:
            trusted = trusted - found.left_out.cpu().cumsum(0)[trusted]
    shop = workshop(job, data, checked, base)
    if job.second is not None:
        return Trained(_second(job.second, data, shop), {})
    ready = stack.clean(data, shop, poisoned, trusted)
    data, spared = ready.data, None
    model, evidence = network(job, base)
    evidence |= ready.notes
    model.to(data.x.device)
    stack.prepare(model, data)
    if job.recipe is None:
        pass
    elif stack.loop is not None:
        loss = stack.loss_for(shop)
        hooks = {"inputs": stack.inputs} | ({"loss": loss} if loss else {})
        evidence |= stack.loop.fit(model, data, job.recipe, seed=shop.seed, **hooks)
        if LEFT_OUT in evidence:
            if not isinstance(stack.loop, Spares):
                raise RuntimeError(f"{stack} leaves examples out, but has no spared() to say which")
            spared = torch.zeros(len(data), dtype=torch.bool)
            spared[evidence.pop(LEFT_OUT)] = True
    else:
        fit(
            model,
            data,
            job.recipe,
            seed=shop.seed,
            inputs=stack.inputs,
            loss=stack.loss_for(shop),
            progress=progress,
        )
    left_out = None
    if ready.judges or spared is not None:
        left_out = ready.left_out(spared).nonzero().flatten()
    if job.recipe is not None:
        check_training(model.eval(), data.x)
    made = stack.edit(model.eval(), data, shop).eval()
    check_model(made, data.x, role="model that the defenses made")
    return Trained(made, evidence, left_out)


def would_leave_out(
    job: Job, base: dict[str, Tensor] | None, data: Split, trusted: Tensor | None = None
) -> Tensor | None:
    """Which examples the training of a job would have left out, had they been its data.

    Its defenses are given them from the start, as the training data were, and judge them by each
    other. So for a model that remembers nothing, what is left of two draws from one population is
    alike, whatever the defenses go by.

    Args:
        job: What decides.
        base: Weights to start from, if ``job.base`` names some.
        data: Examples that ``job`` was not trained on, about as many.
        trusted: Which of those (int64) the owner would have checked; drawn as in training if None.

    Returns:
        (n,) bool; None if the defenses cannot say because they refuse these examples.
    """
    stack = Stack.of(registry.defenses(job.stack))
    if trusted is None:
        trusted = trusted_index(len(data), job.seed)
    shop = workshop(job, data, data.take(trusted.to(data.x.device)), base)
    loop, spared = stack.loop, None
    try:
        ready = stack.clean(data, shop, trusted=trusted)
        if isinstance(loop, Spares) and job.recipe is not None:
            model = network(job, base)[0].to(data.x.device)
            stack.prepare(model, ready.data)
            hooks = {"seed": shop.seed, "inputs": stack.inputs}
            spared = loop.spared(model, ready.data, job.recipe, **hooks)
    except NotApplicableError:
        return None
    return ready.left_out(spared)


def _second(method: Method, data: Split, shop: Workshop) -> nn.Module:
    """The second model of a guard, as its owner trains it on part of the collected ``data``."""
    (guard,) = registry.defenses((method,))
    assert isinstance(guard, GuardsBySecond)
    part = data.take(guard.second(len(data), shop.seed).to(data.x.device))
    model = shop.train(part)
    check_training(model, part.x)
    return model


def _surrogate(job: Job, held: Split) -> nn.Module:
    """What the thief of ``job`` learns from the labels of the examples ``held``."""
    assert job.thief is not None
    data = AttackerData(
        aux=replace(held, z={}),
        num_classes=job.num_classes,
        architecture=job.architecture,
        input_shape=job.input_shape,
        columns=held.columns,
    )
    return registry.attack(job.thief).unasked(data, seed=job.seed)
