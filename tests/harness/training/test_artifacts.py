"""Trained models come back from the store as they were put there."""

import json

import pytest
import torch

from harness import registry
from harness.defenses.dpsgd import DPSGD
from harness.training.artifacts import Artifacts, check_device
from zoo.errors import ZooError
from zoo.home import Home
from zoo.recipe import Recipe


@pytest.fixture
def store(tmp_path) -> Artifacts:
    return Artifacts(Home.open(tmp_path / "home"))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("architecture", ["cnn-small", "resnet8", "vit-tiny-patch2"])
def test_a_model_and_its_evidence_survive_the_store(
    architecture, private, store, job_for, digits
) -> None:
    """A private ResNet has other layers than its architecture says, and is still loaded strictly."""
    stack = (registry.describe(DPSGD()),) if private else ()
    job = job_for(architecture, stack=stack, recipe=Recipe(epochs=1, batch_size=200))
    assert not store.has(job)
    store.obtain([job], digits.all)
    assert store.has(job)
    found = store.load(job, "cpu")
    assert not found.model.training
    assert ("dp_epsilon" in found.evidence) == private
    spec = store.spec(job)
    assert spec["evidence"] == found.evidence
    # The same job trained elsewhere is the same model.
    other = Artifacts(Home.open(store.home.root.parent / "other"))
    other.obtain([job], digits.all)
    with torch.no_grad():
        torch.testing.assert_close(
            found.model(digits.x[:20]), other.load(job, "cpu").model(digits.x[:20]), rtol=0, atol=0
        )


def test_what_is_there_is_not_trained_again(store, job_for, digits, monkeypatch) -> None:
    from harness.training import artifacts

    trained = []
    real = artifacts.train

    def counted(jobs, *rest):
        trained.append(len(jobs))
        return real(jobs, *rest)

    monkeypatch.setattr(artifacts, "train", counted)
    jobs = [job_for(seed=seed, recipe=Recipe(epochs=1)) for seed in range(3)]
    store.obtain(jobs[:2], digits.all)
    store.obtain(jobs, digits.all)
    store.obtain(jobs, digits.all)
    assert [n for n in trained if n] == [2, 1]


def test_altered_weights_are_refused_and_trained_again_once_forgotten(
    store, job_for, digits
) -> None:
    job = job_for(recipe=Recipe(epochs=1))
    store.obtain([job], digits.all)
    path = store.home.artifacts / job.key / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    before = path.read_bytes()
    path.write_bytes(bytes(content))
    for _ in range(2):  # to ask changes nothing
        with pytest.raises(ZooError, match="were altered"):
            store.load(job, "cpu")
    assert store.has(job)
    store.forget(job)
    store.obtain([job], digits.all)
    assert store.load(job, "cpu").evidence == {}
    assert path.read_bytes() == before


def test_a_damaged_record_is_as_if_there_were_none(store, job_for, digits) -> None:
    job = job_for(recipe=Recipe(epochs=1))
    store.obtain([job], digits.all)
    (store.home.artifacts / job.key / "spec.json").write_text('{"sha')
    assert not store.has(job)
    store.obtain([job], digits.all)
    assert store.load(job, "cpu").evidence == {}


def test_every_model_is_kept_as_soon_as_it_is_trained(store, job_for, digits, monkeypatch) -> None:
    """A kill in the middle of a share loses the model in training, not the share."""
    from harness.training import cohort

    jobs = [job_for("resnet8", seed, recipe=Recipe(epochs=1, batch_size=200)) for seed in range(3)]
    real, calls = cohort.train_alone, []

    def dies_at_the_third(job, *rest):
        calls.append(job)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(job, *rest)

    monkeypatch.setattr(cohort, "train_alone", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        store.obtain(jobs, digits.all)
    assert [store.has(job) for job in jobs] == [True, True, False]


def test_the_record_names_everything_that_determined_the_model(store, job_for, digits) -> None:
    job = job_for(seed=3, recipe=Recipe(epochs=1))
    store.obtain([job], digits.all)
    path = store.home.artifacts / job.key / "spec.json"
    record = json.loads(path.read_text())
    assert job.spec.items() <= record.items()
    assert record["fingerprint"] == digits.fingerprint
    assert (record["seed"], record["n"], record["together"]) == (3, 449, 1)


def test_a_device_that_is_not_there_is_refused_in_one_line() -> None:
    check_device("cpu")
    for name in ("cuda:99", "toaster", "meta"):
        with pytest.raises(ZooError, match=f"No device '{name}' here") as problem:
            check_device(name)
        assert "\n" not in str(problem.value)
