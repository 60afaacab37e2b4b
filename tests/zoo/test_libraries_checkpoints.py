"""Networks of timm, torchvision and pytorchcv: published, fetched and loaded, with equal logits."""

import hashlib
import io
import re
import socket
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from servers import Hub, Repo, Site
from torch import Tensor, nn

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model, load_weights
from zoo.nets import Scaled, build

State = dict[str, Tensor]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def entry_of(architecture: str, size: int = 32, classes: int = 10) -> ModelEntry:
    return ModelEntry(
        name=architecture,
        source=architecture.partition("/")[0],
        purpose="benchmark",
        dataset="cifar10",
        architecture=architecture,
        input_shape=(3, size, size),
        num_classes=classes,
        mean=MEAN,
        std=STD,
        licence="MIT",
        backdoored=False,
        artifact=None,
        recipe=None,
    )


def trained(entry: ModelEntry, seed: int = 0) -> nn.Module:
    """A network whose every number is random: fresh ones have norms of ones and zeros."""
    torch.manual_seed(seed)
    net = build(entry.architecture, entry.input_shape, entry.num_classes)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point() and value.min() == value.max():
                value.copy_(torch.rand_like(value) * 0.2 + (0.9 if "var" in key else 0.0))
    return net.eval()


def torch_file(state: State) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def same_logits(entry: ModelEntry, net: nn.Module, home: Home) -> None:
    """What is fetched gives what ``net`` gives, on pixels."""
    x = torch.rand(2, *entry.input_shape)
    model = load_model(entry, fetch(entry, home).path)
    with torch.no_grad():
        wanted = Scaled(net, MEAN, STD, entry.input_shape)(x)
        torch.testing.assert_close(model(x), wanted)
    assert wanted.shape == (2, entry.num_classes)
    assert wanted.std() > 1e-4


