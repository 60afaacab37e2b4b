"""File names of model pages."""

import pytest

from leaderboard.pages import page_of


def test_a_plain_name_is_its_own_page():
    assert page_of("digits-cnn") == "models/digits-cnn.html"
    assert page_of("akamaster/resnet20-cifar10") == "models/akamaster__resnet20-cifar10.html"


def test_names_that_would_collide_get_pages_of_their_own():
    names = ["a/b", "a__b", "A/B", "a b", "a-b", "m(epochs=5)", "m(epochs=6)", "x" * 300]

    pages = [page_of(name).lower() for name in names]

    assert len(set(pages)) == len(names)
    assert max(map(len, pages)) < 120


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", ".", "a?b#c%41", "<script>", "a\\b", ""]
)
def test_a_hostile_name_stays_in_its_folder_and_means_nothing_in_a_url(name: str):
    folder, _, file = page_of(name).partition("/")

    assert folder == "models"
    assert set(file) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not file.startswith(".")
