"""Entries whose networks come from installed packages can be built and used."""

import re
from functools import cache
from importlib.metadata import version
from typing import Any

import pytest
import torch

from annotations.load import load
from zoo import nets
from zoo.errors import ZooError

SOURCES = ("timm", "torchvision")
INSTALLED = {name: version(name).split("+")[0] for name in SOURCES}


@cache
def cheapest(number: int) -> list[Any]:
    """One entry of each of the architectures with the fewest FLOPs, the cheapest first."""
    annotations = load()
    flops = {
        tuple(row.values[k] for k in ("architecture", "input_shape", "num_classes")): row.values
        for row in annotations.of("networks")
    }
    entries: dict[Any, Any] = {}
    for source in SOURCES:
        for row in annotations.rows[source]:
            values = row.values
            key = tuple(values[k] for k in ("architecture", "input_shape", "num_classes"))
            entries.setdefault(values["architecture"], (flops[key], values))
    ordered = sorted(entries.values(), key=lambda pair: pair[0]["flops"])
    return ordered[:number]


@pytest.mark.parametrize("place", range(300))
def test_an_entry_is_built_with_fresh_weights_and_classifies_a_batch(place: int) -> None:
    counts, values = cheapest(300)[place]
    net = nets.build(values["architecture"], values["input_shape"], values["num_classes"])
    library = values["architecture"].split("/")[0]
    if counts["counted_with"].endswith(f"{library} {INSTALLED[library]}"):
        assert sum(p.numel() for p in net.parameters()) == counts["parameters"]
    model = nets.Scaled(net, values["mean"], values["std"], values["input_shape"]).eval()
    with torch.no_grad():
        logits = model(torch.rand(2, *values["input_shape"]))
    assert logits.shape == (2, values["num_classes"])
    assert logits.isfinite().all()


def test_the_network_that_is_advised_instead_exists() -> None:
    import timm
    from torchvision import models

    advised = []
    for name in models.list_models(module=models):
        with pytest.raises(ZooError, match="takes images of 3 channels, not 1") as said:
            nets.build(f"torchvision/{name}", (1, 64, 64), 10)
        text = str(said.value)
        assert ". Choose another" in text
        advised += re.findall(r"such as timm/(\S+)\.$", text)
    assert [name for name in advised if not timm.is_model(name)] == []
    assert "resnet18" in advised
    assert "alexnet" not in advised