def without_counters(state: State) -> State:
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def old_densenet(state: State) -> State:
    """As before torch 0.4: dots in names, and no counters of batches."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in without_counters(state).items()
    }


def with_aux_heads(state: State) -> State:
    return {**state, "aux1.fc1.weight": torch.ones(3), "aux2.conv.bn.bias": torch.ones(3)}


CASES: list[tuple[str, int, Callable[[State], State]]] = [
    ("timm/resnet10t", 32, dict),
    ("timm/vit_tiny_patch16_224", 64, dict),
    ("timm/densenet121", 32, old_densenet),
    ("torchvision/shufflenet_v2_x0_5", 32, dict),
    ("torchvision/mnasnet0_5", 32, dict),
    ("torchvision/densenet121", 32, old_densenet),
    ("torchvision/googlenet", 64, with_aux_heads),
    ("pytorchcv/resnet20_cifar10", 32, dict),
]


@pytest.mark.parametrize(
    ("architecture", "size", "publish"), CASES, ids=[f"{a}-{p.__name__}" for a, _, p in CASES]
)
def test_published_as_a_torch_file_it_gives_the_same_logits(
    web: Site, home: Home, architecture: str, size: int, publish: Callable[[State], State]
) -> None:
    entry = entry_of(architecture, size)
    net = trained(entry)
    content = torch_file(publish(dict(net.state_dict())))
    web.files["/net.pth"] = content
    prefix = hashlib.sha256(content).hexdigest()[:8]
    artifact = Artifact(url=f"{web.url}/net.pth", sha256_prefix=prefix)
    same_logits(replace(entry, artifact=artifact), net, home)


def test_published_on_the_hub_a_timm_model_gives_the_same_logits(hub: Hub, home: Home) -> None:
    entry = entry_of("timm/resnet10t")
    net = trained(entry)
    content = safetensors.torch.save({k: v.contiguous() for k, v in net.state_dict().items()})
    hub.repos["timm/resnet10t.c3_in1k"] = Repo(commits={"a" * 40: {"model.safetensors": content}})
    artifact = Artifact(hub_repo="timm/resnet10t.c3_in1k")
    same_logits(replace(entry, artifact=artifact), net, home)


def test_published_in_an_archive_a_pytorchcv_model_gives_the_same_logits(
    web: Site, home: Home
) -> None:
    entry = entry_of("pytorchcv/resnet20_cifar10")
    net = trained(entry)
    content, file = torch_file(dict(net.state_dict())), io.BytesIO()
    sha1 = hashlib.sha1(content).hexdigest()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"resnet20_cifar10-{sha1[:8]}.pth", content)
    web.files["/net.pth.zip"] = file.getvalue()
    artifact = Artifact(
        url=f"{web.url}/net.pth.zip", sha1=sha1, member=f"resnet20_cifar10-{sha1[:8]}.pth"
    )
    same_logits(replace(entry, artifact=artifact), net, home)


def test_modules_of_torchvision_rename_what_their_older_versions_saved() -> None:
    entry = entry_of("torchvision/vit_b_16")
    state = build(entry.architecture, entry.input_shape, entry.num_classes).state_dict()
    names = {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}
    old = {
        re.sub(r"\.mlp\.[03]\.", lambda match: names[match[0]], key): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    torch.testing.assert_close(dict(load_weights(entry, old).state_dict()), dict(state))


@pytest.mark.parametrize(
    ("architecture", "publish"),
    [
        ("timm/densenet121", old_densenet),
        ("timm/dla34", dict),  # timm itself loads it without complaint when tensors are missing
        ("torchvision/densenet121", old_densenet),
        ("torchvision/googlenet", with_aux_heads),
        ("pytorchcv/resnet20_cifar10", dict),
    ],
)
def test_a_missing_tensor_is_reported_as_the_file_names_it(
    architecture: str, publish: Callable[[State], State]
) -> None:
    entry = entry_of(architecture, 64 if "googlenet" in architecture else 32)
    state = publish(dict(trained(entry).state_dict()))
    gone = next(key for key in state if key.endswith(".bias"))
    del state[gone]
    with pytest.raises(ZooError, match="do not fit architecture.*missing") as caught:
        load_weights(entry, state)
    if publish is dict:
        assert gone in str(caught.value)


@pytest.mark.parametrize("architecture", ["timm/resnet10t", "torchvision/mnasnet0_5"])
def test_every_kind_of_misfit_is_in_one_report(architecture: str) -> None:
    entry = entry_of(architecture)
    state = dict(trained(entry).state_dict())
    keys = [key for key in state if key.endswith(".weight")]
    del state[keys[0]]
    state["surplus"] = torch.ones(1)
    state[keys[-1]] = torch.ones(1, 2)
    with pytest.raises(ZooError) as caught:
        load_weights(entry, state)
    said = str(caught.value)
    assert f"missing {keys[0]}; unexpected surplus; wrong shape of {keys[-1]} (1, 2)" in said
    assert "\n" not in said


def test_another_number_of_classes_is_refused_and_not_dropped() -> None:
    entry = entry_of("timm/resnet10t")
    state = trained(replace(entry, num_classes=7)).state_dict()
    with pytest.raises(ZooError, match=r"wrong shape of fc\.weight"):
        load_weights(entry, state)


@pytest.mark.parametrize(
    "architecture",
    ["pytorchcv/resnet20_cifar10", "timm/dla34", "timm/resnet10t", "torchvision/mnasnet0_5"],
)
def test_a_tensor_that_no_network_has_is_not_dropped(architecture: str) -> None:
    entry = entry_of(architecture)
    state = {**trained(entry).state_dict(), "evil.weight": torch.ones(3)}
    with pytest.raises(ZooError, match=r"unexpected evil\.weight"):
        load_weights(entry, state)


def test_the_checkpoint_of_a_larger_network_is_refused() -> None:
    entry = entry_of("pytorchcv/resnet20_cifar10")
    larger = trained(entry_of("pytorchcv/resnet56_cifar10")).state_dict()
    with pytest.raises(ZooError, match="unexpected"):
        load_weights(entry, larger)


@pytest.mark.parametrize("surplus", ["AuxLogits.conv0.conv.weight", "evil.weight"])
def test_of_inception_only_the_head_for_training_is_dropped(surplus: str) -> None:
    entry = entry_of("timm/inception_v3", 96)
    state = dict(trained(entry).state_dict())
    published = {**state, surplus: torch.ones(3)}
    if surplus.startswith("Aux"):
        torch.testing.assert_close(dict(load_weights(entry, published).state_dict()), state)
    else:
        with pytest.raises(ZooError, match=r"unexpected evil\.weight"):
            load_weights(entry, published)


def keys_only(state: State) -> State:
    return {key: value for key, value in state.items() if not value.is_floating_point()}


@pytest.mark.parametrize("architecture", ["timm/densenet121", "timm/vit_tiny_patch16_224"])
@pytest.mark.parametrize(
    "publish",
    [
        old_densenet,
        keys_only,
        lambda state: {},
        lambda state: dict(list(state.items())[:3]),
        lambda state: {"epoch": torch.tensor(1)},
    ],
)
def test_timm_gets_nothing_from_the_network_whatever_it_is_given(
    architecture: str, publish: Callable[[State], State], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of(architecture, 64)
    state = publish(dict(trained(entry).state_dict()))
    asked = []

    def guard(*args: object, **_: object) -> None:
        asked.append(args)
        raise OSError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, guard)
    with suppress(ZooError):
        load_weights(entry, state)
    assert asked == []


def test_a_library_that_reads_no_file_is_told_as_a_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(*_: object, pretrained: bool = False, **__: object) -> nn.Module:
        raise OSError("no such file")

    entry = entry_of("timm/resnet10t")
    state = old_densenet(dict(trained(entry_of("timm/densenet121")).state_dict()))
    net = build(entry.architecture, entry.input_shape, entry.num_classes)
    monkeypatch.setattr("zoo.loading.network", lambda entry: net)
    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(ZooError, match="do not fit"):
        load_weights(entry, state)
