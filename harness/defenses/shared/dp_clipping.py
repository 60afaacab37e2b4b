"""Two ways to the same sum of clipped gradients; both are Opacus's.

References:
    Yousefpour et al. (2021). Opacus: User-Friendly Differential Privacy Library in PyTorch.
    https://arxiv.org/abs/2109.12298
    Li et al. (2022). Large Language Models Can Be Strong Differentially Private Learners. ICLR.
    https://arxiv.org/abs/2110.05679
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    import torch
    from opacus import GradSampleModule
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizer

Clipping = Literal["per-example", "ghost"]


class Clipper(Protocol):
    """Lends a network hooks that see each example's gradient."""

    @property
    def module(self) -> GradSampleModule | GradSampleModuleFastGradientClipping:
        """The network with its hooks."""
        ...

    @property
    def optimizer(self) -> DPOptimizer:
        """Adds up clipped gradients; adds the noise when it steps."""
        ...

    def floats(self) -> int:
        """How many numbers are held for one example at the worst moment."""
        ...

    def clip(self, losses: Tensor, views: int) -> None:
        """Hand the optimizer the gradients of some examples, b of them, at least 1.

        Args:
            losses: From one pass through `module`, (b * views,); the views of one example follow
                each other.
            views: How many of them are one example.
        """
        ...

    def nobody(self) -> None:
        """Hand the optimizer the gradients of no examples."""
        ...


class PerExample:
    """Keeps the gradient of every example until all norms are known."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, **settings: Any) -> None:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        self.module = GradSampleModule(model)
        self.optimizer = DPOptimizer(optimizer, **settings)

    def floats(self) -> int:
        """As many as there are parameters."""
        return sum(p.numel() for p in self.optimizer.params)

    def clip(self, losses: Tensor, views: int) -> None:
        """One pass back; the gradients of the views of an example are averaged."""
        losses.mean().backward()
        if views > 1:
            for p, gradients in zip(
                self.optimizer.params, self.optimizer.grad_samples, strict=True
            ):
                _keep(p, gradients.unflatten(0, (-1, views)).mean(1))

    def nobody(self) -> None:
        """An empty sum."""
        for p in self.optimizer.params:
            _keep(p, p.new_zeros((0, *p.shape)))


class Ghost:
    """Keeps norms only, layer by layer, and goes back a second time with the losses weighted."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, **settings: Any) -> None:
        from opacus.grad_sample import GradSampleModuleFastGradientClipping
        from opacus.optimizers import DPOptimizerFastGradientClipping

        self.module = GradSampleModuleFastGradientClipping(
            model, max_grad_norm=settings["max_grad_norm"]
        )
        self.optimizer = DPOptimizerFastGradientClipping(optimizer, **settings)

    def floats(self) -> int:
        """As many as the largest layer has parameters, of those whose norm has no short cut."""
        return max(
            1,
            *(
                sum(p.numel() for p in layer.parameters(recurse=False) if p.requires_grad)
                for layer in self.module.modules()
                if type(layer) not in self.module.NORM_SAMPLERS
            ),
        )

    def clip(self, losses: Tensor, views: int) -> None:
        """Two passes back."""
        from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

        assert views == 1, "the norm of a mean does not follow from the norms of its parts"
        DPTensorFastGradientClipping(self.module, self.optimizer, losses).backward()

    def nobody(self) -> None:
        """An empty sum."""
        for p in self.optimizer.params:
            p.grad = p.new_zeros(p.shape)


CLIPPERS: dict[Clipping, type[PerExample] | type[Ghost]] = {
    "per-example": PerExample,
    "ghost": Ghost,
}


def _keep(p: nn.Parameter, gradients: Tensor) -> None:
    # Opacus's own attribute, which the type of a parameter does not have.
    setattr(p, "grad_sample", gradients)  # noqa: B010
