"""What README and docs/ say: short, linked, runnable, and with the numbers of results/."""

import inspect
import re
import subprocess
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, compose

from alkbald.acquisition import METHODS
from alkbald.records.versions import LEGACY, METHOD_LEGACY, MODEL_LEGACY
from alkbald.reporting.makers.compared import PAPER
from alkbald.reporting.rounds import pool_suffix
from alkbald.settings import from_config

README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FIGURES = ROOT / "results" / "figures"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
COMMANDS = re.compile(
    r"python (-m alkbald\.\w+|(?:scripts/)?\w+\.py)|make ([a-z]+(?:-[a-z]+)*)|"
    r"(experiment|protocol|curve|data|method|model|recorder)=(\w+)"
)


def shell(page) -> list[str]:
    """The lines of a page's shell blocks, and its code in backticks."""
    text = page.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", CODE.sub("", text))


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(pages):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", paths(PAGES))
def test_relative_links_lead_to_files_and_headings(page):
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", paths([*PAGES, *sorted((ROOT / "docs").rglob("*.rst"))]))
def test_links_to_other_sites_have_the_form_of_links(page):
    """They are not opened: tests need no network."""
    for link in re.findall(r"\w+://[^\s)>`'\"]*", page.read_text()):
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link
        assert not re.search(r"[.,;:]$", link), link


def test_anchors_are_those_of_github():
    text = "# `a.csv`, one row a round\n## Figure 3: 2-BALD's scores\n```sh\n# a comment\n```\n"
    assert anchors(text) == {"acsv-one-row-a-round", "figure-3-2-balds-scores"}


def test_every_page_is_on_the_list():
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name
        assert page.name == "index.md" or f"](docs/{page.name})" in README.read_text(), page.name


def test_every_folder_of_results_is_told():
    told = (ROOT / "results" / "README.md").read_text()
    for folder in (ROOT / "results").iterdir():
        assert not folder.is_dir() or f"| `{folder.name}/` |" in told, folder.name


