"""A real Chromium for the tests, and for the picture of a report that the README shows."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_SWITCHES = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@contextmanager
def open_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_SWITCHES)
        yield browser
        browser.close()


def take_picture(page_path: Path, picture: Path) -> None:
    """The first screens of a report."""
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 1500})
        page.goto(page_path.absolute().as_uri())
        page.wait_for_selector("#figure-all-runs .main-svg")
        page.screenshot(path=picture)


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]), Path(sys.argv[2]))
