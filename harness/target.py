"""The target as an attacker may see it: what is not granted cannot be had."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from harness.batches import MOST, parts
from harness.finite import check_answers
from harness.types import Access
from zoo.errors import ZooError


class AccessDeniedError(ZooError):
    """An attack asked for more than its threat model grants."""


class BudgetError(ZooError):
    """An attack asked more questions than its threat model grants."""


class BlackBox:
    """A copy of a model behind an interface that counts queries and hides what is not granted.

    The model itself stays as it is: whoever owns it may go on training it. Answers that are not
    finite raise `harness.finite.NotFiniteError`.

    Attributes:
        access: What may be read.
        budget: How many inputs are answered; None for no limit.
        queries: How many inputs were answered so far.
        device: Where the model is.
    """

    def __init__(
        self, model: nn.Module, access: Access, *, budget: int | None = None, batch_size: int = MOST
    ) -> None:
        self._model = deepcopy(model).eval().requires_grad_(False)
        self._batch_size = batch_size
        # Where inputs are taken to, batch by batch; answers come back to where the inputs are.
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.access = access
        self.budget = budget
        self.queries = 0

    def labels(self, x: Tensor) -> Tensor:
        """Predicted classes (n,) int64 of inputs (n, channels, height, width)."""
        return self._logits(x).argmax(1)

    def scores(self, x: Tensor) -> Tensor:
        """Class probabilities (n, num_classes) of inputs (n, channels, height, width).

        Raises:
            AccessDeniedError: Only labels are granted.
        """
        self._need(Access.SCORES)
        return self._logits(x).softmax(1)

    @property
    def model(self) -> nn.Module:
        """A copy of the model, in eval mode, parameters frozen; differentiate it as you like.

        Raises:
            AccessDeniedError: Less than the weights is granted.
        """
        self._need(Access.WEIGHTS)
        return self._model

    def _need(self, access: Access) -> None:
        if not self.access.grants(access):
            raise AccessDeniedError(
                f"The attack wants {access}, but the target gives {self.access} only."
            )

    @torch.no_grad()
    def _logits(self, x: Tensor) -> Tensor:
        if self.budget is not None and self.queries + len(x) > self.budget:
            raise BudgetError(
                f"The attack wants {self.queries + len(x)} answers, but the query budget is "
                f"{self.budget}."
            )
        self.queries += len(x)
        # One place for all answers: small ones that are kept between batches of large inputs leave
        # the memory of each batch in pieces that the next one does not fit into.
        found: Tensor | None = None
        start = 0
        for part in parts(x, self._batch_size):
            answers = self._answers(part.to(self.device))
            if found is None:
                found = answers.new_empty((len(x), *answers.shape[1:]), device=x.device)
            found[start : start + len(part)] = answers
            start += len(part)
        assert found is not None, "an empty tensor has one part, which is empty"
        return found

    def _answers(self, x: Tensor) -> Tensor:
        found = self._model(x)
        check_answers(found)
        return found
