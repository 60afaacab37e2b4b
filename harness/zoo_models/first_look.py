"""What a user's checkpoint does on its data, before it is entered into the catalog."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Split
from harness.finite import NotFiniteError
from harness.metrics.label_order import doubt
from harness.target import BlackBox
from harness.types import Access
from harness.zoo_models.verify import measured_part
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.nets import Scaled

LOOKED_AT = 500
"""Examples at most; all of a dataset can be measured afterwards with `zoo verify`."""

SURE = 1e-3
"""p below which one scaling is better than the next."""

SCALINGS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0 and 1": ((0.0,), (1.0,)),
    "0.5 and 0.5": ((0.5,), (0.5,)),
    "0 and 1/255": ((0.0,), (1 / 255,)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST's": ((0.1307,), (0.3081,)),
}
"""Customary means and deviations of pixels in [0, 1]."""


@dataclass(frozen=True, eq=False)
class FirstLook:
    """Looks at a checkpoint's answers on its data, as `zoo.add.Look`.

    Attributes:
        source: Where dataset files are.
        say: Called with each sentence.
    """

    source: DataLocation
    say: Callable[[str], None]

    def __call__(self, entry: ModelEntry, net: nn.Module) -> ModelEntry:
        """The entry, with the scaling of its input if nobody said it and the data tell.

        A network that seems to number its classes otherwise than its data is a warning.

        Raises:
            ZooError: The scaling cannot be told from the data.
        """
        some = self._data(entry)
        if some is None:
            if entry.mean is not None:
                self.say(
                    f"The data of {entry.dataset} are not here, so its accuracy was not measured."
                )
            return entry
        if entry.mean is None or entry.std is None:
            entry = self._scaled(entry, net, some)
        predicted = self._predicted(entry, net, some)
        accuracy = (predicted == some.y).double().mean().item()
        self.say(f"accuracy {accuracy:.3f} on {len(some)} examples of {entry.dataset}")
        if renumbered := doubt(predicted.numpy(), some.y.numpy(), entry.num_classes):
            warnings.warn(f"{entry.name}: {renumbered}.", stacklevel=3)
        return entry

    def _data(self, entry: ModelEntry) -> Split | None:
        """Examples of its data in its shape, that it was not trained on if that is known."""
        try:
            if not datasets.is_here(entry.dataset, self.source):
                return None
            data: Dataset = datasets.load(entry.dataset, self.source)
        except ZooError:
            return None
        data = data.prepared(entry.preparation)
        if len(data.input_shape) != len(entry.input_shape):
            return None
        # Images of another size are resized; of other channels nothing is known.
        small = len(entry.input_shape) < 3
        if small and data.input_shape != entry.input_shape:
            return None
        if data.input_shape[0] != entry.input_shape[0]:
            raise ZooError(
                f"Images of {entry.dataset} have {data.input_shape[0]} channels, and {entry.name} "
                f"takes {entry.input_shape[0]}. Convert them, or give another --input-shape."
            )
        _, test = measured_part(entry, data)
        return test.take(torch.arange(0, len(test), -(-len(test) // LOOKED_AT)))

    def _predicted(self, entry: ModelEntry, net: nn.Module, some: Split) -> Tensor:
        assert entry.mean is not None
        assert entry.std is not None
        model = Scaled(net, entry.mean, entry.std, entry.input_shape).eval()
        return BlackBox(model, Access.LABELS).labels(some.x)

    def _scaled(self, entry: ModelEntry, net: nn.Module, some: Split) -> ModelEntry:
        channels = entry.input_shape[0]
        tried: list[tuple[float, str, ModelEntry, Tensor]] = []
        for name, (mean, std) in SCALINGS.items():
            if len(mean) not in (1, channels):
                continue
            one = replace(
                entry,
                mean=mean * (channels // len(mean)),
                std=std * (channels // len(std)),
            )
            try:
                right = self._predicted(one, net, some) == some.y
            except NotFiniteError:
                continue
            tried.append((right.double().mean().item(), name, one, right))
        tried.sort(key=lambda one: -one[0])
        told = ", ".join(f"{name}: {accuracy:.3f}" for accuracy, name, _, _ in tried)
        if len(tried) > 1:
            only_first = int((tried[0][3] & ~tried[1][3]).sum())
            only_second = int((~tried[0][3] & tried[1][3]).sum())
            p = binomtest(only_first, max(only_first + only_second, 1), 0.5).pvalue
            if p < SURE:
                self.say(f"mean and std were not given; taken are {tried[0][1]} (accuracy {told})")
                return tried[0][2]
        raise ZooError(
            f"Nobody says how the images of {entry.dataset} are scaled for {entry.name}, and on "
            f"{len(some)} of them no scaling stands out (accuracy {told}). Give --mean and --std."
        )
