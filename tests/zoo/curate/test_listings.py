"""What packages list becomes rows that the codebook allows, with the facts the packages give."""

import re
from collections import Counter

import pytest

from annotations.cells import read_cell, write_cell
from annotations.load import load
from zoo.curate import pytorchcv_models, robustbench_models, timm_models, torchvision_models
from zoo.curate.timm_models import data_beyond

BOOK = load().codebook


@pytest.fixture(scope="module")
def timm():
    return timm_models.list_models()


@pytest.fixture(scope="module")
def torchvision():
    return torchvision_models.list_models()


@pytest.fixture(scope="module")
def pytorchcv():
    return pytorchcv_models.list_models()


@pytest.mark.parametrize("source", ["timm", "torchvision", "pytorchcv"])
def test_every_listed_value_is_one_that_the_codebook_allows(
    source: str, request: pytest.FixtureRequest
) -> None:
    listing = request.getfixturevalue(source)
    parts = {source: listing.models, f"exclusions-{source}": listing.exclusions}
    if listing.metrics is not None:
        parts[f"metrics-{source}"] = listing.metrics
    for table, rows in parts.items():
        fields = BOOK.tables[table].fields
        for row in rows:
            assert set(row) <= set(fields)
            for name, field in fields.items():
                read_cell(field, write_cell(row.get(name)))
        keys = Counter(" ".join(str(row[k]) for k in BOOK.tables[table].key) for row in rows)
        assert max(keys.values()) == 1


@pytest.mark.parametrize(
    ("tag", "dataset", "expected"),
    [
        ("a1_in1k", "imagenet-1k", (("none",), "none")),
        ("augreg_in21k_ft_in1k", "imagenet-1k", (("imagenet-22k",), "labelled")),
        ("augreg_in21k", "imagenet-22k", (("none",), "none")),
        ("miil_in21k_ft_in1k", "imagenet-1k", (("imagenet-21k-p",), "labelled")),
        ("miil_in21k", "imagenet-21k-p", (("none",), "none")),
        (
            "laion2b_ft_in12k_in1k",
            "imagenet-1k",
            (("laion-2b", "imagenet-12k"), "image-text"),
        ),
        ("ns_jft_in1k", "imagenet-1k", (("jft-300m",), "unlabelled")),
        ("fb_swsl_ig1b_ft_in1k", "imagenet-1k", (("instagram-1b",), "weakly labelled")),
        ("clip_ft_in1k", "imagenet-1k", (None, "image-text")),
        ("mim_in22k_ft_in22k_in1k", "imagenet-1k", (("imagenet-22k",), "labelled")),
        ("ssld_stage2_ft_in1k", "imagenet-1k", (("imagenet-22k",), "unlabelled")),
        ("", "imagenet-1k", (("none",), "none")),
    ],
)
def test_a_tag_tells_what_other_data_the_weights_have_seen(
    tag: str, dataset: str, expected: tuple[object, str]
) -> None:
    assert data_beyond(tag, dataset) == expected


def test_timm_has_a_reason_for_every_tag_that_it_leaves_out(timm) -> None:
    import timm as package

    tags = {f"timm/{tag}" for tag in package.list_models(pretrained=True)}
    listed = {row["name"] for row in timm.models}
    left_out = {row["model"] for row in timm.exclusions if row["reason"] == "not classification"}
    assert listed | left_out == tags
    assert not listed & left_out


def test_timms_copies_of_torchvisions_weights_are_duplicates(timm, torchvision) -> None:
    of = {e["model"]: e["duplicate_of"] for e in timm.exclusions if e["reason"] == "duplicate"}
    assert of["timm/resnet50.tv_in1k"] == "torchvision/resnet50.imagenet1k_v1"
    assert of["timm/resnet50.tv2_in1k"] == "torchvision/resnet50.imagenet1k_v2"
    assert of["timm/regnety_160.swag_ft_in1k"] == "torchvision/regnet_y_16gf.imagenet1k_swag_e2e_v1"
    assert set(of.values()) <= {row["name"] for row in torchvision.models}


def test_torchvision_states_accuracy_hash_and_scaling(torchvision) -> None:
    rows = {row["name"]: row for row in torchvision.models}
    metrics = {row["model"]: row for row in torchvision.metrics}
    row = rows["torchvision/resnet50.imagenet1k_v2"]
    assert row["sha256_prefix"] == "11ad3fa6"
    assert row["mean"] == (0.485, 0.456, 0.406)
    assert metrics[row["name"]]["value"] == 0.80858
    assert rows["torchvision/vit_h_14.imagenet1k_swag_e2e_v1"]["input_shape"] == (3, 518, 518)
    assert rows["torchvision/vit_h_14.imagenet1k_swag_e2e_v1"]["extra_data"] == "weakly labelled"
    assert len(rows) == len(torchvision.metrics)


def test_pytorchcv_states_top5_for_imagenet_and_top1_for_small_images(pytorchcv) -> None:
    metrics = {row["model"]: row for row in pytorchcv.metrics}
    imagenet = metrics["pytorchcv/resnet50"]
    assert (imagenet["metric"], imagenet["value"]) == ("top5_accuracy", 0.9367)
    cifar = metrics["pytorchcv/resnet20_cifar10"]
    assert (cifar["metric"], cifar["value"], cifar["n"]) == ("accuracy", 0.9403, 10000)


def test_pytorchcv_names_the_file_inside_its_archive(pytorchcv) -> None:
    (row,) = [row for row in pytorchcv.models if row["source_name"] == "resnet20_cifar10"]
    assert row["url"].endswith("/v0.0.163/resnet20_cifar10-0597-9b0024ac.pth.zip")
    assert row["member"] == "resnet20_cifar10-0597-9b0024ac.pth"
    assert row["sha1"].startswith("9b0024ac")


