"""Defenses that clean the training data find what stands out, and never see the test data."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from harness.attacks.badnets import BadNets
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.activation_clustering import ActivationClustering
from harness.defenses.outlier_removal import OutlierRemoval
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.spectral_signatures import SpectralSignatures, outlyingness
from harness.learning.features import features
from harness.training.single import defender_data, train_alone
from harness.types import Regime
from zoo.errors import ZooError
from zoo.recipe import Recipe

CLEANERS = [
    OutlierRemoval(share=0.2),
    OutlierRemoval(share=0.2, space="inputs", validation="trusted"),
    SpectralSignatures(contamination=0.2),
    ActivationClustering(),
    ActivationClustering(reduction="ica", criterion="silhouette"),
    ActivationClustering(criterion="size"),
]


class _Passing(nn.Module):
    """Its features are the inputs; its answer is the nearest of the class centres."""

    def __init__(self, centres: torch.Tensor) -> None:
        super().__init__()
        self.head = nn.Linear(centres.shape[1], len(centres))
        self.head.weight.data = 2 * centres
        self.head.bias.data = -centres.square().sum(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def _clusters(*, poisoned: int) -> tuple[Split, torch.Tensor, DefenderData]:
    """Two far classes of 50, and ``poisoned`` more of label 0 that look like class 1, shifted."""
    stream = torch.Generator().manual_seed(0)
    centres = torch.zeros(2, 12)
    centres[1, 0] = 20.0
    y = torch.arange(100) % 2
    x = centres[y] + torch.randn(100, 12, generator=stream)
    odd = centres[1] + torch.randn(poisoned, 12, generator=stream)
    odd[:, 1] += 8.0
    truth = torch.arange(100 + poisoned) >= 100
    data = Split(torch.cat([x, odd]), torch.cat([y, torch.zeros(poisoned, dtype=torch.int64)]))
    model = _Passing(centres).eval()
    defender = DefenderData(
        data=data, trusted=Split(x[:10], y[:10]), num_classes=2, train=lambda data: model,
        recipe=None, seed=0,
    )  # fmt: skip
    return data, truth, defender


@pytest.mark.parametrize(
    "defense",
    [
        SpectralSignatures(contamination=0.15),
        ActivationClustering(),
        ActivationClustering(criterion="silhouette", separation=0.3),
        ActivationClustering(criterion="size"),
    ],
    ids=repr,
)
def test_poison_that_stands_out_is_removed(defense) -> None:
    data, truth, defender = _clusters(poisoned=12)
    cleaned = defense.clean(data, defender)
    assert cleaned.removed is not None
    assert cleaned.removed[truth].all()
    assert cleaned.removed[~truth].double().mean() < 0.25
    kept = (~cleaned.removed).nonzero().flatten()
    assert torch.equal(cleaned.data.x, data.x[kept])
    assert torch.equal(cleaned.data.y, data.y[kept])


@pytest.mark.parametrize("defense", CLEANERS[:2], ids=repr)
def test_wrong_labels_are_worth_least(defense) -> None:
    data, _, defender = _clusters(poisoned=0)
    wrong = torch.arange(100) % 9 == 8  # 11 of 100, none of them trusted
    wrong[:10] = False
    flipped = Split(data.x, torch.where(wrong, 1 - data.y, data.y))
    removed = defense.clean(flipped, defender).removed
    assert removed is not None
    assert removed[wrong].all()
    assert removed.sum() == 20


@pytest.mark.parametrize(
    "defense",
    [ActivationClustering(), ActivationClustering(criterion="silhouette", separation=0.3)],
    ids=repr,
)
def test_clustering_removes_nothing_where_nothing_is_wrong(defense) -> None:
    data, _, defender = _clusters(poisoned=0)
    removed = defense.clean(data, defender).removed
    assert removed is not None
    assert not removed.any()


@pytest.mark.parametrize("defense", CLEANERS, ids=repr)
def test_the_seed_decides_and_nothing_else_changes(defense) -> None:
    data, _, defender = _clusters(poisoned=12)
    x, state = data.x.clone(), torch.get_rng_state()
    first = defense.clean(data, defender)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(data.x, x)
    torch.rand(1)
    assert torch.equal(first.removed, defense.clean(data, defender).removed)


def test_outlyingness_is_that_of_the_top_singular_vector() -> None:
    """Against the power method on the covariance, and the detector of ART."""
    rows = torch.randn(40, 7, generator=torch.Generator().manual_seed(1)).double()
    rows[:5] += 3
    centred = rows - rows.mean(0)
    direction = torch.ones(7).double()
    for _ in range(500):
        direction = nn.functional.normalize(centred.T @ (centred @ direction), dim=0)
    torch.testing.assert_close(outlyingness(rows), (centred @ direction).square())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.defences.detector.poison import SpectralSignatureDefense
    theirs = SpectralSignatureDefense.spectral_signature_scores(rows.numpy())
    assert np.array_equal(
        np.argsort(-np.asarray(theirs).ravel())[:5].sort(),
        outlyingness(rows).argsort(descending=True)[:5].numpy().sort(),
    )


def test_one_and_a_half_times_the_contamination_is_dropped_of_every_label() -> None:
    data, _, defender = _clusters(poisoned=0)
    removed = SpectralSignatures(contamination=0.2).clean(data, defender).removed
    assert [int(removed[data.y == label].sum()) for label in (0, 1)] == [15, 15]


def test_the_two_clusters_are_those_of_the_principal_components() -> None:
    data, truth, _ = _clusters(poisoned=12)
    rows, odd = data.x[data.y == 0], truth[data.y == 0]
    smaller, silhouette = ActivationClustering().split(rows, seed=0)
    assert torch.equal(smaller.sort().values, odd.nonzero().flatten())
    from sklearn.metrics import silhouette_score

    points = PCA(10).fit_transform(rows.numpy())
    assert silhouette == pytest.approx(silhouette_score(points, odd.numpy()), abs=1e-4)


@pytest.mark.parametrize("reduction", ["pca", "ica"])
def test_a_class_of_equal_examples_has_one_cluster(reduction) -> None:
    smaller, silhouette = ActivationClustering(reduction=reduction).split(torch.ones(20, 5), seed=0)
    assert (len(smaller), silhouette) == (0, None)


def test_outliers_are_judged_by_the_owners_data_alone(job_for, digits) -> None:
    """Nothing that the defense is handed shares an example with the test data (Amulet's does)."""
    assert list(inspect.signature(OutlierRemoval.clean).parameters) == ["self", "data", "defender"]
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    job = job_for(recipe=Recipe(epochs=1))
    data = digits.all.take(job.index)
    trusted = trusted_index(len(data), job.seed)
    defender = defender_data(job, data, data.take(trusted), None)
    assert set(job.index.tolist()).isdisjoint(split.target_test.tolist())
    assert torch.equal(defender.trusted.x, digits.x[split.target_train[trusted]])


def test_the_model_is_trained_anew_on_the_cleaned_data(job_for, digits) -> None:
    """Not from the poisoned weights: the same as if the data had never held the outliers."""
    from harness import registry

    defense = OutlierRemoval(share=0.1, space="inputs")
    job = job_for(stack=(registry.describe(defense),))
    data = digits.all.take(job.index)
    defended = train_alone(job, data, None).model
    defender = defender_data(job, data, data.take(trusted_index(len(data), job.seed)), None)
    plain = defender.train(defense.clean(data, defender).data)
    torch.testing.assert_close(
        dict(defended.state_dict()), dict(plain.state_dict()), rtol=0, atol=0
    )


def test_badnets_is_cleaned_away_and_found_in_the_evidence(job_for, digits) -> None:
    """Two seeds of digits-cnn; the poison is a third of the target's training examples."""
    from harness import registry

    attack = BadNets(rate=0.05)
    found = []
    for seed in range(2):
        job = job_for(
            "cnn-small",
            seed=seed,
            recipe=Recipe(lr=3e-3, epochs=30, batch_size=32),
            poison=registry.describe(attack),
            stack=(registry.describe(ActivationClustering()),),
        )
        evidence = train_alone(job, digits.all.take(job.index), None).evidence
        found.append((evidence["removal_tpr"], evidence["removal_fpr"]))
    tpr, fpr = np.mean(found, axis=0)
    print("activation clustering on badnets(rate=0.05): TPR", tpr, "FPR", fpr)
    assert tpr > 0.6
    assert fpr < 0.1


def test_features_are_of_the_model_trained_on_the_given_data() -> None:
    data, _, defender = _clusters(poisoned=12)
    torch.testing.assert_close(features(defender.train(data), data.x), data.x)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (OutlierRemoval, {"share": 0.0}, "share between 0 and 1, found 0.0"),
        (OutlierRemoval, {"k": 0}, "k of at least 1"),
        (SpectralSignatures, {"contamination": 0.7}, "below 0.667"),
        (ActivationClustering, {"dimensions": 0}, "dimensions of at least 1"),
        (ActivationClustering, {"largest": 0.6}, "at most 0.5"),
        (ActivationClustering, {"separation": 2.0}, "between -1 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind, settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        kind(**settings)
