"""The page in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import batchscope as bs
from batchscope.reports.figures.rate_map import GIVEN_UP
from batchscope.verbs.recommending import read_recommendation

from ..browser import CHROMIUM, open_browser
from ..conftest import make_staying_task, make_task, need

NAME = '<script>alert("x")</script> & "quoted"'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium", CHROMIUM.exists())
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bs.Recommendation, Path]:
    folder = tmp_path_factory.mktemp("page")
    task = replace(make_task(budget=bs.epochs(6)), name=NAME, unit="<b>points</b>")
    place = str(folder / "runs.db")
    found = read_recommendation(bs.study(task, batch_sizes=[4, 8, 16], store=place))
    path = bs.report(place, str(folder / "page.html"))
    return found, Path(path)


def open_page(
    browser: Browser, path: Path, *, width: int, dark: bool = False
) -> tuple[Page, list[str]]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    # Drawn by software, beside another worker's training, a page takes half a minute.
    page.set_default_timeout(120_000)
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: errors.append(r.url) if r.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_selector("#figure-all-runs .main-svg")
    return page, errors


@pytest.mark.parametrize("width", [390, 1440])
def test_the_answer_is_read_out_of_the_page_without_a_console_error(
    browser: Browser, made: tuple[bs.Recommendation, Path], width: int, tmp_path: Path
) -> None:
    found, path = made

    page, errors = open_page(browser, path, width=width)

    answer = page.locator("#answer")
    assert answer.inner_text() == found.answer
    assert answer.get_attribute("data-batch-size") == str(found.batch_size)
    assert page.locator("#sizes tbody tr").count() == 3
    assert page.locator("#sizes tr.chosen td").first.inner_text() == str(found.batch_size)
    assert errors == []
    picture = page.screenshot(path=tmp_path / f"{width}.png", full_page=True)
    assert len(picture) > 50_000
    # Nothing sticks out sideways on a phone.
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_figure_is_drawn_with_labelled_axes(
    browser: Browser, made: tuple[bs.Recommendation, Path]
) -> None:
    page, _ = open_page(browser, made[1], width=1440)

    names = page.eval_on_selector_all(".js-plotly-plot", "plots => plots.map(p => p.id)")
    assert names == [
        "figure-quality",
        "figure-train-loss",
        "figure-to-target",
        "figure-step-time",
        "figure-time",
        "figure-collapse",
        "figure-rates",
        "figure-curves-quality",
        "figure-curves-loss",
        "figure-epochs",
        "figure-all-runs",
    ]
    for name in names[:-1]:
        title = page.evaluate(f"document.getElementById('{name}').layout.xaxis.title.text")
        lower = page.evaluate(
            f"(document.getElementById('{name}').layout.xaxis2 || {{title: {{}}}}).title.text"
        )
        assert title or lower
    assert page.locator("#figure-quality .scatterlayer .trace").count() >= 2


def test_a_race_shows_what_was_given_up_and_no_final_quality(
    browser: Browser, tmp_path: Path
) -> None:
    place = str(tmp_path / "runs.db")
    task = make_staying_task(budget=bs.epochs(20))
    found = bs.recommend(
        task, target="val_loss<=0.45", batch_sizes=[4, 8, 16, 32, 64], store=place, jobs=1
    )
    path = Path(bs.report(place, str(tmp_path / "page.html")))

    page, errors = open_page(browser, path, width=1000)

    names = page.eval_on_selector_all(".js-plotly-plot", "plots => plots.map(p => p.id)")
    assert "figure-quality" not in names
    assert {"figure-to-target", "figure-rates"} <= set(names)
    assert page.locator("#answer").get_attribute("data-batch-size") == str(found.batch_size)
    assert GIVEN_UP in page.locator("#figure-rates").inner_text()
    assert "given up" in page.locator("#exhibit-rates .note").inner_text()
    assert errors == []


def test_dark_mode_has_light_text_on_a_dark_page(
    browser: Browser, made: tuple[bs.Recommendation, Path]
) -> None:
    page, _ = open_page(browser, made[1], width=1000, dark=True)

    def brightness(element: str, what: str) -> float:
        colour = page.eval_on_selector(element, f"e => getComputedStyle(e).{what}")
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 765

    assert brightness("body", "backgroundColor") < 0.2
    assert brightness("#answer", "color") > 0.8
    assert brightness("#figure-quality .xtick text", "fill") > 0.6


def test_names_that_a_user_gave_are_text(
    browser: Browser, made: tuple[bs.Recommendation, Path]
) -> None:
    page, _ = open_page(browser, made[1], width=1440)

    assert NAME in page.locator("h1").inner_text()
    assert page.locator("b", has_text="points").count() == 0


def test_the_page_holds_plotly_once_and_asks_nothing_of_the_network(
    made: tuple[bs.Recommendation, Path],
) -> None:
    text = made[1].read_text()

    assert text.count("plotly.js v") == 1
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"http", text)


def test_a_study_that_allows_no_recommendation_still_has_a_page(tmp_path: Path) -> None:
    study = bs.study(
        make_task(), batch_sizes=[8], effort="quick", seeds=1, store=f"{tmp_path}/r.db", jobs=1
    )

    text = Path(bs.report(study, f"{tmp_path}/page.html")).read_text()

    assert "The runs do not say which batch size is best" in text
