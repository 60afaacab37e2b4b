"""Settings of papers, as data: the rows of their experiments by name.

References:
    Zhang et al. (2024). SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models.
    USENIX Security. https://arxiv.org/abs/2310.12665
    Liu et al. (2022). ML-Doctor: Holistic Risk Assessment of Inference Attacks Against Machine
    Learning Models. USENIX Security. https://arxiv.org/abs/2102.02551
    De et al. (2022). Unlocking High-Accuracy Differentially Private Image Classification through
    Scale. https://arxiv.org/abs/2204.13650
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.types import Access, Aux
from zoo.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment: an attack with its settings and its threat model.

    Attributes:
        id: What the row is called in results; empty for the project's own settings.
        settings: Of the attack.
        access: Most that is granted; None for all that the attack can use.
        aux: Kind of auxiliary data; None for the attack's default.
        share: Query budget as a share of the attacker's data; None for no limit.
        partial: Share of the training data that the attacker holds if ``aux`` is ``partial``; None
            for the customary half.
    """

    id: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    access: Access | None = None
    aux: Aux | None = None
    share: float | None = None
    partial: float | None = None


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The rows of one paper by attack, and its settings of defenses and detectors.

    Attributes:
        attacks: Rows by the name of the attack; None for every attack as it is.
        defenses: Settings by the name of the defense.
    """

    attacks: Mapping[str, tuple[Row, ...]] | None = None
    defenses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    def rows(self, attack: str) -> tuple[Row, ...]:
        """The experiments with this attack; none if the paper does not use it."""
        return (Row(),) if self.attacks is None else self.attacks.get(attack, ())

    def ids(self) -> dict[str, str]:
        """The attack of each row by the row's name."""
        rows = (self.attacks or {}).items()
        return {row.id: name for name, found in rows for row in found if row.id}

    def varied(self, attack: str, row: Row) -> list[str]:
        """The settings in which rows of this row's name differ."""
        alike = [other.settings for other in self.rows(attack) if other.id == row.id]
        return [key for key in row.settings if any(s.get(key) != row.settings[key] for s in alike)]


_RADII = (0.01, 0.03, 0.1)

_STEALING = {"surrogate": "resnet18-stem3", "optimizer": "sgd", "lr": 0.01, "epochs": 30}

# What the paper leaves open: momentum, weight decay and batch size of the surrogate (0, 0 and 64
# here), the grid of query budgets, and the scale of epsilon (pixels in [0, 1]).
# Its detectors (SN-A09 to A11) are asked about clean models only; BadNets is there so that they
# have something to find. An epoch of Neural Cleanse is `samples` images here.
SECURITYNET = Preset(
    attacks={
        "badnets": (Row(),),
        "distillation": (
            Row(id="SN-A01", settings=_STEALING, access=Access.SCORES, aux=Aux.PARTIAL),
            Row(id="SN-A02", settings=_STEALING, access=Access.SCORES, aux=Aux.OOD),
            Row(
                id="SN-A03",
                # Torchvision's network of this name takes coloured images only.
                settings={**_STEALING, "surrogate": "timm/wide_resnet50_2"},
                access=Access.SCORES,
                aux=Aux.PARTIAL,
            ),
            *(
                Row(
                    id="SN-A04",
                    settings=_STEALING,
                    access=Access.SCORES,
                    aux=Aux.PARTIAL,
                    share=share,
                )
                for share in (0.1, 0.25, 0.5, 0.75, 1.0)
            ),
        ),
        "correctness": (Row(id="SN-A05"),),
        "modified-entropy": (Row(id="SN-A06"),),
        "mlp": (
            Row(id="SN-A07", aux=Aux.PARTIAL),
            Row(id="SN-A08", settings={"top": 3}, aux=Aux.PARTIAL),
        ),
        "fgsm": tuple(
            Row(id="SN-A12", settings={"epsilon": epsilon}, access=Access.WEIGHTS)
            for epsilon in _RADII
        ),
        "transfer": tuple(
            Row(
                id="SN-A13",
                settings={"epsilon": epsilon, "method": "fgsm", "surrogate": "resnet18-stem3"},
                access=Access.LABELS,
                aux=Aux.PARTIAL,
            )
            for epsilon in _RADII
        ),
    },
    defenses={
        "neural-cleanse": {"epochs": 50, "threshold": 2.0},
        "strip": {"overlays": 10},
        "neo": {"regions": 200, "clusters": 3, "threshold": 0.8},
    },
)

