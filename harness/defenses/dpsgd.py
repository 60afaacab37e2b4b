"""Differentially private training: clip each example's gradient, add noise to their sum.

Sampling, clipping, noise and accounting are Opacus's; this file decides what is handed to it and
reports what was spent. Batches are drawn by Poisson sampling, as the accounting assumes.

References:
    Abadi et al. (2016). Deep Learning with Differential Privacy. CCS.
    Mironov (2017). Rényi Differential Privacy. CSF.
    Yousefpour et al. (2021). Opacus: User-Friendly Differential Privacy Library in PyTorch.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness.seeds import derive, generator, seeded
from harness.stack import NotApplicableError
from harness.training import make_optimizer, set_lr
from harness.types import Part, Risk, Split
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.stack import InputsOf

# Opacus and torchvision are imported where they are used: a plan needs this class, not them.

DEFAULT_NOISE_MULTIPLIER = 1.0
SMALLEST_NOISE = 0.01


@dataclass(frozen=True, kw_only=True)
class DPSGD:
    """Train with (dp_epsilon, dp_delta)-differential privacy for single examples.

    Choose the noise or the budget, not both. Batch normalisation mixes the examples of a batch, so
    it is replaced: from scratch by group normalisation, in fine-tuning by the published statistics,
    frozen. When fine-tuning, the guarantee is for the fine-tuning examples, which the published
    weights have not seen; it is not for the data that those were made from.

    Attributes:
        noise_multiplier: Standard deviation of the noise, as a multiple of ``max_grad_norm``;
            1.0 if no budget is given either.
        dp_epsilon: Budget to spend in full; the noise follows from it.
        dp_delta: Probability with which the guarantee may fail; must be below 1 / n.
        max_grad_norm: L2 norm that each example's gradient is clipped to.
        accountant: ``rdp`` (Rényi) or ``prv`` (privacy random variables).
        lr: Learning rate in place of the recipe's.
        epochs: Epochs in place of the recipe's.
        batch_size: Expected batch size in place of the recipe's.
        batch_norm: ``replace``, or ``refuse`` models that have it.
    """

    name: ClassVar[str] = "dpsgd"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.GRADIENTS})
    reference: ClassVar[str] = "Abadi et al. (2016), https://arxiv.org/abs/1607.00133"

    noise_multiplier: float | None = None
    dp_epsilon: float | None = None
    dp_delta: float = 1e-5
    max_grad_norm: float = 1.0
    accountant: Literal["rdp", "prv"] = "rdp"
    lr: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    batch_norm: Literal["replace", "refuse"] = "replace"

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None and self.dp_epsilon is not None:
            raise ZooError(
                "dpsgd takes noise_multiplier or dp_epsilon, not both: one follows from the other."
            )
        for name in ("noise_multiplier", "dp_epsilon", "max_grad_norm", "dp_delta"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ZooError(f"dpsgd wants {name} above 0, found {value}.")
        if self.noise_multiplier is not None and self.noise_multiplier < SMALLEST_NOISE:
            raise ZooError(
                f"dpsgd wants noise_multiplier of at least {SMALLEST_NOISE}, found "
                f"{self.noise_multiplier}: with less, no accountant gives a guarantee."
            )
        self._recipe(Recipe())

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

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """Make every layer fit for per-example gradients.

        Raises:
            NotApplicableError: A layer has no private counterpart, or batch norm is refused.
        """
        from opacus.validators import ModuleValidator

        layers = [
            n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        notes: dict[str, Any] = {}
        if layers and self.batch_norm == "refuse":
            raise NotApplicableError(
                f"dpsgd: layer {layers[0]!r} is batch normalisation, whose output for one example "
                f"depends on the others in the batch (batch_norm=replace replaces it)."
            )
        if layers and fine_tuned:
            for name in layers:
                parent = model.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], _frozen(model.get_submodule(name)))
            notes["batch_norm"] = f"{len(layers)} layers frozen at their published statistics"
        elif layers:
            model = ModuleValidator.fix(model)
            notes["batch_norm"] = f"{len(layers)} layers replaced by group normalisation"
        problems = ModuleValidator.validate(model, strict=False)
        if problems:
            raise NotApplicableError(f"dpsgd: {str(problems[0]).splitlines()[0]}")
        return model, notes

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> dict[str, Any]:
        """Train ``model`` in place; return the spent budget and how it was accounted.

        Args:
            model: On the device of ``data``.
            data: The private examples.
            recipe: How to train; its batch size is the expected one.
            seed: Sampling, noise, dropout and the randomness of ``inputs``.
            inputs: Another defense's change to the inputs of each step. It looks at one example at
                a time, so the guarantee holds.
        """
        from opacus import GradSampleModule
        from opacus.accountants import create_accountant
        from opacus.optimizers import DPOptimizer
        from opacus.utils.uniform_sampler import UniformWithReplacementSampler

        recipe = self._recipe(recipe)
        n, device = len(data), data.x.device
        rate, steps = self._schedule(n, recipe)
        noise = self._noise(n, recipe)
        private = GradSampleModule(model.train())
        optimizer = DPOptimizer(
            make_optimizer([p for p in model.parameters() if p.requires_grad], recipe),
            noise_multiplier=noise,
            max_grad_norm=self.max_grad_norm,
            expected_batch_size=round(rate * n),
            generator=torch.Generator(device).manual_seed(derive("noise", seed)),
        )
        accountant = create_accountant(self.accountant)
        optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=rate))
        sampler = UniformWithReplacementSampler(
            num_samples=n, sample_rate=rate, steps=steps, generator=generator("poisson", seed)
        )
        stream = generator("hooks", seed)
        with seeded("dropout", seed), warnings.catch_warnings():
            # Opacus's hooks need no gradient by the inputs, which torch warns about.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            for step, batch in enumerate(sampler):
                set_lr(optimizer, recipe, step, steps)
                optimizer.zero_grad()
                if batch:
                    index = torch.tensor(batch, device=device)
                    x, y = data.x[index], data.y[index]
                    if inputs:
                        private.disable_hooks()
                        x = inputs(model, x, y, stream)
                        private.enable_hooks()
                    F.cross_entropy(private(x), y).backward()
                else:
                    # Poisson sampling drew nobody: the step is noise alone, and it is accounted.
                    for p in optimizer.params:
                        setattr(p, "grad_sample", p.new_zeros((0, *p.shape)))  # noqa: B010
                optimizer.step()
        # Opacus's hooks would break every attack that differentiates the model in eval mode.
        private.to_standard_module().eval()
        spent = accountant.get_epsilon(self.dp_delta)
        return {
            # So little noise that the accountant gives up is no guarantee at all.
            "dp_epsilon": spent if math.isfinite(spent) else None,
            "dp_delta": self.dp_delta,
            "accountant": self.accountant,
            "noise_multiplier": noise,
            "max_grad_norm": self.max_grad_norm,
            "sample_rate": rate,
            "steps": steps,
        }

    def _recipe(self, recipe: Recipe) -> Recipe:
        own = {"lr": self.lr, "epochs": self.epochs, "batch_size": self.batch_size}
        return replace(recipe, **{k: v for k, v in own.items() if v is not None})

    @staticmethod
    def _schedule(n: int, recipe: Recipe) -> tuple[float, int]:
        """Sampling rate and number of steps that equal the recipe's epochs in expectation."""
        rate = min(1.0, recipe.batch_size / n)
        return rate, recipe.epochs * math.ceil(1 / rate)

    def _noise(self, n: int, recipe: Recipe) -> float:
        if self.dp_epsilon is None:
            return self.noise_multiplier or DEFAULT_NOISE_MULTIPLIER
        from opacus.accountants.utils import get_noise_multiplier

        rate, steps = self._schedule(n, recipe)
        try:
            with warnings.catch_warnings():
                # On its way the search tries noise that no Rényi order bounds tightly.
                warnings.filterwarnings("ignore", message="Optimal order is")
                return get_noise_multiplier(
                    target_epsilon=self.dp_epsilon,
                    target_delta=self.dp_delta,
                    sample_rate=rate,
                    steps=steps,
                    accountant=self.accountant,
                )
        except ValueError as error:
            raise ZooError(
                f"dpsgd cannot reach dp_epsilon={self.dp_epsilon:g} at dp_delta={self.dp_delta:g} "
                f"with {n} examples and {steps} steps at any noise; ask for a larger dp_epsilon."
            ) from error


def _frozen(layer: nn.Module) -> nn.Module:
    """Batch normalisation as the fixed affine map that it is in eval mode."""
    from torchvision.ops import FrozenBatchNorm2d

    if not isinstance(layer, nn.BatchNorm2d):
        raise NotApplicableError(
            f"dpsgd: {type(layer).__name__} has no frozen counterpart (only BatchNorm2d has)."
        )
    frozen = FrozenBatchNorm2d(layer.num_features, eps=layer.eps)
    frozen.load_state_dict(layer.state_dict())
    return frozen
