"""The axis of the drawings."""

from leaderboard.scale import Scale


def test_positions_are_linear_between_the_ends():
    scale = Scale(low=-0.1, high=0.3, step=0.1)

    assert scale.at(-0.1) == "0.00%"
    assert scale.at(0) == "25.00%"
    assert scale.at(0.3) == "100.00%"
    assert scale.length(0.04) == "10.00%"


def test_what_lies_beyond_an_end_is_put_at_that_end():
    scale = Scale(low=-0.1, high=0.3, step=0.1)

    assert scale.at(-0.5) == "0.00%"
    assert scale.at(0.5) == "100.00%"


def test_ticks_are_round_and_hold_zero():
    assert Scale(low=-0.1, high=0.3, step=0.1).ticks == (-0.1, 0.0, 0.1, 0.2, 0.3)


def test_an_axis_holds_every_interval_and_ends_at_round_values(interaction):
    scale = Scale.over(
        [
            interaction(effect=0.1, ci_low=0.07, ci_high=0.13),
            interaction(effect=-0.2, ci_low=-0.28, ci_high=-0.1),
        ]
    )

    assert (scale.low, scale.high, scale.step) == (-0.3, 0.2, 0.1)


def test_one_uncertain_result_does_not_stretch_the_axis_of_all(interaction):
    scale = Scale.over([interaction(effect=-0.05, ci_low=-0.9, ci_high=0.9)])

    assert (scale.low, scale.high) == (-0.15, 0.05)


def test_an_axis_without_numbers_still_shows_zero_and_the_margin(interaction):
    scale = Scale.over([interaction(effect=None, ci_low=None, ci_high=None)])

    assert (scale.low, scale.high) == (-0.04, 0.04)
