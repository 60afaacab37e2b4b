"""The command that measures a row again."""

import shlex
from dataclasses import replace

from harness.results import Method
from harness.types import Access, Aux, ThreatModel
from leaderboard.command import command, commands


def test_a_row_is_reproduced_with_every_setting_and_all_its_seeds(evaluation):
    cells = [evaluation(seed=seed).cell for seed in (0, 11, 3)]

    assert command(cells) == (
        "harness eval --model digits-cnn --defense dpsgd --risk extraction --attack distillation "
        "--access scores --aux shadow --seeds 12 --tuning none "
        "--set dpsgd.max_grad_norm=1.0 --set dpsgd.noise_multiplier=1.1 "
        "--set distillation.epochs=30 --set distillation.queries=400"
    )


def test_cells_that_differ_in_more_than_their_seeds_have_commands_of_their_own(evaluation):
    cells = [evaluation(seed=s, stack=k).cell for s in (0, 4) for k in ((), (Method("dpsgd"),))]

    found = commands(cells)

    assert [line.count("--seeds 5") for line in found] == [1, 1]
    assert found == sorted(found)
    assert {line.split()[5] for line in found} == {"none", "dpsgd"}


def test_the_undefended_model_is_the_stack_none(evaluation):
    assert " --defense none " in command([evaluation(stack=()).cell])


def test_a_stack_is_joined_by_plus_and_settings_that_were_not_given_are_left_out(evaluation):
    stack = (Method("dpsgd", (("dp_epsilon", None), ("lr", 0.1))), Method("watermark"))

    words = command([evaluation(stack=stack).cell])

    assert "--defense dpsgd+watermark" in words
    assert "dp_epsilon" not in words
    assert "--set dpsgd.lr=0.1" in words


def test_the_attackers_data_and_budget_are_named(evaluation):
    threat = ThreatModel(access=Access.LABELS, aux=Aux.OOD, ood="mnist", queries=400)

    words = command([evaluation(threat=threat).cell])

    assert "--access labels --aux ood:mnist --queries 400" in words


def test_a_changed_recipe_goes_back_to_settings(evaluation):
    words = command([evaluation(recipe=(("epochs", 5), ("lr", 0.01))).cell])

    assert "--model digits-cnn --defense" in words
    assert "--set recipe.epochs=5 --set recipe.lr=0.01" in words


def test_what_tuning_has_chosen_is_chosen_again(evaluation):
    cell = evaluation(recipe=(("epochs", 5),), budget=20).cell
    tuned = (("dpsgd.max_grad_norm", 1.0), ("recipe.lr", 0.01))
    words = command([replace(cell, tuned=tuned)])

    assert " --tuning 20 " in words
    assert "max_grad_norm" not in words
    assert "recipe.lr" not in words
    assert "--set recipe.epochs=5 " in words
    assert "--set dpsgd.noise_multiplier=1.1 " in words
    standard = command([evaluation(budget=12).cell])
    assert " --tuning standard " in standard


def test_a_name_cannot_smuggle_in_a_second_command(evaluation):
    words = shlex.split(command([evaluation(model="x; rm -rf $HOME").cell]))

    assert words[3] == "x; rm -rf $HOME"