@pytest.mark.parametrize("page", paths(PAGES))
def test_commands_exist(page):
    """Scripts, modules, make's targets, and the choices of configuration groups."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for script, target, group, choice in COMMANDS.findall("\n".join(shell(page))):
        if script.startswith("-m"):
            assert (ROOT / f"{script[3:].replace('.', '/')}.py").exists(), script
        elif script:
            assert (ROOT / script).exists(), script
        elif target:
            assert target in targets, target
        else:
            assert list((ROOT / "configs" / group).glob(f"{choice}*.yaml")), f"{group}={choice}"


@pytest.mark.parametrize(
    ("page", "group"), [("methods", "method"), ("data", "data"), ("running", "model"), ("trackers", "recorder")]
)
def test_every_overlay_is_in_a_table(page, group):
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs" / f"{page}.md").read_text(), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {path.stem for path in (ROOT / "configs" / group).iterdir()} <= told


def test_methods_that_need_a_generator_are_named():
    needing = [
        name
        for name, method in METHODS.items()
        if inspect.signature(method.function).parameters["generator"].default is inspect.Parameter.empty
    ]
    text = (ROOT / "docs" / "library.md").read_text()
    (row,) = re.findall(r"^\| `generator` \| (.*random.*) \|$", text, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", row)) == sorted(needing)


def test_legacy_values_are_those_of_the_code():
    models = {f"model.{key}": value for values in MODEL_LEGACY.values() for key, value in values.items()}
    text = (ROOT / "docs" / "records.md").read_text()
    table = dict(re.findall(r"^\| (`[\w.]+`.*) \| (.*) \|$", text.partition("| legacy value |")[2], re.MULTILINE))
    of_methods = {name: table.pop(name) for name in list(table) if " of " in name}
    assert {name.strip("`"): yaml.safe_load(value) for name, value in table.items()} == LEGACY | models
    told = {}
    for name, value in of_methods.items():
        setting, *methods = re.findall(r"`([\w.]+)`", name)
        for method in methods:
            told.setdefault(method, {})[setting.removeprefix("method.")] = yaml.safe_load(value)
    assert told == METHOD_LEGACY


def test_the_models_numbers_are_those_of_the_overlays():
    text = (ROOT / "docs" / "running.md").read_text()
    rows = re.findall(r"^\| `model\.(\w+)` \| `?([^`|;]+)`?.* \|$", text, re.MULTILINE)
    told = {key: yaml.safe_load(value) for key, value in rows}
    models = {
        path.stem: from_config(compose(f"model={path.stem}")).model for path in (ROOT / "configs" / "model").iterdir()
    }
    assert told == {
        key: value
        for name in sorted(models)
        for key, value in models[name].items()
        if key not in ("posterior", "network")
    }


@pytest.mark.parametrize("page", paths([README, ROOT / "docs" / "library.md"]))
def test_python_in_the_pages_runs(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_all_python_in_the_pages_runs_in_some_test():
    tested = {"library.md", "doors.md", "own-model.md"}  # here, test_doors_page.py, test_mc_dropout_module_state.py
    assert {page.name for page in (ROOT / "docs").glob("*.md") if "```python" in page.read_text()} == tested


def test_intervals_in_the_pages_are_those_of_results():
    """Every "difference [low, high]" is a row of a table of differences, in one direction or the other."""
    paths = [*FIGURES.glob("*differences.csv"), *FIGURES.glob("noise.csv"), FIGURES / "published.csv"]
    tables = (pd.read_csv(path)[["difference", "low", "high"]] for path in paths)
    known = pd.concat(tables).dropna().to_numpy()
    known = np.concatenate([known, -known[:, [0, 2, 1]]])
    for page, at_least in (("reproduction", 10), ("findings", 8)):
        text = (ROOT / "docs" / f"{page}.md").read_text()
        told = re.findall(r"([+-]?0\.\d{3}) \[([+-]?0\.\d{3}),\s([+-]?0\.\d{3})\]", text)
        assert len(told) >= at_least
        for interval in told:
            distance = np.abs(known - np.array(interval, dtype=float)).max(axis=1)
            assert distance.min() < 6e-4, (page, interval)


def headline(what: str) -> str:
    """A row of README's table, from its second column on."""
    (row,) = re.findall(rf"^\| {re.escape(what)} (\|.*)$", README.read_text(), re.MULTILINE)
    return row


@pytest.mark.parametrize("curve", ["2bald-10", "batchbald-5", "random-10"])
def test_headline_accuracies_are_those_of_results(curve):
    name = {"2bald-10": "2-BALD 10", "batchbald-5": "BatchBALD 5", "random-10": "random 10"}[curve]
    summary = pd.read_csv(FIGURES / "summary.csv").set_index("curve").loc[curve]
    published = pd.read_csv(ROOT / "results" / "published" / "curves.csv")
    names = published["method"] + "-" + published["acq_size"].astype(str)
    beside = published[(names == curve) & (published["labelled"] == 300)]["mean"]
    row = headline(f"test accuracy at 300 labels, {name}")
    assert row.startswith(f"| {summary['accuracy at 300']:.3f} ({summary['trials']:.0f} trials) |")
    assert row.endswith("| none published |") if beside.empty else f"| {beside.item():.3f} published" in row


@pytest.mark.parametrize(("method", "size"), [("BatchBALD", 5), ("2-BALD", 10)])
def test_headline_seconds_of_selection_are_those_of_results(method, size):
    seconds = pd.read_csv(ROOT / "results" / "table1" / "times.csv").set_index(["what", "B"])["seconds"]
    ours, peer = (seconds[f"{method}, {whose}", size] for whose in ("ours", "batchbald_redux"))
    row = headline(f"seconds to select {size} of 60,000 points, {method}")
    assert row.startswith(f"| {ours:#.2g} | {peer:.0f} ")


