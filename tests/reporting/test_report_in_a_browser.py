"""The report page in headless Chromium. Slow: it starts a browser."""

import shutil

import pytest
from conftest import ROOT

from alkbald.reporting.page.build import write_page

pytestmark = pytest.mark.slow

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
#: Opens all that is folded.
OPEN = "() => document.querySelectorAll('details').forEach((part) => { part.open = true; })"
DRAWN = "() => [...document.querySelectorAll('.chart')].every((chart) => chart.dataset.drawn === 'done')"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make setup")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: no chromium, chromium-browser or google-chrome on the path")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(small_runs, tmp_path_factory):
    """Of new runs, of records of all versions, and of all committed runs."""
    folder = tmp_path_factory.mktemp("pages")
    for name, runs in (("new", small_runs), ("versions", ROOT / "tests" / "records"), ("results", ROOT / "results")):
        write_page([runs], folder / f"{name}.html")
    return folder


@pytest.mark.parametrize("name", ["new", "versions", "results"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_without_errors_or_network_and_draws_all(browser, pages, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{pages / name}.html")
    page.evaluate(OPEN)
    page.wait_for_function(DRAWN, timeout=300_000)
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    images = page.evaluate("() => [...document.images].map((i) => [i.complete, i.naturalWidth, i.alt])")
    assert images or name == "results"  # of MNIST, whose images may not be there
    assert all(complete and wide > 0 and alt for complete, wide, alt in images)
    marks = "(chart) => [chart.getAttribute('aria-label'), chart.querySelectorAll('svg path').length]"
    drawn = page.evaluate(f"() => [...document.querySelectorAll('.chart')].map({marks})")
    assert len(drawn) > 10
    assert all(label and paths > 2 for label, paths in drawn)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink = {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 233, 237)"}[scheme]  # --ink of page.css
    assert page.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill") == ink
    page.close()


def test_it_is_used_by_keyboard_and_a_link_opens_a_run(browser, pages):
    page = browser.new_page()
    page.goto(f"file://{pages / 'new'}.html")
    summary = page.locator("details.curve > summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details.curve').open")
    page.goto(f"file://{pages / 'new'}.html#run2")
    page.reload()
    assert page.evaluate("document.getElementById('run2').checkVisibility()")
    page.close()
