"""Bar 22: outlier removal finds flipped labels, and the model is better without them."""

import numpy as np

from harness import registry
from harness.attacks.label_flipping import LabelFlipping
from harness.data.quarters import quarters
from harness.defenses.outlier_removal import OutlierRemoval
from harness.metrics.classification import accuracy
from harness.target import BlackBox
from harness.training.single import train_alone
from harness.types import Access, Regime
from zoo.recipe import Recipe


def test_bar_22_flipped_labels_are_found_and_removed(digits, job_for) -> None:
    gains, recalls = [], []
    for seed in range(8):
        test = digits.all.take(quarters(digits, seed, Regime.FROM_SCRATCH).target_test)
        found = []
        for stack in ((), (OutlierRemoval(share=0.25),)):
            job = job_for(
                seed=seed,
                recipe=Recipe(lr=3e-3, epochs=60, batch_size=64),
                poison=registry.describe(LabelFlipping(rate=0.2)),
                stack=tuple(map(registry.describe, stack)),
            )
            trained = train_alone(job, digits.all.take(job.index), None)
            labels = BlackBox(trained.model, Access.LABELS).labels(test.x)
            found.append(accuracy(labels, test.y))
        gains.append(found[1] - found[0])
        recalls.append(trained.evidence["removal_tpr"])
    assert np.mean(gains) >= 0.02
    assert np.mean(recalls) >= 0.9