_MEMINF = {"lr": 1e-5, "epochs": 50}

_INVERSION = {"threshold": 0.999, "lr": 1e-2, "iterations": 3000, "patience": 100}

_REVEALER = {
    "latent": 100,
    "lr": 1e-3,
    "momentum": 0.9,
    "weight": 100.0,
    "iterations": 1500,
    "clip": 1.0,
}

_ATTRINF = {"knows": "nothing", "lr": 1e-3, "epochs": 50, "batch_size": 64}

_MODSTEAL = {"loss": "mse", "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "epochs": 50}

# What the paper leaves open: the widths of its networks, and how long Secret Revealer's two are
# trained. Its shadow model is trained on data of its own; here on a quarter, like any
# other shadow model. Of DP-SGD it tells the budgets and not the noise: dp_epsilon of 8.41 and of
# 9.36 on Fashion-MNIST.
ML_DOCTOR = Preset(
    attacks={
        "distillation": (
            Row(
                id="MD-A09",
                settings=_MODSTEAL,
                access=Access.SCORES,
                aux=Aux.PARTIAL,
                partial=0.7,
            ),
            Row(id="MD-A10", settings=_MODSTEAL, access=Access.SCORES, aux=Aux.SHADOW),
        ),
        "mlp-black-box": (
            Row(id="MD-A01", settings=_MEMINF, aux=Aux.SHADOW),
            Row(id="MD-A02", settings=_MEMINF, aux=Aux.PARTIAL, partial=0.7),
        ),
        "mlp-white-box": (
            Row(id="MD-A03", settings=_MEMINF, aux=Aux.SHADOW),
            Row(id="MD-A04", settings=_MEMINF, aux=Aux.PARTIAL, partial=0.7),
        ),
        "fredrikson": (Row(id="MD-A05", settings=_INVERSION),),
        "gmi": (Row(id="MD-A06", settings=_REVEALER, aux=Aux.SHADOW),),
        "attribute-embeddings": (
            Row(id="MD-A07", settings=_ATTRINF, aux=Aux.SHADOW),
            Row(id="MD-A08", settings=_ATTRINF, aux=Aux.PARTIAL, partial=0.7),
        ),
    },
    defenses={"knowledge-distillation": {"temperature": 20.0, "alpha": 0.7}},
)

# The paper's WRN-16-4 on CIFAR-10 at (8, 1e-5): about 2,500 steps, each on 4,096 of the 50,000
# images; that many epochs give 2,496. The noise follows from the budget, since data of another size
# need other noise. What is not done: weight standardisation, and its order of layers, are matters
# of the architecture; group normalisation comes in for batch norm, as in the paper.
DE_ET_AL = Preset(
    defenses={
        "dpsgd": {
            "dp_epsilon": 8.0,
            "dp_delta": 1e-5,
            "max_grad_norm": 1.0,
            "augmentations": 16,
            "averaging": 0.9999,
            "optimizer": "sgd",
            "lr": 2.0,
            "epochs": 192,
            "batch_size": 4096,
        },
    },
)

PRESETS: dict[str, Preset] = {
    "de-et-al": DE_ET_AL,
    "securitynet": SECURITYNET,
    "ml-doctor": ML_DOCTOR,
}

_OWN = Preset()


def get(name: str | None) -> Preset:
    """The preset called ``name``; with None, every attack and defense as it is.

    Raises:
        UnknownNameError: There is no such preset.
    """
    if name is None:
        return _OWN
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]
