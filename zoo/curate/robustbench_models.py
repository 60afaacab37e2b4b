"""Models on RobustBench's leaderboards, as its package describes them."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import files, metadata, version
from pathlib import Path

from zoo.curate.listing import Listing, Row, accuracy, by_name, excluded

_DATASETS = {  # heading: key, classes, image size
    "CIFAR-10": ("cifar10", 10, 32),
    "CIFAR-100": ("cifar100", 100, 32),
    "ImageNet": ("imagenet-1k", 1000, 224),
}
# Networks that are known elsewhere too; their activations may differ, their size does not.
_SMALL = {
    "ResNet-18": "resnet18-stem3",
    "ResNet-50": "resnet50-stem3",
    "PreActResNet-18": "preactresnet18-stem3",
}
_LARGE = {
    "AlexNet": "torchvision/alexnet",
    "ConvNeXt-B": "torchvision/convnext_base",
    "ConvNeXt-L": "torchvision/convnext_large",
    "DeiT Base": "timm/deit_base_patch16_224",
    "DeiT Small": "timm/deit_small_patch16_224",
    "ResNet-18": "torchvision/resnet18",
    "ResNet-50": "torchvision/resnet50",
    "Swin-B": "torchvision/swin_b",
    "Swin-L": "timm/swin_large_patch4_window7_224",
    "ViT-B": "torchvision/vit_b_16",
    "WideResNet-50-2": "torchvision/wide_resnet50_2",
}
_WIDE_RESNETS = (
    *("28-4", "28-10", "34-10", "34-15", "34-20"),
    *("40-2", "70-16", "82-8", "94-16", "106-16"),
)
_PUBLISHED_ELSEWHERE = {
    "torchvision/alexnet": "torchvision/alexnet.imagenet1k_v1",
    "torchvision/resnet50": "torchvision/resnet50.imagenet1k_v1",
}
_CODE = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet": "imagenet-1k"}
_CORRUPTED = {"cifar10": "cifar-10-c", "cifar100": "cifar-100-c", "imagenet-1k": "imagenet-c"}
_GENERATED = ("1m", "20m", "50m", "100m")  # synthetic images that were added
_TEST_IMAGES = {"cifar10": 10000, "cifar100": 10000, "imagenet-1k": 50000}
_ATTACKED_IMAGES = {"cifar10": 10000, "cifar100": 10000, "imagenet-1k": 5000}
_VENUES = {
    "computer vision": ("CVPR", "ICCV", "ECCV", "WACV", "BMVC"),
    "machine learning": ("NeurIPS", "ICML", "ICLR", "TMLR"),
    "artificial intelligence": ("AAAI", "IJCAI"),
    "preprint": ("arXiv",),
}
_UNPUBLISHED = ("GitHub", "OpenReview")


def list_models() -> Listing:
    """Every model of the leaderboards that its package offers, with its paper.

    Raises:
        ImportError: robustbench is not installed (it may be without what it depends on).
    """
    code = {
        path.stem: Path(str(path.locate())).read_text()
        for path in files("robustbench") or ()
        if path.parent.name == "model_zoo" and path.stem in _CODE
    }
    readme = str(metadata("robustbench").json["description"])
    return read(readme, version("robustbench"), weight_files(code))


def weight_files(code: Mapping[str, str]) -> dict[tuple[str, str, str], str]:
    """Which file the package loads: by dataset, threat model and identifier.

    Args:
        code: Its modules, which need not be importable, by name.
    """
    found: dict[tuple[str, str, str], str] = {}
    for module, text in code.items():
        for node in ast.parse(text).body:
            if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                continue
            threat = node.targets[0].id.removeprefix("common_")
            for pair in (n for n in ast.walk(node.value) if isinstance(n, ast.Tuple)):
                match pair.elts:
                    case [ast.Constant(value=str(identifier)), ast.Dict() as facts]:
                        keys = [getattr(key, "value", None) for key in facts.keys]
                        values = dict(zip(keys, facts.values, strict=True))
                        file = getattr(values.get("gdrive_id"), "value", None)
                        if file:
                            found[_CODE[module], threat, identifier] = str(file)
    return found


def read(
    readme: str,
    package_version: str,
    weights: Mapping[tuple[str, str, str], str] | None = None,
) -> Listing:
    """The models in the tables of the package's description.

    Args:
        readme: Markdown: a heading per dataset, under it a heading and a table per threat model.
        package_version: Of the package.
        weights: Which file of weights each model is: see `weight_files`.
    """
    found = Listing(package_version, metrics=[], papers=[])
    assert found.metrics is not None
    assert found.papers is not None
    papers: dict[str, Row] = {}
    file_of: dict[str, str] = {}
    for dataset, heading, cells in _tables(readme):
        threat = heading.split(",")[0].split()[0].lower()
        key, classes, size = _DATASETS[dataset]
        model, paper, clean, robust, network, venue = cells
        name = f"robustbench/{key}-{threat}/{_slug(model)}"
        if file := (weights or {}).get((key, threat, model)):
            file_of[name] = file
        pretraining, regime = _extra_data(model)
        link = re.fullmatch(r"\[(.*)\]\((.*)\)", paper)
        assert link, paper
        paper_key = _paper_key(model)
        if paper_key is not None:
            papers.setdefault(paper_key, _paper(paper_key, link[1].strip(), link[2], venue))
        found.models.append(
            {
                "name": name,
                "source_name": model,
                "purpose": "benchmark" if paper_key is None else "security",
                "task": "image classification",
                "dataset": key,
                "architecture": _architecture(network, key),
                "input_shape": (3, size, size),
                "num_classes": classes,
                "paper": paper_key,
                "pretraining": pretraining,
                "extra_data": regime,
                "backdoored": False,
                "notes": f"leaderboard: {heading}",
            }
        )
        measured = {**accuracy(name, key, _fraction(clean), _TEST_IMAGES[key])}
        attacked = accuracy(name, key, _fraction(robust), _ATTACKED_IMAGES[key], "robust_accuracy")
        if threat == "corruptions":
            corrupted = {"dataset": _CORRUPTED[key], "metric": "corruption_accuracy", "n": None}
            attacked = {**measured, **corrupted, "value": round(_fraction(robust), 6)}
        for row in (measured, attacked):
            found.metrics.append({**row, "evaluator": "robustbench"})
    found.models = by_name(found.models)
    found.exclusions = _repeated(found.models, file_of)
    found.papers = [papers[key] for key in sorted(papers)]
    return found


def _repeated(models: Sequence[Row], file_of: Mapping[str, str]) -> list[Row]:
    """Models that stand on several leaderboards, and torchvision's own.

    One identifier names different weights under the two norms, but under corruptions it names
    those of a norm; there is one standard model per dataset.
    """
    trained: dict[tuple[str, str], str] = {}
    first: dict[str, str] = {}
    for norm in ("linf", "l2", "corruptions"):
        for model in (m for m in models if f"-{norm}/" in m["name"]):
            if norm != "corruptions":
                trained.setdefault((model["dataset"], model["source_name"]), model["name"])
            first.setdefault(file_of.get(model["name"], model["name"]), model["name"])
    found = []
    for model in models:
        name = model["name"]
        original, why = first[file_of.get(name, name)], "the same file of weights"
        if original == name and ("-corruptions/" in name or model["purpose"] == "benchmark"):
            identity = (model["dataset"], model["source_name"])
            original, why = trained.get(identity, name), "the same identifier"
        if model["architecture"] in _PUBLISHED_ELSEWHERE and model["purpose"] == "benchmark":
            original = _PUBLISHED_ELSEWHERE[model["architecture"]]
            why = "torchvision's weights"
        if original != name:
            found.append(excluded(name, "duplicate", why, original))
    return found


def _extra_data(model: str) -> tuple[tuple[str, ...] | None, str | None]:
    """What an identifier says of data beyond the dataset; None if it says nothing."""
    words = model.lower().split("_")[1:]
    if any(word.startswith(("ddpm", "edm")) or word in _GENERATED for word in words):
        return ("generated images",), "generated"
    if "extra" in words:
        return ("80m tiny images",), "unlabelled"
    return None, None


def _tables(readme: str) -> Iterator[tuple[str, str, list[str]]]:
    """Dataset, heading of the threat model, and cells of every row."""
    dataset = threat = ""
    for line in readme.splitlines():
        if match := re.match(r"### ([\w-]+)\s*$", line):
            dataset = match[1]
        elif match := re.match(r"#### (?:Common )?(.*\S)", line):
            threat = match[1]
        elif dataset in _DATASETS and re.match(r"\|\s*<sub>\*\*\d+\*\*", line):
            cells = [re.sub(r"</?su[bp]>|<br ?/?>", " ", c) for c in line.strip("|\n ").split("|")]
            texts = [re.sub(r"\s+", " ", cell).strip().strip("*").strip() for cell in cells]
            yield dataset, threat, texts[1:]


def _architecture(network: str, dataset: str) -> str:
    depth = network.removeprefix("WideResNet-")
    if depth in _WIDE_RESNETS and dataset != "imagenet-1k":
        return f"wrn-{depth}"
    known = _LARGE if dataset == "imagenet-1k" else _SMALL
    return known.get(network, f"robustbench/{_slug(network)}")


def _paper(key: str, title: str, link: str, venue: str) -> Row:
    year = re.search(r"(?:19|20)\d\d", venue)
    assert year, venue
    where = re.split(r"[\s,]*(?:[A-Z][a-z]{2}\.? )?(?:19|20)\d\d", venue)[0].strip(" ,")
    where = re.sub(r"^(\w+)W$", r"\1 Workshops", where)
    arxiv = re.search(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", link)
    kind = next((k for k, names in _VENUES.items() if where.split()[0] in names), "other")
    return {
        "key": key,
        "title": title,
        "venue": None if where in _UNPUBLISHED else where,
        "venue_type": None if where in _UNPUBLISHED else kind,
        "year": int(year[0]),
        "arxiv": arxiv[1] if arxiv else None,
        "arxiv_year": 2000 + int(arxiv[1][:2]) if arxiv else None,
    }


def _paper_key(model: str) -> str | None:
    """``wang2023better`` of ``Wang2023Better_WRN-70-16``; None of a standard model."""
    match = re.match(r"([A-Za-z-]+)(\d{4})([A-Z][a-z]+|)", model)
    return match and f"{match[1]}{match[2]}{match[3]}".replace("-", "").lower()


def _fraction(percent: str) -> float:
    return float(percent.strip("% ")) / 100


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_").replace("_-", "-")
