"""Differentially private training: clip each example's gradient, add noise to their sum.

Sampling, clipping, noise and accounting are Opacus's; this file decides what is handed to it and
reports what was spent. Batches are drawn by Poisson sampling, as the accounting assumes.

References:
    Abadi et al. (2016). Deep Learning with Differential Privacy. CCS.
    Mironov (2017). Rényi Differential Privacy. CSF.
    Yousefpour et al. (2021). Opacus: User-Friendly Differential Privacy Library in PyTorch.
    Li et al. (2022). Large Language Models Can Be Strong Differentially Private Learners. ICLR.
    De et al. (2022). Unlocking High-Accuracy Differentially Private Image Classification through
    Scale. https://arxiv.org/abs/2204.13650
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared import dp_accounting
from harness.defenses.shared.dp_clipping import CLIPPERS, Clipper, Clipping
from harness.defenses.shared.dp_views import MIRRORS, random_views
from harness.learning.fit import losses, make_optimizer, set_lr
from harness.learning.tuning import multiples, whole_multiples
from harness.seeds import derive, generator, seeded
from harness.types import Covered, NotApplicableError, Part, Risk, UnfitError
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.data.dataset import Dataset
    from harness.learning.fit import InputsOf, LossOf
    from harness.results import Value

# Opacus and torchvision are imported where they are used: a plan needs this class, not them.

DEFAULT_NOISE_MULTIPLIER = 1.0
SMALLEST_NOISE = 0.01
FLOATS_PER_GIB = 2**28


@dataclass(frozen=True, kw_only=True)
class DPSGD:
    """Train with (dp_epsilon, dp_delta)-differential privacy for single examples.

    Choose the noise or the budget, not both. Batch normalisation mixes the examples of a batch, so
    it is replaced: from scratch by group normalisation, in fine-tuning by the published statistics,
    frozen. When fine-tuning, the guarantee is for the fine-tuning examples, which the published
    weights have not seen; it is not for the data that those were made from. The noise follows from
    the seed, so that results can be made again: whoever knows it can take the noise off.

    Attributes:
        noise_multiplier: Standard deviation of the noise, as a multiple of ``max_grad_norm``;
            1.0 if no budget is given either.
        dp_epsilon: Budget to spend in full; the noise follows from it.
        dp_delta: Probability with which the guarantee may fail; must be below 1 / n.
        max_grad_norm: L2 norm that each example's gradient is clipped to.
        accountant: Whose numbers count: ``rdp`` (Rényi) or ``prv`` (privacy random variables).
            What the other one says is reported beside it.
        clipping: ``per-example`` keeps every example's gradient; ``ghost`` takes its norm layer by
            layer and goes back through the network a second time, in less memory: faster for
            linear layers, slower for convolutions. Both give the same weights.
        memory: GiB for the gradients of examples; a batch that needs more is taken in pieces,
            which gives the same sum.
        augmentations: Random views of each image whose gradients are averaged before clipping; 1
            trains on the images themselves.
        flips: Whether views are also mirrored; None to mirror where the dataset's labels allow it.
        averaging: Decay of the moving average of the weights, which replaces them in the end; 0
            for none. It costs no privacy.
        optimizer: In place of the recipe's; SGD is then without momentum.
        lr: Learning rate in place of the recipe's.
        epochs: Epochs in place of the recipe's.
        batch_size: Expected batch size in place of the recipe's.
        batch_norm: ``replace``, or ``refuse`` models that have it.
    """

    name: ClassVar[str] = "dpsgd"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.GRADIENTS})
    looks_at: ClassVar[Covered] = Covered.ACCOUNTED
    reference: ClassVar[str] = "Abadi et al. (2016), https://arxiv.org/abs/1607.00133"

    noise_multiplier: float | None = None
    dp_epsilon: float | None = None
    dp_delta: float = 1e-5
    max_grad_norm: float = 1.0
    accountant: dp_accounting.Accountant = "rdp"
    clipping: Clipping = "per-example"
    memory: float = 1.0
    augmentations: int = 1
    flips: bool | None = None
    averaging: float = 0.0
    optimizer: Literal["adam", "sgd"] | None = None
    lr: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    batch_norm: Literal["replace", "refuse"] = "replace"

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None and self.dp_epsilon is not None:
            raise ZooError(
                "dpsgd takes noise_multiplier or dp_epsilon, not both: one follows from the other."
            )
        for name in ("noise_multiplier", "dp_epsilon", "max_grad_norm", "dp_delta", "memory"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ZooError(f"dpsgd wants {name} above 0, found {value}.")
        if self.noise_multiplier is not None and self.noise_multiplier < SMALLEST_NOISE:
            raise ZooError(
                f"dpsgd wants noise_multiplier of at least {SMALLEST_NOISE}, found "
                f"{self.noise_multiplier}: with less, no accountant gives a guarantee."
            )
        if self.augmentations < 1:
            raise ZooError(f"dpsgd wants augmentations of at least 1, found {self.augmentations}.")
        if self.augmentations > 1 and self.clipping == "ghost":
            raise ZooError(
                "dpsgd cannot combine augmentations with clipping=ghost, which has no gradient to "
                "average over the views of an image; use clipping=per-example."
            )
        if not 0 <= self.averaging < 1:
            raise ZooError(f"dpsgd wants averaging from 0 to below 1, found {self.averaging}.")
        self._recipe(Recipe())

    def resolve(self, dataset: Dataset) -> Self:
        """Decide whether the views of images are mirrored.

        Raises:
            ZooError: The data are no images, so there are no views of them.
        """
        if self.augmentations == 1:
            return self
        if dataset.x.ndim != 4:
            raise ZooError(
                f"dpsgd.augmentations wants images, but {dataset.name} has rows of "
                f"{dataset.x.shape[1]} features, whose views nobody has defined; "
                f"use augmentations=1."
            )
        flips = dataset.name in MIRRORS if self.flips is None else self.flips
        return replace(self, flips=flips)

    def check(self, n: int, recipe: Recipe) -> None:
        """Refuse a budget that ``n`` training examples cannot give.

        Raises:
            ZooError: ``dp_delta`` is too large, or no noise reaches ``dp_epsilon``.
        """
        if self.dp_delta * n >= 1:
            raise ZooError(
                f"dpsgd wants dp_delta below 1/n = {1 / n:.2g} for {n} training examples, found "
                f"{self.dp_delta:g}: above it, publishing one whole example would count as private."
            )
        self._noise(n, self._recipe(recipe))

    def tunable(self, recipe: Recipe) -> dict[str, tuple[Value, ...]]:
        """Learning rate, with SGD the clipping norm, and with a budget batch size and epochs too.

        Larger learning rates and batches pay where gradients are noisy (De et al. 2022). With the
        noise given, epochs and batch size decide how much privacy is spent, so they stay. Adam's
        steps do not depend on the scale of the gradients, and so hardly on the clipping norm.
        """
        own = self._recipe(recipe)
        found: dict[str, tuple[Value, ...]] = {"lr": multiples(own.lr, 1, 2, 3, 5, 10)}
        if self.dp_epsilon is not None:
            found["batch_size"] = whole_multiples(own.batch_size, 1, 4)
            found["epochs"] = whole_multiples(own.epochs, 1, 2)
        if own.optimizer == "sgd":
            found["max_grad_norm"] = multiples(self.max_grad_norm, 1, 0.1)
        return found

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """Make every layer fit for per-example gradients.

        Raises:
            NotApplicableError: A layer has no private counterpart, or batch norm is refused.
        """
        layers = [
            n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        notes: dict[str, Any] = {}
        if layers and self.batch_norm == "refuse":
            raise UnfitError(
                f"dpsgd: {', '.join(map(repr, layers))} normalise by the batch, so the output for "
                f"one example depends on the others (batch_norm=replace replaces such layers by "
                f"group normalisation)."
            )
        instead = _frozen if fine_tuned else _by_groups
        for name in layers:
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], instead(model.get_submodule(name)))
        if layers:
            notes["batch_norm"] = {name: _named(model.get_submodule(name)) for name in layers}
            notes["flags"] = [
                f"dpsgd replaces {len(layers)} layers of batch normalisation "
                f"({_named(model.get_submodule(layers[0]))}), which the model without it keeps: "
                f"the effect is that of both"
            ]
        _refuse_unfit(model)
        return model, notes

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
        loss: LossOf | None = None,
    ) -> dict[str, Any]:
        """Train ``model`` in place; return the spent budget and how it was accounted.

        The budget is that of these steps. Whether it may be claimed of the model depends on all
        that touched the examples; see `harness.games.privacy`.

        Args:
            model: On the device of ``data``.
            data: The private examples.
            recipe: How to train; its batch size is the expected one.
            seed: Sampling, noise, dropout and the randomness of the next two.
            inputs: Another defense's change to the inputs of each step. It looks at one example at
                a time, so the guarantee holds.
            loss: Another defense's loss of each example. The guarantee holds for those that look
                at one example at a time; the others are left out of it by name.
        """
        from opacus.accountants import create_accountant
        from opacus.utils.uniform_sampler import UniformWithReplacementSampler

        recipe = self._recipe(recipe)
        n, device = len(data), data.x.device
        rate, steps = self._schedule(n, recipe)
        noise = self._noise(n, recipe)
        parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        averages = [p.detach().clone() for p in parameters] if self.averaging else []
        accountant = create_accountant(self.accountant)
        sampler = UniformWithReplacementSampler(
            num_samples=n, sample_rate=rate, steps=steps, generator=generator("poisson", seed)
        )
        optimizer = make_optimizer(parameters, recipe)
        with self._steps(model, optimizer, noise, round(rate * n), seed, inputs, loss) as private:
            noised = private.clipper.optimizer
            noised.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=rate))
            for step, drawn in enumerate(sampler):
                set_lr(optimizer, recipe, step, steps)
                private.add(data.take(torch.tensor(drawn, dtype=torch.int64, device=device)))
                noised.step()
                # Early weights are forgotten fast, or a short training would be mostly them.
                decay = min(self.averaging, (1 + step) / (10 + step))
                for average, p in zip(averages, parameters, strict=False):
                    average.lerp_(p.detach(), 1 - decay)
        for p, average in zip(parameters, averages, strict=False):
            p.data = average
        [(_, _, taken)] = accountant.history
        by = {
            name: dp_accounting.spent(name, noise, rate, taken, self.dp_delta)
            for name in ("rdp", "prv")
        }
        return {
            "dp_epsilon": by[self.accountant],
            "dp_epsilon_rdp": by["rdp"],
            "dp_epsilon_prv": by["prv"],
            "dp_delta": self.dp_delta,
            "accountant": self.accountant,
            "noise_multiplier": noise,
            "max_grad_norm": self.max_grad_norm,
            "sample_rate": rate,
            "steps": taken,
        }

    def release(
        self,
        model: nn.Module,
        batch: Split,
        *,
        seed: int,
        evidence: Mapping[str, Any] = MappingProxyType({}),
        inputs: InputsOf | None = None,
        loss: LossOf | None = None,
    ) -> tuple[Tensor, ...]:
        """The clipped, summed, noised and averaged gradient of one batch, which a step would use.

        Args:
            model: Left as it is.
            batch: Its examples; their number is taken to be the expected batch size too.
            seed: Of the noise, the views, dropout and the randomness of the next but one.
            evidence: What `fit` returned: it has the noise that ``dp_epsilon`` came to.
            inputs: Another defense's change to the inputs of the step.
            loss: Another defense's loss.

        Returns:
            One tensor for each parameter that requires a gradient, in the order of the model.

        Raises:
            NotApplicableError: The noise follows from a budget, and ``evidence`` does not tell how
                much it came to; or a layer has no per-example gradients.
        """
        noise = evidence.get("noise_multiplier", self.noise_multiplier or DEFAULT_NOISE_MULTIPLIER)
        if self.dp_epsilon is not None and "noise_multiplier" not in evidence:
            raise NotApplicableError(
                "dpsgd: how much noise dp_epsilon needs depends on the whole training, and one "
                "batch does not tell; give the evidence of the training."
            )
        model = copy.deepcopy(model).train()
        _refuse_unfit(model)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters)  # never steps
        with self._steps(model, optimizer, noise, len(batch), seed, inputs, loss) as private:
            private.add(batch)
            private.clipper.optimizer.pre_step()
        return tuple(p.grad.detach() for p in parameters if p.grad is not None)

    @contextmanager
    def _steps(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        noise: float,
        batch_size: int,
        seed: int,
        inputs: InputsOf | None,
        loss: LossOf | None,
    ) -> Iterator[_Steps]:
        """Steps of private training; the model is a plain one in eval mode afterwards.

        Args:
            model: On its device.
            optimizer: Of the parameters that require a gradient.
            noise: The noise multiplier.
            batch_size: The expected one, by which sums are divided.
            seed: Of all randomness of the steps.
            inputs: Another defense's change to the inputs.
            loss: Another defense's loss.
        """
        device = next(model.parameters()).device
        clipper = CLIPPERS[self.clipping](
            model.train(),
            optimizer,
            noise_multiplier=noise,
            max_grad_norm=self.max_grad_norm,
            expected_batch_size=batch_size,
            generator=torch.Generator(device).manual_seed(derive("noise", seed)),
        )
        fits = int(self.memory * FLOATS_PER_GIB / (clipper.floats() * self.augmentations))
        try:
            with seeded("dropout", seed), warnings.catch_warnings():
                # Opacus's hooks need no gradient by the inputs, which torch warns about.
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                yield _Steps(
                    model=model,
                    clipper=clipper,
                    views=self.augmentations,
                    flips=bool(self.flips),
                    piece=max(1, fits),
                    inputs=inputs,
                    loss=loss,
                    hooks=generator("hooks", seed),
                    shifts=generator("views", seed),
                )
        finally:
            # Opacus's hooks would break every attack that differentiates the model in eval mode.
            clipper.module.to_standard_module().eval()
            for p in clipper.optimizer.params:
                delattr(p, "summed_grad")

    def _recipe(self, recipe: Recipe) -> Recipe:
        own = {"lr": self.lr, "epochs": self.epochs, "batch_size": self.batch_size}
        own |= {"optimizer": self.optimizer, "momentum": 0.0 if self.optimizer else None}
        return replace(recipe, **{k: v for k, v in own.items() if v is not None})

    @staticmethod
    def _schedule(n: int, recipe: Recipe) -> tuple[float, int]:
        """Sampling rate and number of steps that equal the recipe's epochs in expectation."""
        rate = min(1.0, recipe.batch_size / n)
        return rate, recipe.epochs * math.ceil(1 / rate)

    def _noise(self, n: int, recipe: Recipe) -> float:
        if self.dp_epsilon is None:
            return self.noise_multiplier or DEFAULT_NOISE_MULTIPLIER
        rate, steps = self._schedule(n, recipe)
        return dp_accounting.noise_for(self.accountant, self.dp_epsilon, rate, steps, self.dp_delta)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Steps:
    """Training steps whose gradients are clipped example by example.

    Attributes:
        model: The network itself.
        clipper: Its hooks, and the optimizer that adds the noise.
        views: How many views of each image.
        flips: Whether they are mirrored too.
        piece: How many examples' gradients fit into memory.
        inputs: Another defense's change to the inputs.
        loss: Another defense's loss.
        hooks: CPU generator for these two.
        shifts: CPU generator of the views.
    """

    model: nn.Module
    clipper: Clipper
    views: int
    flips: bool
    piece: int
    inputs: InputsOf | None
    loss: LossOf | None
    hooks: torch.Generator
    shifts: torch.Generator

    def add(self, batch: Split) -> None:
        """Leave the sum of the clipped gradients of ``batch`` with the optimizer, to be noised."""
        *early, last = torch.arange(len(batch), device=batch.y.device).split(self.piece)
        for piece in early:
            self._clip(batch.take(piece))
            self.clipper.optimizer.signal_skip_step()
            self.clipper.optimizer.pre_step()
        self._clip(batch.take(last))

    def _clip(self, batch: Split) -> None:
        self.clipper.optimizer.zero_grad()
        if not len(batch):
            # Poisson sampling drew nobody: the step is noise alone, and it is accounted.
            self.clipper.nobody()
            return
        if self.views > 1:
            rows = torch.arange(len(batch), device=batch.y.device)
            x = random_views(batch.x, self.views, flips=self.flips, stream=self.shifts)
            batch = replace(batch.take(rows.repeat_interleave(self.views)), x=x)
        if self.inputs:
            self.clipper.module.disable_hooks()
            batch = replace(batch, x=self.inputs(self.model, batch, self.hooks))
            self.clipper.module.enable_hooks()
        self.clipper.clip(losses(self.clipper.module, batch, self.loss, self.hooks), self.views)


