"""Take the README's picture of a report: python docs/take_picture.py PAGE PICTURE."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
SWITCHES = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def take_picture(page_path: Path, picture: Path, *, width: int = 1100, height: int = 1500) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(page_path.absolute().as_uri())
        page.wait_for_selector("#figure-quality .main-svg")
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]), Path(sys.argv[2]))