ROW = "| <sub>**{n}**</sub> | <sub><sup>**{id}**</sup></sub> | <sub>*[{title}]({link})*</sub> | "
ROW += "<sub>{clean}%</sub> | <sub>{robust}%</sub> | <sub>{network}</sub> | <sub>{venue}</sub> |"


def readme(*rows: dict[str, str], heading: str = "#### Linf, eps=8/255") -> str:
    defaults = {
        "id": "Wang2023Better_WRN-70-16",
        "title": "Better Diffusion Models",
        "link": "https://arxiv.org/abs/2302.04638",
        "clean": "93.25",
        "robust": "70.69",
        "network": "WideResNet-70-16",
        "venue": "ICML 2023",
    }
    lines = ["### CIFAR-10", heading, "| <sub>#</sub> | <sub>Model ID</sub> |", "|:---:|---|"]
    lines += [ROW.format(n=i, **{**defaults, **row}) for i, row in enumerate(rows, 1)]
    return "\n".join(lines)


def test_a_row_of_robustbench_is_read() -> None:
    found = robustbench_models.read(readme({}), "1")
    (model,) = found.models
    assert model["name"] == "robustbench/cifar10-linf/wang2023better_wrn-70-16"
    assert (model["architecture"], model["purpose"]) == ("wrn-70-16", "security")
    assert found.papers == [
        {
            "key": "wang2023better",
            "title": "Better Diffusion Models",
            "venue": "ICML",
            "venue_type": "machine learning",
            "year": 2023,
            "arxiv": "2302.04638",
            "arxiv_year": 2023,
        }
    ]
    assert found.metrics is not None
    assert [(m["metric"], m["value"], m["n"]) for m in found.metrics] == [
        ("accuracy", 0.9325, 10000),
        ("robust_accuracy", 0.7069, 10000),
    ]


@pytest.mark.parametrize(
    ("venue", "expected"),
    [
        ("arXiv, Mar 2021", ("arXiv", "preprint", 2021)),
        ("arXiv, Dec. 2022", ("arXiv", "preprint", 2022)),
        ("TMLR, Aug 2024", ("TMLR", "machine learning", 2024)),
        ("CVPRW 2022", ("CVPR Workshops", "computer vision", 2022)),
        ("Pattern Recognition 2024", ("Pattern Recognition", "other", 2024)),
        ("GitHub,<br>Oct 2019", (None, None, 2019)),
        ("OpenReview, Jun 2021", (None, None, 2021)),
    ],
)
def test_venues_are_read_however_they_are_written(venue: str, expected: tuple[object, ...]) -> None:
    papers = robustbench_models.read(readme({"venue": venue}), "1").papers
    assert papers is not None
    assert (papers[0]["venue"], papers[0]["venue_type"], papers[0]["year"]) == expected


def test_one_identifier_under_corruptions_is_the_model_of_a_norm() -> None:
    text = readme({}, {"id": "Standard", "link": "https://github.com/x"})
    text += "\n" + readme({}, {"id": "Other2020New"}, heading="#### Common Corruptions")
    found = robustbench_models.read(text, "1")
    of = {e["model"]: e["duplicate_of"] for e in found.exclusions}
    same = "wang2023better_wrn-70-16"
    assert of == {f"robustbench/cifar10-corruptions/{same}": f"robustbench/cifar10-linf/{same}"}
    standard = next(m for m in found.models if m["source_name"] == "Standard")
    assert (standard["purpose"], standard["paper"]) == ("benchmark", None)


CODE = """
linf = OrderedDict([
    ('Same2020One', {'model': lambda: WRN(), 'gdrive_id': 'file-1'}),
    (
        'None2020Here',
        {'model': lambda: WRN(), 'gdrive_id': None},
    ),
])
common_corruptions = OrderedDict([
    ("Same2020One_Linf", {"model": WRN, "gdrive_id": "file-1"}),
])
"""


def test_the_file_of_weights_is_read_out_of_code_that_is_never_run() -> None:
    assert robustbench_models.weight_files({"cifar10": CODE}) == {
        ("cifar10", "linf", "Same2020One"): "file-1",
        ("cifar10", "corruptions", "Same2020One_Linf"): "file-1",
    }


def test_models_with_one_file_of_weights_are_one_model() -> None:
    text = readme({"id": "Same2020One"})
    text += "\n" + readme({"id": "Same2020One_Linf"}, heading="#### Common Corruptions")
    found = robustbench_models.read(text, "1", robustbench_models.weight_files({"cifar10": CODE}))
    (left_out,) = found.exclusions
    assert left_out["duplicate_of"] == "robustbench/cifar10-linf/same2020one"
    assert found.metrics is not None
    corrupted = [m for m in found.metrics if m["metric"] == "corruption_accuracy"]
    assert [(m["dataset"], m["n"]) for m in corrupted] == [("cifar-10-c", None)]


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("Gowal2020Uncovering_70_16_extra", "unlabelled"),
        ("Rebuffi2021Fixing_R18_ddpm", "generated"),
        ("Bai2023Improving_edm", "generated"),
        ("Wang2023Better_WRN-70-16", None),
    ],
)
def test_an_identifier_may_tell_of_other_data(identifier: str, expected: str | None) -> None:
    (model,) = robustbench_models.read(readme({"id": identifier}), "1").models
    assert model["extra_data"] == expected


def test_the_committed_rows_of_robustbench_follow_its_names() -> None:
    for row in load().rows["robustbench"]:
        assert re.fullmatch(r"robustbench/[\w-]+-(linf|l2|corruptions)/[\w.-]+", row.key)
        assert (row.values["paper"] is None) == (row.values["purpose"] == "benchmark")
