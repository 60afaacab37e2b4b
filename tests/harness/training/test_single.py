"""A model depends on its job alone, whether it was trained by itself or in a cohort."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import batches, fit, num_steps, set_lr
from harness.results import Method
from harness.training import cohort
from harness.training.cohort import train
from harness.training.job import Job
from harness.training.single import train_alone
from zoo.recipe import Recipe

SELF_TRAINED = ["mlp-128", "cnn-small", "resnet8", "vit-tiny-patch2", "residual-mlp"]


@pytest.fixture(scope="module")
def table() -> Dataset:
    """A number, a category of three values and a number, of which the label is made."""
    stream = torch.Generator().manual_seed(0)
    numbers = torch.rand(2, 1800, 1, generator=stream)
    kind = torch.randint(0, 3, (1800,), generator=stream)
    return Dataset(
        name="table",
        num_classes=2,
        x=torch.cat([numbers[0], F.one_hot(kind, 3).float(), numbers[1]], dim=1),
        y=((numbers[0, :, 0] > 0.5) ^ (kind == 1)).long(),
    )


@pytest.mark.parametrize("architecture", [*SELF_TRAINED, "tabular-transformer/1,3,1"])
def test_a_cohort_gives_what_training_alone_gives(architecture, job_for, digits, table) -> None:
    # Ten steps: after many more, rounding has grown too large in models with batch norm to compare.
    recipe = Recipe(
        optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3, epochs=2, batch_size=90
    )
    data = table if "/" in architecture else digits
    jobs = [job_for(architecture, seed, recipe=recipe, data=data) for seed in range(3)]
    assert num_steps(len(jobs[0].index), recipe) == 10
    together = cohort.train_together(jobs, data.all, {})
    for job, model in zip(jobs, together, strict=True):
        alone = train_alone(job, data.all.take(job.index), None).model
        torch.testing.assert_close(model.state_dict(), alone.state_dict(), atol=0.02, rtol=1e-3)
        assert not model.training


def test_members_of_a_cohort_are_different_models(job_for, digits) -> None:
    one, two = cohort.train_together([job_for(seed=0), job_for(seed=1)], digits.all, {})
    assert not torch.equal(one(digits.x[:5]), two(digits.x[:5]))


@pytest.mark.parametrize("architecture", ["cnn-small", "resnet8"])
def test_the_same_job_gives_the_same_bits_whatever_happened_before(
    architecture, job_for, digits
) -> None:
    job = job_for(architecture)
    data = digits.all.take(job.index)
    first = train_alone(job, data, None).model.state_dict()
    torch.rand(7)
    state = torch.get_rng_state()
    again = train_alone(job, data, None).model.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_seed_matters(job_for, digits) -> None:
    job = job_for()
    data = digits.all.take(job.index)
    one = train_alone(job, data, None).model
    two = train_alone(replace(job, seed=1), data, None).model
    assert not torch.equal(one(digits.x[:5]), two(digits.x[:5]))


def test_every_job_of_a_mixed_list_is_trained_once(job_for, digits) -> None:
    jobs = [job_for("mlp-128", 0), job_for("cnn-small", 0), job_for("mlp-128", 1)]
    found = list(train(jobs, digits.all, {}))
    assert sorted(job.key for job, _, _ in found) == sorted(job.key for job in jobs)
    for job, trained, _ in found:
        alone = train_alone(job, digits.all.take(job.index), None).model
        torch.testing.assert_close(
            trained.model.state_dict(), alone.state_dict(), atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "digits-resnet8", "digits-vit"])
def test_what_may_share_its_steps_is_the_same_model_after_its_whole_recipe(
    name, digits, tmp_path
) -> None:
    """Rounding is 1e-7 a step; where training is chaotic it would grow into another model."""
    from harness.data.quarters import quarters
    from harness.types import Regime
    from zoo.catalog import open_catalog
    from zoo.home import Home

    entry = open_catalog(Home.open(tmp_path)).entry(name)
    assert entry.recipe is not None
    # The transformer is slow, and steady long before its last epoch.
    recipe = (
        replace(entry.recipe, epochs=min(entry.recipe.epochs, 12))
        if "vit" in name
        else entry.recipe
    )
    jobs = [
        Job.of(entry, digits, quarters(digits, s, Regime.FROM_SCRATCH).target_train,
               recipe=recipe, seed=s)
        for s in range(2)
    ]  # fmt: skip
    if not cohort.may_share(jobs[0]):
        assert name == "digits-resnet8"
        assert cohort.groups(jobs) == [[jobs[0]], [jobs[1]]]
        return
    together = cohort.train_together(jobs, digits.all, {})
    for job, model in zip(jobs, together, strict=True):
        alone = train_alone(job, digits.all.take(job.index), None).model
        with torch.no_grad():
            found, expected = model(digits.x), alone(digits.x)
        # How far rounding comes in hundreds of steps depends on the machine; another model would
        # differ by as much as the logits themselves.
        assert (found - expected).abs().max() < 0.05 * expected.abs().max()
        assert (found.argmax(1) == expected.argmax(1)).double().mean() > 0.99


def test_jobs_with_defenses_are_never_grouped(job_for) -> None:
    stack = (Method("dpsgd", (("noise_multiplier", 2.0),)),)
    jobs = [
        job_for(seed=0),
        job_for(seed=1),
        job_for(seed=0, stack=stack),
        job_for(seed=1, stack=stack),
    ]
    assert cohort.groups(jobs) == [jobs[:2], [jobs[2]], [jobs[3]]]


def test_dropout_is_trained_alone(digits, monkeypatch) -> None:
    from torch import nn

    from zoo import nets

    def dropping(architecture, input_shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, num_classes))

    monkeypatch.setattr(nets, "build", dropping)
    assert not cohort._pays("dropping", (1, 8, 8), 10, 8, "sgd", "cpu", 1)


def test_training_learns(job_for, digits) -> None:
    job = job_for(recipe=Recipe(lr=3e-3, epochs=30, batch_size=32))
    model = train_alone(job, digits.all.take(job.index), None).model
    held = torch.ones(len(digits), dtype=torch.bool)
    held[job.index] = False
    assert (model(digits.x[held]).argmax(1) == digits.y[held]).float().mean() > 0.92


def test_one_step_of_sgd_is_minus_lr_times_the_gradient() -> None:
    model = torch.nn.Linear(2, 2, bias=False)
    model.weight.data = torch.zeros(2, 2)
    data = Split(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    fit(model, data, Recipe(optimizer="sgd", lr=1.0, epochs=1, batch_size=1), seed=0)
    # Softmax of (0, 0) is (.5, .5), so the gradient of the first row is (-.5, 0).
    torch.testing.assert_close(model.weight.data, torch.tensor([[0.5, 0.0], [-0.5, 0.0]]))


def test_soft_labels_are_reproduced() -> None:
    model = torch.nn.Linear(1, 2)
    wanted = torch.tensor([[0.3, 0.7]])
    data = Split(torch.ones(1, 1), wanted)
    fit(model, data, Recipe(lr=0.05, epochs=300, batch_size=1), seed=0)
    torch.testing.assert_close(model(data.x).softmax(1), wanted, atol=1e-3, rtol=0)


def test_every_epoch_shows_every_example_once() -> None:
    recipe = Recipe(epochs=3, batch_size=4)
    steps = list(batches(10, recipe, seed=5))
    assert len(steps) == num_steps(10, recipe) == 9
    for epoch in range(3):
        shown = torch.cat(steps[3 * epoch : 3 * epoch + 3])
        assert sorted(shown.tolist()) == list(range(10))
    assert not torch.equal(torch.cat(steps[:3]), torch.cat(steps[3:6]))


def test_the_cosine_schedule_goes_from_lr_to_nearly_nothing() -> None:
    recipe = Recipe(lr=0.2, schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=9.0)
    seen = []
    for step in range(4):
        set_lr(optimizer, recipe, step, 4)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.2, 0.2 * 0.853553, 0.1, 0.2 * 0.146447], rel=1e-5)


FIELDS = {
    "dataset": st.sampled_from(["a", "b"]),
    "fingerprint": st.sampled_from(["f", "g"]),
    "architecture": st.sampled_from(["mlp-128", "cnn-small"]),
    "seed": st.integers(0, 3),
    "base": st.sampled_from([None, "s"]),
    "recipe": st.builds(Recipe, lr=st.sampled_from([0.1, 0.2]), epochs=st.integers(1, 3)),
    "stack": st.sampled_from([(), (Method("dpsgd", (("noise_multiplier", 1.0),)),)]),
    "index": st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
}


@given(one=st.fixed_dictionaries(FIELDS), two=st.fixed_dictionaries(FIELDS))
def test_jobs_share_a_key_exactly_if_nothing_differs(one, two) -> None:
    def job(fields) -> Job:
        return Job(
            **{**fields, "index": torch.tensor(fields["index"])},
            input_shape=(1, 8, 8),
            num_classes=10,
            mean=(0.0,),
            std=(1.0,),
        )

    assert (job(one).key == job(two).key) == (one == two)
