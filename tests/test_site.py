"""The site that `make docs` builds: whole, linked, and in need of no network. Slow by nature: Sphinx is a program."""

import importlib
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

#: What the API reference promises, name by name.
PUBLIC = ["acquisition", "information", "posteriors", "posteriors.mc_dropout", "data"]
#: These have no `__all__`: what they define, without an underscore, is public.
DEFINE = ["training", "evaluation", "predicting", "devices", "errors"]
DEFINE += [f"compatibility.{door}" for door in ("batchbald_redux", "baal", "skactiveml")]
MOST_BYTES = 300_000  # of a page with all that it loads, but for pictures


class Page(HTMLParser):
    """Of one HTML file: anchors, links, what the browser loads by itself, and the text without formulas."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.anchors, self.links, self.loaded = path, set(), [], []
        self.text, self.formulas, self.open, self._inside = "", [], 0, ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.open += tag == "div"
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag in ("math", "script", "style"):
            self._inside = tag
            self.formulas += [""] if tag == "math" else []
        if values.get("href"):
            loads = values.get("rel") in ("stylesheet", "icon", "preload")
            (self.loaded if loads else self.links).append(values["href"])
        if values.get("src"):
            self.loaded.append(values["src"])

    def handle_endtag(self, tag):
        self.open -= tag == "div"
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "math":
            self.formulas[-1] += "".join(data.split())
        elif not self._inside:
            self.text += data

    def file(self, link: str) -> Path:
        name = unquote(urlsplit(link).path)
        return (self.path.parent / name).resolve() if name else self.path


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """By their place on the site; a warning of Sphinx is an error, as in `make docs`."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-b", "html", "-c", "docs"]
    assert " ".join(options) in (ROOT / "Makefile").read_text()
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(folder / "doctrees"), ".", str(folder / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    html = (folder / "html").resolve()
    return {str(path.relative_to(html)): Page(path) for path in html.rglob("*.html")}


def test_nothing_is_loaded_from_a_network(pages):
    for place, page in pages.items():
        for link in page.loaded:
            assert not urlsplit(link).netloc, (place, link)
            assert page.file(link).exists() or link.startswith("data:"), (place, link)
    (styles,) = {page.path.parent for place, page in pages.items() if place == "index.html"}
    for sheet in styles.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_links_lead_to_files_and_anchors(pages):
    by_file = {page.path: page for page in pages.values()}
    checked = 0
    for place, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            target, anchor = page.file(link), unquote(urlsplit(link).fragment)
            assert target.exists(), (place, link)
            assert not anchor or anchor in by_file[target].anchors, (place, link)
            checked += 1
    assert checked > 1000


def test_every_page_and_report_is_on_the_site_and_in_its_table_of_contents(pages):
    linked = {pages["docs/index.html"].file(link) for link in pages["docs/index.html"].links}
    linked |= {pages["results/README.html"].file(link) for link in pages["results/README.html"].links}
    for path in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md"), ROOT / "README.md"]:
        if "_build" in path.parts:
            continue
        place = str(path.relative_to(ROOT).with_suffix(".html"))
        assert pages[place].path in linked, place


def test_the_front_page_leads_to_the_documentation(pages):
    assert pages["index.html"].links == ["docs/index.html"]


def public_names() -> set[str]:
    names = set()
    for name in PUBLIC:
        module = importlib.import_module(f"alkbald.{name}")
        names |= {f"{module.__name__}.{each}" for each in module.__all__}
    for name in DEFINE:
        module = importlib.import_module(f"alkbald.{name}")
        defined = inspect.getmembers(module, lambda each: inspect.isfunction(each) or inspect.isclass(each))
        names |= {
            f"{module.__name__}.{name}"
            for name, value in defined
            if value.__module__ == module.__name__ and not name.startswith("_")
        }
    return names


def test_the_api_reference_has_every_public_name(pages):
    anchors = set().union(*(page.anchors for place, page in pages.items() if place.startswith("docs/api/")))
    elsewhere = {  # by another name of the same object, or a type alias that signatures spell out
        "alkbald.posteriors.MCDropoutModel": "alkbald.posteriors.mc_dropout.MCDropoutModel",
        "alkbald.posteriors.MCDropoutNet": "alkbald.posteriors.mc_dropout.MCDropoutNet",
        "alkbald.posteriors.mc_dropout.Masks": "alkbald.posteriors.mc_dropout.Stage",
        "alkbald.data.DataError": "alkbald.errors.DataError",
    }
    names = public_names()
    assert {"alkbald.acquisition.kbald", "alkbald.training.fit", "alkbald.compatibility.baal.BatchHeuristic"} <= names
    assert {elsewhere.get(name, name) for name in names} - anchors == set()


def test_formulas_are_rendered(pages):
    api = {place: page for place, page in pages.items() if place.startswith("docs/api/")}
    assert sum(len(page.formulas) for page in api.values()) > 50
    assert "I[Yn;Ω]=H[Yn]\N{MINUS SIGN}H[Yn\N{DIVIDES}Ω]" in api["docs/api/information.html"].formulas
    for place, page in api.items():
        assert page.open == 0, f"{place}: a <div> is not closed"
        left = re.search(r"\\[a-z]+|:math:|Omega|omega_|\bsum_|\b[HI]\[Y|\^", page.text)
        assert left is None, (place, page.text[max(0, left.start() - 60) : left.end() + 60])


def test_shapes_stand_in_signatures_and_defaults_as_they_are_written(pages):
    text = pages["docs/api/information.html"].text
    assert re.search(r"marginal_entropy\(\s*log_probs: Float\[Tensor, 'N K C'\],\s*\) → Float\[Tensor, 'N'\]", text)
    for place, page in pages.items():
        assert not re.search("<built-in| object at 0x", page.text), place
        assert not re.search(r"^Type:", page.text, re.MULTILINE), f"{place}: napoleon read a colon as that of a type"


def test_pages_are_light(pages):
    for place, page in pages.items():
        loaded = [page.file(link) for link in page.loaded if not link.startswith("data:")]
        weight = sum(path.stat().st_size for path in [page.path, *loaded] if path.suffix in (".html", ".css", ".js"))
        assert weight < MOST_BYTES, (place, weight)
