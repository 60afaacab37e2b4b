"""What lies beside a checkpoint and says something else of it is named with both values."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.add import add
from zoo.beside import contradictions
from zoo.entry import ModelEntry
from zoo.home import Home

NAMES = [f"class {number}" for number in range(10)]


@pytest.fixture
def scaled(entry: ModelEntry) -> ModelEntry:
    return replace(entry, input_shape=(3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


@pytest.mark.parametrize(
    ("file", "said", "told"),
    [
        # Model-Connect 1165: the input is prepared otherwise than in training.
        (
            "preprocessor_config.json",
            {"image_mean": [0.5, 0.5, 0.5]},
            "says 0.5,0.5,0.5, where --mean is 0.5,0.4,0.3.",
        ),
        (
            "config.json",
            {"pretrained_cfg": {"std": [0.2, 0.2, 0.25], "mean": [0.5, 0.4, 0.3]}},
            "says 0.2,0.2,0.25, where --std is 0.2,0.2,0.2.",
        ),
        (
            "preprocessor_config.json",
            {"size": {"shortest_edge": 40}, "crop_size": {"height": 36, "width": 36}},
            "says images of 36,36, where --input-shape ends in 32,32.",
        ),
        (
            "config.json",
            {"pretrained_cfg": {"input_size": [3, 64, 64]}},
            "says images of 64,64, where --input-shape ends in 32,32.",
        ),
        # libreyolo 348: the classes are in another order.
        (
            "config.json",
            {"id2label": {str(9 - place): name for place, name in enumerate(NAMES)}},
            "numbers its classes 9, 8, 7, ... in id2label, not 0 to 9 in order",
        ),
        (
            "config.json",
            {"id2label": {str(place + 1): name for place, name in enumerate(NAMES)}},
            "numbers its classes 1, 2, 3, ... in id2label, not 0 to 9 in order",
        ),
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, "names 2 classes, where digits has 10"),
        ("config.json", {"num_classes": 100}, "says num_classes 100, where digits has 10"),
    ],
)
def test_what_is_said_otherwise_is_told(
    scaled: ModelEntry, tmp_path: Path, file: str, said: dict[str, Any], told: str
) -> None:
    (tmp_path / file).write_text(json.dumps(said))
    (sentence,) = contradictions(scaled, tmp_path / "mine.pt")
    assert sentence.startswith(f"{tmp_path / file} {told}")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(
            {
                "id2label": {str(place): name for place, name in enumerate(NAMES)},
                "image_mean": [0.5, 0.4, 0.3],
                "crop_size": {"height": 32, "width": 32},
                "size": {"shortest_edge": 40},
                "num_labels": 10,
            }
        ),
        "[]",
        "{",
        json.dumps({"mean": "half", "id2label": [], "size": {"shortest_edge": 40}}),
    ],
)
def test_what_agrees_or_says_nothing_is_passed(
    scaled: ModelEntry, tmp_path: Path, text: str
) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(text)
    assert contradictions(scaled, tmp_path / "mine.pt") == []


def test_it_is_a_warning_of_adding(home: Home, tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "mine.pt"
    torch.save(dict(state), path)
    mine: dict[str, Any] = {"name": "me/mlp", "dataset": "digits", "architecture": "mlp-128"}
    path.with_name("config.json").write_text(json.dumps({"num_labels": 10, "mean": [0.5]}))
    with pytest.warns(UserWarning, match=r"config\.json says 0\.5, where --mean is 0\."):
        add(home, path, **mine, mean=[0.0], std=[1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add(home, path, **{**mine, "name": "me/scaled", "mean": [0.5], "std": [1.0]})