def _refuse_unfit(model: nn.Module) -> None:
    from opacus.validators import ModuleValidator

    problems = ModuleValidator.validate(model, strict=False)
    if problems:
        raise UnfitError(f"dpsgd: {str(problems[0]).splitlines()[0]}")


def _named(layer: nn.Module) -> str:
    """What stands in the place of a batch norm."""
    first = layer[0] if isinstance(layer, nn.Sequential) else layer
    if isinstance(first, nn.GroupNorm):
        return f"group normalisation, {first.num_groups} groups"
    return "frozen at its published statistics"


def _frozen(layer: nn.Module) -> nn.Module:
    """Batch normalisation as the fixed affine map that it is in eval mode, with what is in it."""
    from timm.layers.norm_act import BatchNormAct2d, freeze_batch_norm_2d

    if type(layer) not in (nn.BatchNorm2d, BatchNormAct2d):
        raise UnfitError(
            f"dpsgd: {type(layer).__name__} has no frozen counterpart (only BatchNorm2d has, also "
            f"with an activation as timm's)."
        )
    return freeze_batch_norm_2d(layer)


def _by_groups(layer: nn.Module) -> nn.Module:
    """Group normalisation in the place of batch normalisation, with what is in it.

    Opacus knows a layer by its type alone: of timm's batch norms, which have an activation in them,
    it sees neither that they mix the examples nor what would have to follow.
    """
    from opacus.validators import ModuleValidator
    from timm.layers.norm_act import BatchNormAct2d

    if type(layer) is BatchNormAct2d:
        told: Any = layer  # of a class that states no types
        plain = nn.BatchNorm2d(told.num_features, affine=told.affine)
        follows: list[nn.Module] = [told.drop, told.act]
        return nn.Sequential(ModuleValidator.fix(plain), *follows)
    if type(layer) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        raise UnfitError(
            f"dpsgd: {type(layer).__name__} normalises by the batch, and nothing is known that "
            f"could stand in its place."
        )
    return ModuleValidator.fix(layer)
