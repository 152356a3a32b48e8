"""Pictures of the playground for the docs, and how long it takes to load: `python tools/screenshots.py`.

Needs `make playground`, Playwright for Python and Chromium on PATH. Writes `docs/pictures/playground-*.png` and
`results/playground-load.json`.
"""

import io
import json
import os
import platform
import shutil
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from pdoconv.playground.serve import server
from pdoconv.progress import progress

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
RESULT = ROOT / "results" / "playground-load.json"
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESKTOP, PHONE = {"width": 1220, "height": 760}, {"width": 390, "height": 844}
LOADS = 5
COLOURS = 200  # of a picture's palette
DIGIT = 7
TURNED = 135


def save(shot: bytes, name: str) -> None:
    """Write a screenshot with a palette, which makes it small."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / f"playground-{name}.png", optimize=True)


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """Open the page in a window of its own, with its first answer there."""
    context = browser.new_context(color_scheme="light", **options)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=60000)
    yield page
    context.close()


def turn(page: Page, degrees: int) -> None:
    """Turn the dial to a multiple of 45 degrees."""
    page.focus("#dial")
    page.keyboard.press("Home")
    for _ in range(degrees // 45):
        page.keyboard.press("PageUp")
    page.wait_for_selector(f'body[data-shown="{degrees}"]', timeout=60000)
    page.evaluate("document.activeElement.blur()")


def measured(page: Page) -> None:
    """Choose the digit, fill the strips, turn the dial."""
    page.locator(f'#digits button[data-label="{DIGIT}"]').first.click()
    page.wait_for_selector('body[data-shown="0"]', timeout=60000)
    page.click("#measure")
    page.wait_for_selector('body[data-measured="true"]', timeout=120000)
    turn(page, TURNED)
    page.mouse.move(5, 5)


def turned(browser: Browser, address: str) -> None:
    """The first screen: dial, answers, digits."""
    with opened(browser, address, viewport=DESKTOP) as page:
        measured(page)
        save(page.screenshot(clip={"x": 0, "y": 0, **DESKTOP, "height": 700}), "turned")


def features(browser: Browser, address: str) -> None:
    """The maps of a field on a ring, at 45 degrees."""
    with opened(browser, address, viewport=DESKTOP) as page:
        turn(page, 45)
        save(page.locator("section[aria-labelledby=h-features]").screenshot(), "features")


def stencils(browser: Browser, address: str) -> None:
    """Errors of the filter families."""
    with opened(browser, address, viewport=DESKTOP) as page:
        page.wait_for_selector("#filter canvas")
        page.wait_for_selector("#families[data-sigma]")
        save(page.locator("section[aria-labelledby=h-stencils]").screenshot(), "stencils")


def evolution(browser: Browser, address: str) -> None:
    """The learned PDE after its last step."""
    with opened(browser, address, viewport=DESKTOP) as page:
        page.click("#tab-pde")
        page.wait_for_selector('body[data-pde="ready"]', timeout=60000)
        page.locator("#time").fill("12")
        page.evaluate("document.activeElement.blur()")
        save(page.screenshot(full_page=True), "pde")


def phone(browser: Browser, address: str) -> None:
    """The first screen of a phone."""
    with opened(browser, address, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2) as page:
        measured(page)
        page.evaluate("scrollTo(0, 0)")
        save(page.screenshot(), "phone")


def load_times(browser: Browser, address: str) -> list[int]:
    """Milliseconds from the start of the navigation to the first answer, each in a window without a cache."""
    times = []
    for _ in range(LOADS):
        with opened(browser, address, viewport=DESKTOP) as page:
            times.append(int(page.evaluate("document.body.dataset.readyAfter")))
    return times


def main() -> None:
    """Make all pictures, measure, write."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise FileNotFoundError("chromium was not found on PATH: install it to make the playground's pictures.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with server(0) as running, sync_playwright() as playwright:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_address[1]}/"
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        steps = (turned, features, stencils, evolution, phone)
        for step in progress(steps, total=len(steps), title="pictures of the playground"):
            step(browser, address)
        times = load_times(browser, address)
        about = {
            "first_answer_ms": times,
            "first_answer_ms_median": statistics.median(times),
            "browser": f"Chromium {browser.version}, headless",
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "machine": platform.machine(),
            "command": "python tools/screenshots.py",
        }
        browser.close()
        running.shutdown()
    RESULT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"screenshots: {error}")
