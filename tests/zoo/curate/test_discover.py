"""What the Hub has and the catalog has not, as rows for a curator."""

import csv
import io
import socket
from dataclasses import fields

import pytest
from servers import PAGE, Answer, Hub, Repo

from zoo.catalog import Catalog
from zoo.curate.discover import TO_FILL, Candidate, as_rows, discover
from zoo.errors import ZooError
from zoo.home import Home

KNOWN = "timm/resnet50.a1_in1k"


@pytest.fixture(autouse=True)
def catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that has one repository of the Hub."""
    monkeypatch.setattr("zoo.curate.discover.open_catalog", Catalog)
    monkeypatch.setattr(Catalog, "sql", lambda catalog, query: (["hub_repo"], [(KNOWN,)]))


@pytest.fixture(autouse=True)
def repos(hub: Hub) -> None:
    for index in range(5):
        hub.repos[f"someone/Net_{index}"] = Repo(
            commits={f"{index}" * 40: {}},
            gated="auto" if index == 1 else False,
            card={
                "license": "apache-2.0",
                "datasets": ["imagenet-1k", "cifar10"],
                "library_name": "timm",
            },
            facts={
                "downloads": 100 - index,
                "likes": index,
                "library_name": "timm",
                "lastModified": "2026-02-03T04:05:06.000Z",
                "tags": ["image-classification", "dataset:imagenet-1k"],
            },
        )
    hub.repos[KNOWN.upper()] = Repo(commits={"f" * 40: {}})
    hub.repos["someone/bare"] = Repo(
        commits={"e" * 40: {}}, facts={"tags": ["license:mit", "dataset:mnist"]}
    )
    hub.repos["someone/own-terms"] = Repo(
        commits={"d" * 40: {}}, card={"license": "other", "license_name": "own", "datasets": "x"}
    )


def test_candidates_come_with_what_their_cards_say(home: Home) -> None:
    found = discover(home, limit=100)
    assert [c.hub_repo for c in found] == [
        *(f"someone/Net_{index}" for index in range(5)),
        "someone/bare",
        "someone/own-terms",
    ]
    assert found[1] == Candidate(
        name="someone/net-1",
        hub_repo="someone/Net_1",
        hub_revision="1" * 40,
        licence="apache-2.0",
        card_datasets="imagenet-1k cifar10",
        library="timm",
        downloads=99,
        likes=1,
        gated=True,
        last_modified="2026-02-03",
        tags="image-classification dataset:imagenet-1k",
    )
    assert (found[5].licence, found[5].card_datasets, found[5].library) == ("mit", "mnist", None)
    assert (found[6].licence, found[6].card_datasets) == ("own", "x")


def test_the_limit_is_of_new_ones_over_all_pages(home: Home, hub: Hub) -> None:
    hub.repos = {KNOWN: hub.repos.pop(KNOWN.upper()), **hub.repos}
    found = discover(home, limit=3)
    assert [c.hub_repo for c in found] == [f"someone/Net_{index}" for index in range(3)]


def test_words_are_searched_for(home: Home) -> None:
    assert [c.hub_repo for c in discover(home, search="net_3", limit=9)] == ["someone/Net_3"]
    assert discover(home, search="nothing", limit=9) == []


def test_rows_have_what_the_card_says_and_room_for_the_curator(home: Home) -> None:
    found = discover(home, limit=2)
    rows = list(csv.DictReader(io.StringIO(as_rows(found))))
    assert list(rows[0]) == [*TO_FILL, *(field.name for field in fields(Candidate))]
    assert {rows[0][column] for column in TO_FILL} == {""}
    assert rows[1]["hub_revision"] == "1" * 40


def test_a_hub_that_cannot_be_reached_is_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(ZooError, match="The list of models: the Hub .* cannot be reached") as e:
        discover(home, limit=9)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "answer", [Answer(status=500), Answer(change=lambda _: PAGE), Answer(change=lambda _: b"[{}]")]
)
def test_an_answer_of_no_hub_is_one_line(
    home: Home, hub: Hub, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.always["/api/models"] = answer
    # The client asks again after an error of the Hub's, which takes it 23 s.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with pytest.raises(ZooError, match="The list of models: the Hub") as e:
        discover(home, limit=9)
    assert "\n" not in str(e.value)
