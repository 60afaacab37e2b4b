"""What an attack has found behind a guard whose decisions are draws, judged by other draws.

Such a guard is wrong about some inputs by luck alone. An attack that stops there has found no more
than a draw, and leaves an input that any draw would get wrong untried. So an example is done only
once it is wrong in every one of several draws of the attacker's own, and of all inputs that the
guard itself gets wrong the one that is kept is wrong in most of those. An attacker with the weights
draws without asking, so these draws are no queries.

Croce and Hein average gradients and losses over 20 passes, too. Here what is followed behind a
guard that draws is no draw, or the mean of many
(`harness.learning.scores.Redecides`).

References:
    Athalye, Carlini and Wagner (2018). Obfuscated Gradients Give a False Sense of Security. ICML.
    Croce and Hein (2020). Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks. ICML.
    LYMDLUT and Buntender (2024). Fixed evaluation of models with random defenses.
    https://github.com/fra31/auto-attack/pull/105
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.batches import parts
from harness.learning.scores import drawn_again, is_random

DRAWS = 20
"""Of the attacker's own; as many as the passes of Croce and Hein (2020)."""


class Finds:
    """The best input of each of n examples so far.

    Behind a guard that does not draw, an example is done as soon as the answer is wrong, and
    nothing has to be kept.
    """

    def __init__(self, model: nn.Module | None, x: Tensor, y: Tensor) -> None:
        """Nothing is found yet.

        Args:
            model: As it answers, in eval mode; None for an attacker without the weights, who has no
                draws but the answers.
            x: The examples (n, ...).
            y: Their labels (n,).
        """
        self._model = model if model is not None and is_random(model) else None
        if self._model is not None:
            self._x, self._y = x.clone(), y
            self._share = torch.full(y.shape, -1.0, device=y.device)

    @property
    def is_random(self) -> bool:
        """Whether decisions are draws."""
        return self._model is not None

    def going(self, row: Tensor, x: Tensor, standing: Tensor) -> Tensor:
        """Which (m,) bool of the examples at ``row`` are to be tried further.

        Args:
            row: (m,) int64.
            x: What was tried of each.
            standing: (m,) bool, whether the answer is still right.
        """
        if self._model is None:
            return standing
        at, tried = row[~standing], x[~standing]
        share = wrong_in(self._model, tried, self._y[at])
        better = share > self._share[at]
        self._x[at[better]], self._share[at[better]] = tried[better], share[better]
        return self._share[row] < 1

    def unfound(self, row: Tensor) -> Tensor:
        """Which (m,) bool of the examples at ``row``, which are still tried, were never wrong."""
        if self._model is None:
            return torch.ones_like(row, dtype=torch.bool)
        return self._share[row] < 0

    def best(self, otherwise: Tensor) -> Tensor:
        """What was found, and ``otherwise`` (n, ...) of the examples of which nothing was."""
        if self._model is None:
            return otherwise
        found = (self._share >= 0).view(-1, *[1] * (otherwise.dim() - 1))
        return torch.where(found, self._x, otherwise)


@torch.no_grad()
def wrong_in(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """In which share (n,) of the attacker's own draws each input (n, ...) is decided wrongly."""
    wrong = torch.zeros(len(x), device=x.device)
    if not len(x):
        return wrong
    device = next((p.device for p in model.parameters()), x.device)
    for draw in range(DRAWS):
        with drawn_again(model, f"attacker {draw}"):
            labels = torch.cat([model(part.to(device)).argmax(1) for part in parts(x)])
        wrong += labels.to(y.device) != y
    return wrong / DRAWS