def test_headline_speeds_are_those_of_the_reports():
    inference = (ROOT / "results" / "bench_inference" / "report.md").read_text().split("## Inference, 100 masks")[1]
    numbers = [
        int(n.replace(",", "")) for n in re.findall(r"^\| (?:batch|ours).*? at a time \| ([\d,]+)", inference, re.M)
    ]
    ours = int(re.search(r"^\| ours, fp32 \| ([\d,]+)", inference, re.MULTILINE)[1].replace(",", ""))
    row = headline("predictions a second, 100 dropout masks")
    assert row.startswith(f"| {round(ours, -3):,} | {round(max(numbers), -2):,} ")
    beside = (ROOT / "results" / "bench_beside" / "report.md").read_text()
    older, newer = re.search(r"^\| whole \| ([\d.]+) \| ([\d.]+)", beside, re.MULTILINE).groups()
    row = headline("seconds of a round at the paper's settings")
    assert row.startswith(f"| {float(newer):.0f} | {float(older):.0f} ")


def test_speeds_of_selection_are_those_of_table_1():
    ratios = pd.read_csv(FIGURES / "table1.csv").set_index(["method", "acq_size"])["ratio"].dropna()
    text = (ROOT / "docs" / "performance.md").read_text().partition("\n## ")[0]
    told = re.search(r"BatchBALD selects 5\s+of 60,000 points (\d+) times as fast as the reference code", text)[1]
    assert told == f"{ratios['BatchBALD', 5]:.0f}"
    told = re.search(r"2-BALD is (\d+) to (\d+) times as fast", text).groups()
    assert told == (f"{ratios['2-BALD', 10]:.0f}", f"{ratios['2-BALD', 5]:.0f}")


@pytest.mark.parametrize(("points", "samples", "words"), [(7, 20, "seven"), (10, 100, "ten")])
def test_what_few_points_use_up_of_log_k_is_that_of_results(points, samples, words):
    """At the labelled set where it is less, to a whole percent."""
    worth = pd.read_csv(ROOT / "results" / "ceiling" / "worth.csv")
    of_batch = worth[(worth["position"] == points) & (worth["num_samples"] == samples)]
    assert len(of_batch) == 2
    least = (of_batch["joint"] / np.log(samples)).min()
    text = " ".join((ROOT / "docs" / "findings.md").read_text().split())
    told = re.search(rf"{words} points use up {samples} samples to (\d+)%", text, re.IGNORECASE)[1]
    assert told == f"{100 * least:.0f}"


@pytest.mark.parametrize(("heading", "study"), [("## Figure 3", "figure3"), ("## Table 1", "table1")])
def test_figures_of_one_model_say_on_which_pool(heading, study):
    noise = yaml.safe_load((ROOT / "results" / study / "settings.yaml").read_text())["data"]["noise"]
    _, section = (ROOT / "docs" / "reproduction.md").read_text().split(heading)
    assert re.findall(r"`data\.noise=([\d.]+)`", section.partition("\n## ")[0]) == [str(noise)]


def test_reproduction_runs_every_curve_of_the_figures():
    """On its own pool: `make reproduce` is everything from nothing."""
    done = subprocess.run(
        ["make", "--dry-run", "reproduce", "SEEDS=0", "VENV=none"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    curves = set()
    for line in re.findall(r"run\.py -m (.*)", done.stdout):
        sweep, *overrides = line.split()
        key, _, swept = sweep.partition("=")
        if key == "experiment":
            config = yaml.safe_load((ROOT / "configs" / "experiment" / f"{swept}.yaml").read_text())
            swept = config["hydra"]["sweeper"]["params"]["curve"]
        for curve in swept.split(","):
            settings = from_config(compose(f"curve={curve}", *overrides))
            curves.add(f"{settings.method['name']}-{settings.acq_size}{pool_suffix(settings.data.noise)}")
    assert curves >= set(PAPER)
