"""The Square attack: random search by squares, from the target's scores alone.

References:
    Andriushchenko et al. (2020). Square Attack: a Query-efficient Black-box Adversarial Attack via
    Random Search. ECCV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation, square_rows, tabular_perturbation
from harness.attacks.shared.ball import WithinBall
from harness.attacks.shared.redraws import Finds
from harness.attacks.shared.square_rows import signs as _signs
from harness.batches import at_once
from harness.data.examples import Split
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After how many of 10,000 queries the squares get half their area."""

LEAST = 2
"""Queries about one example: the input itself, and one perturbed input."""

Start = Callable[[Tensor, float, torch.Generator], Tensor]
"""Inputs, a radius and a stream to perturbed inputs."""

Move = Callable[[Tensor, Tensor, float, float, torch.Generator], Tensor]
"""The best so far, the inputs, a radius, a share of the features and a stream to what to try."""

Answers = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Inputs to logits, or to anything that ranks and spaces the classes like them, and to decisions.

Of an attacker with the weights the logits may be those behind a guard, the decisions are its own.
"""


@dataclass(frozen=True, kw_only=True)
class Square(WithinBall):
    """Change one random square after the other, and keep what lowers the true class's margin.

    Rows of a table have no squares: some of a row's numbers are changed instead.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        queries: Most queries about one example; fewer if the budget is less.
        p_init: Share of the image, or of a row's numbers, that is changed at first.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "square"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Andriushchenko et al. (2020), https://arxiv.org/abs/1912.00049"

    queries: int = 5000  # Croce and Hein 2020
    p_init: float = 0.8  # Croce and Hein 2020
    batch_size: int = 256

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "batch_size")
        if self.queries < LEAST:
            raise ZooError(f"square wants queries of at least {LEAST}, found {self.queries}.")
        if not 0 < self.p_init <= 1:
            raise ZooError(f"square wants p_init in (0, 1], found {self.p_init}.")

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``.

        Raises:
            ZooError: The budget does not suffice for asking about every example.
        """
        points = data.points
        queries = self.queries
        if target.budget is not None:
            queries = min(queries, target.budget // len(points))
        if queries < LEAST:
            raise ZooError(
                f"square asks about {len(points)} examples at least {LEAST} times each, but the "
                f"query budget is {target.budget}. Raise --queries."
            )
        stream, out = generator("square", seed), points.x.clone()
        for index in torch.arange(len(points), device=out.device).split(
            at_once(points.x, self.batch_size)
        ):
            batch = points.take(index).to(target.device)
            out[index] = self._search(target, batch, queries, stream).to(out.device)
        return out

    def _search(
        self, target: BlackBox, points: Split, queries: int, stream: torch.Generator
    ) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        answers, out = _answers(target), points.x.clone()
        own = target.model if target.access.grants(Access.WEIGHTS) else None
        finds = Finds(own, points.x, points.y)
        _, decision = answers(points.x)
        broken = decision != points.y
        row = (~broken).nonzero().squeeze(1)
        if not len(row):
            return out
        origin, y = points.x[row], points.y[row]
        start, move = _moves(points, self.norm)
        best = start(origin, self.epsilon, stream)
        margin = torch.full_like(y, torch.inf, dtype=origin.dtype)
        new = best
        for asked in range(1, queries):
            logits, decision = answers(new)
            found = _margin(logits, y)
            # Where luck has been found already, only what the search would keep can be more.
            worth = (found < margin) | finds.unfound(row)
            going = finds.going(row, new, (decision == y) | ~worth)
            better = (found < margin) | ~going
            best = torch.where(perturbation.per_example(better, new), new, best)
            margin = torch.where(better, found, margin)
            out[row] = best
            row, origin, y, best, margin = (t[going] for t in (row, origin, y, best, margin))
            if not len(row):
                break
            new = move(best, origin, self.epsilon, self._area(asked, queries), stream)
        return finds.best(out)

    def _area(self, asked: int, queries: int) -> float:
        """Share of the image; the schedule is stretched to the number of queries."""
        done = asked / queries * 10_000
        return self.p_init / 2 ** sum(done > h for h in HALVINGS)


def _answers(target: BlackBox) -> Answers:
    if target.access.grants(Access.WEIGHTS):
        model = target.model

        def own(x: Tensor) -> tuple[Tensor, Tensor]:
            logits = perturbation.followed(model, x)
            return logits, perturbation.decided(model, x, logits)

        return own

    def told(x: Tensor) -> tuple[Tensor, Tensor]:
        scores = target.scores(x)
        # Logarithms of probabilities are logits up to a shift, as far as they are told.
        return scores.clamp_min(torch.finfo(x.dtype).tiny).log(), scores.argmax(1)

    return told


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    """By how much the true class leads (n,)."""
    own = logits.gather(1, y[:, None]).squeeze(1)
    return own - logits.scatter(1, y[:, None], -torch.inf).amax(1)


def _moves(points: Split, norm: perturbation.Norm) -> tuple[Start, Move]:
    """Where to start, and what to try next, for inputs like these."""
    if points.x.dim() == 2:
        kinds = {
            "linf": (square_rows.corner, square_rows.turn),
            "l2": (square_rows.sphere, square_rows.swap),
        }
        place, change = kinds[norm]

        def start_row(origin: Tensor, epsilon: float, stream: torch.Generator) -> Tensor:
            movable = tabular_perturbation.movable(origin, points.columns)
            return place(origin, epsilon, stream, movable=movable)

        def move_row(
            best: Tensor, origin: Tensor, epsilon: float, share: float, stream: torch.Generator
        ) -> Tensor:
            movable = tabular_perturbation.movable(origin, points.columns)
            return change(best, origin, epsilon, share, stream, movable=movable)

        return start_row, move_row
    start, change = (_stripes, _square) if norm == "linf" else (_tiles, _swap)
    pixels = points.x.shape[-1] * points.x.shape[-2]

    def move_square(
        best: Tensor, origin: Tensor, epsilon: float, share: float, stream: torch.Generator
    ) -> Tensor:
        return change(best, origin, epsilon, share * pixels, stream)

    return start, move_square


def _window(size: int, like: Tensor, stream: torch.Generator) -> tuple[slice, slice]:
    """A square somewhere in the image, the same one for every example of the batch."""
    corner = [int(torch.randint(n - size + 1, (1,), generator=stream)) for n in like.shape[-2:]]
    return slice(corner[0], corner[0] + size), slice(corner[1], corner[1] + size)


def _stripes(origin: Tensor, epsilon: float, stream: torch.Generator) -> Tensor:
    """Vertical stripes of one pixel, each by ``epsilon`` up or down."""
    n, channels, _, width = origin.shape
    stripes = _signs(n, channels, 1, width, stream=stream, like=origin)
    return (origin + epsilon * stripes).clamp(*perturbation.PIXELS)


def _square(
    best: Tensor, origin: Tensor, epsilon: float, area: float, stream: torch.Generator
) -> Tensor:
    """A square of ``best`` moved to a corner of the ball, each channel by itself."""
    size = min(max(round(area**0.5), 1), *origin.shape[-2:])
    rows, columns = _window(size, origin, stream)
    signs = _signs(*origin.shape[:2], 1, 1, stream=stream, like=origin)
    new = best.clone()
    new[..., rows, columns] = origin[..., rows, columns] + epsilon * signs
    return new.clamp(*perturbation.PIXELS)


def _bump(height: int, width: int) -> Tensor:
    """A hill in the middle: the sum of 1 / k² over the nested squares that a pixel is not in."""
    tops = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float32) ** 2
    far = [(torch.arange(n) - n // 2).abs() for n in (height, width)]
    distance = torch.maximum(far[0][:, None], far[1][None, :])
    return tops.flip(0).cumsum(0).flip(0)[distance]


def _pair(size: int, stream: torch.Generator) -> Tensor:
    """A hill beside a valley, of length 1, either way up."""
    shape = torch.cat([_bump(size // 2, size), -_bump(size - size // 2, size)])
    if torch.rand(1, generator=stream) > 0.5:
        shape = shape.T
    return shape / shape.norm()


def _tiles(origin: Tensor, epsilon: float, stream: torch.Generator) -> Tensor:
    """The image tiled with hills and valleys, five to a side."""
    n, channels, height, width = origin.shape
    size = max(min(height, width) // 5, 1)
    delta = torch.zeros_like(origin)
    for top in range(0, height - size + 1, size):
        for left in range(0, width - size + 1, size):
            pair = _pair(size, stream).to(origin)
            signs = _signs(n, channels, 1, 1, stream=stream, like=origin)
            delta[..., top : top + size, left : left + size] = signs * pair
    delta = epsilon * perturbation.direction(delta, "l2")
    return perturbation.project(origin + delta, origin, epsilon, "l2")


def _lengths(delta: Tensor) -> Tensor:
    return delta.flatten(2).norm(dim=2)[..., None, None]


def _swap(
    best: Tensor, origin: Tensor, epsilon: float, area: float, stream: torch.Generator
) -> Tensor:
    """The perturbation of one square taken away, and its length put into another square."""
    odd = [n - 1 + n % 2 for n in origin.shape[-2:]]
    size = min(max(round(area**0.5), 3) // 2 * 2 + 1, *odd)
    here, there = _window(size, origin, stream), _window(size, origin, stream)
    delta = best - origin
    within = torch.zeros_like(origin[:1, :1])
    within[..., there[0], there[1]] = within[..., here[0], here[1]] = 1
    unused = (epsilon**2 - perturbation.norms(delta) ** 2).clamp_min(0) / origin.shape[1]
    available = (_lengths(delta * within) ** 2 + unused).sqrt()  # (n, channels, 1, 1)
    old = delta[..., here[0], here[1]]
    signs = _signs(*origin.shape[:2], 1, 1, stream=stream, like=origin)
    new = signs * _pair(size, stream).to(origin) + old / _lengths(old).clamp_min(1e-12)
    delta[..., there[0], there[1]] = 0
    delta[..., here[0], here[1]] = new / _lengths(new).clamp_min(1e-12) * available
    return perturbation.project(origin + delta, origin, epsilon, "l2")
