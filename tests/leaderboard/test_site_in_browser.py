"""The site in a real browser, opened from disk."""

import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from harness.metrics.group_picture import WORDS, group_rates
from harness.results import Method
from harness.types import Risk
from leaderboard.publish import publish
from leaderboard.render import render
from leaderboard.tables import tables

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
        ]  # fmt: skip
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path, interaction, evaluation) -> Path:
    long = "a-rather-long-name(of_an=attack, and_its=settings)"
    measured = [
        (Risk.EVASION, "pgd", -0.05, "decreases"),
        (Risk.EXTRACTION, "distillation", 0.031, "increases"),
        (Risk.MEMBERSHIP_INFERENCE, long, None, "failed"),
    ]
    interactions = [
        interaction(model=model, risk=risk, attack=attack, effect=effect, verdict=verdict)
        for model in ("digits-cnn", "akamaster/resnet20")
        for risk, attack, effect, verdict in measured
    ]
    interactions.append(interaction(defense="watermark", defense_params={}, effect=0.1))
    rates = {
        "equalized_odds_difference": (0.3, 0.32),
        "predictive_parity_difference[class 3]": (0.1, 0.2),
        "tpr[Female, Amer-Indian-Eskimo]": (None, 0.5),
    }
    interactions.append(
        interaction(
            risk=Risk.DISCRIMINATORY_BEHAVIOR, attack="group-audit", effect=0.02,
            verdict="unresolved", metric="equalized_odds_difference", metrics=rates,
            baseline=0.3, defended=0.32,
        )
    )  # fmt: skip
    evaluations = [evaluation(stack=(), seed=seed) for seed in range(3)]
    audited = evaluation(
        risk=Risk.DISCRIMINATORY_BEHAVIOR, attack=Method("group-audit"),
        metrics={name: after for name, (_, after) in rates.items()},
        primary="equalized_odds_difference",
    )  # fmt: skip
    drawn = group_rates(
        dict.fromkeys(WORDS, np.array([[0.5, 0.4, 0.6], [np.nan] * 3])),
        ("Male, White", "Female, Amer-Indian-Eskimo"),
        title="class 1",
    )
    png = io.BytesIO()
    Image.fromarray(drawn).save(png, "PNG")
    pictures = {audited.cell.key: {"groups": png.getvalue()}}
    made = tables(interactions, [*evaluations, audited], {}, pictures)
    publish(render(made), tmp_path / "site with space")
    return tmp_path / "site with space"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test on a request that leaves the disk or on any complaint."""
    context = browser.new_context()
    page = context.new_page()
    wrong: list[str] = []

    def on_request(request: Request) -> None:
        if urlsplit(request.url).scheme not in ("file", "data"):
            wrong.append(f"request: {request.url}")

    def on_console(message: ConsoleMessage) -> None:
        wrong.append(f"console: {message.text}")

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    yield page
    context.close()
    assert wrong == []


def visible_rows(page: Page) -> list[str]:
    rows = page.locator("tr[data-row]:visible").all()
    return [
        f"{row.get_attribute('data-model')} {row.get_attribute('data-defense')}" for row in rows
    ]


def test_the_matrix_opens_from_disk(page: Page, site: Path):
    page.goto((site / "index.html").as_uri())

    cells = page.locator("tr[data-model='digits-cnn'][data-defense='dpsgd'] td").all_inner_texts()

    assert [" ".join(cell.split()) for cell in cells] == [
        "−3.1 97.2% → 94.1%",
        "▼ decreases −5.0 [+1.2, +4.9] 0.912 → 0.940 12 seeds alone · q 0.004",
        "▲ increases +3.1 [+1.2, +4.9] 0.912 → 0.940 12 seeds alone · q 0.004",
        "✕ failed no reason was recorded",
        "? unresolved +2.0 [+1.2, +4.9] 0.300 → 0.320 12 seeds alone · q 0.004",
    ]
    heads = page.locator("thead th[data-column]").all_inner_texts()
    assert "equalized_odds_difference: higher is worse" in heads[-1]
    assert "Discriminatory behavior" in page.locator("thead th.risk").last.inner_text().capitalize()


def test_every_link_leads_to_a_file_and_a_place_in_it(page: Page, site: Path):
    pages = [site / "index.html", *sorted((site / "models").iterdir())]
    links = []
    for file in pages:
        page.goto(file.as_uri())
        links += page.evaluate(
            "[...document.querySelectorAll('[href], [src]')].map(e => e.href || e.src)"
        )
    links = [link for link in links if not link.startswith("data:")]

    assert len(links) > 30
    for link in links:
        target = urlsplit(link)
        file = Path(unquote(target.path))
        assert file.is_file(), link
        assert site in file.parents, link
        if target.fragment:
            assert f'id="{target.fragment}"' in file.read_text(), link


def test_a_click_on_a_cell_opens_its_row_on_the_models_page(page: Page, site: Path):
    page.goto((site / "index.html").as_uri())

    page.locator("tr[data-model='digits-cnn'] td[data-risk='extraction'] a").first.click()

    assert page.locator("h1").inner_text() == "digits-cnn"
    row = page.locator("tbody:target")
    assert "extraction" in row.inner_text()
    row.locator("summary").click()
    assert "max_grad_norm" in row.inner_text()
    page.get_by_role("link", name="All models").click()
    assert page.url == (site / "index.html").as_uri()


def test_the_rates_of_groups_are_a_picture_on_the_models_page(page: Page, site: Path):
    page.goto((site / "models" / "digits-cnn.html").as_uri())
    seeds = page.locator("details.seeds", has_text="group-audit")
    seeds.locator("> summary").click()

    picture = seeds.locator("img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete", arg=picture.element_handle())
    assert picture.evaluate("image => image.naturalWidth") == 340
    assert picture.evaluate("image => image.clientWidth") == 340
    assert picture.get_attribute("alt") == "groups: group-audit on dpsgd, seed 0"
    assert "predictive_parity_difference[class 3]" not in seeds.inner_text()
    seeds.locator("td summary").click()
    assert "predictive_parity_difference[class 3]" in seeds.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("file", ["index.html", "models/digits-cnn.html"])
def test_a_phone_scrolls_tables_but_not_the_page(browser: Browser, site: Path, file: str, scheme):
    context = browser.new_context(viewport={"width": 375, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto((site / file).as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") == 375
    boxes = page.locator(".scroll").all()
    assert any(box.evaluate("box => box.scrollWidth > box.clientWidth") for box in boxes)
    context.close()


def test_all_is_there_without_scripts(browser: Browser, site: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())

    assert len(visible_rows(page)) == 3
    assert page.locator("form").is_hidden()
    context.close()


def test_a_choice_filters_and_lives_in_the_address(page: Page, site: Path):
    page.goto((site / "index.html").as_uri())
    assert len(visible_rows(page)) == 3

    page.get_by_label("Defense").select_option("watermark")
    assert visible_rows(page) == ["digits-cnn watermark"]
    assert page.locator("[data-shown]").inner_text() == "1 of 3 rows"
    page.get_by_label("Risk").select_option("extraction")
    assert page.locator("thead th[data-column]:visible").count() == 1

    address = page.url
    assert address.endswith("#defense=watermark&risk=extraction")
    page.goto("about:blank")
    page.goto(address)
    assert visible_rows(page) == ["digits-cnn watermark"]

    page.get_by_role("button", name="Show all").click()
    assert len(visible_rows(page)) == 3
    assert "#" not in page.url


def test_a_verdict_hides_the_rows_that_do_not_have_it(page: Page, site: Path):
    page.goto((site / "index.html").as_uri() + "#verdict=failed")

    assert visible_rows(page) == ["akamaster/resnet20 dpsgd", "digits-cnn dpsgd"]
    assert page.locator("td[data-verdicts]:visible:not(.dim)").count() == 2


def test_a_column_sorts_by_effect_within_each_model(page: Page, site: Path):
    page.goto((site / "index.html").as_uri())
    button = page.locator("thead th[data-column='2'] button")
    before = visible_rows(page)

    button.click()
    assert visible_rows(page)[1:] == ["digits-cnn watermark", "digits-cnn dpsgd"]
    assert "sort=0.2" in page.url
    button.click()
    assert visible_rows(page)[1:] == ["digits-cnn dpsgd", "digits-cnn watermark"]
    button.click()
    assert visible_rows(page) == before
