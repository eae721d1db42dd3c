"""The page, as much of it as its limit allows."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import altair
import jinja2
import vl_convert

from alkbald import __version__
from alkbald.errors import RecordError
from alkbald.records.files import Row, replace_file
from alkbald.reporting.names import data_set_name
from alkbald.reporting.page import charts, tables, texts
from alkbald.reporting.page.comparison import compare
from alkbald.reporting.page.images import Images, strip, training_images
from alkbald.reporting.page.runs import Group, PageRun, groups, read_runs, unusual_settings

#: Bytes that a page may have at most.
LIMIT = 5_000_000
#: Images beside each other.
_ACROSS = 10


class Detail(NamedTuple):
    """How much of the runs a page shows.

    Attributes:
        bits: of a pixel; 0: no images, indices in their place.
        images_of_all: of all runs; else of the first seed of each curve.
        rounds_of_all: the same of rounds and acquired points.
        note: what is left out, for the reader.
    """

    bits: int
    images_of_all: bool
    rounds_of_all: bool
    note: str


DETAILS = (
    Detail(4, True, True, ""),
    Detail(2, True, True, "To keep the page small, images have 4 shades of gray."),
    Detail(2, False, True, "To keep the page small, images are of the first seed of each curve."),
    Detail(0, False, True, "To keep the page small, there are no images."),
    Detail(2, False, False, "To keep the page small, rounds and images are of the first seed of each curve."),
    Detail(0, False, False, "To keep the page small, rounds are of the first seed of each curve, without images."),
)


def write_page(folders: Sequence[Path], output: Path, data: str | Path = "data") -> tuple[int, list[str]]:
    """Writes the page about all runs below the folders; gives its bytes, and what it leaves out.

    Args:
        folders: with runs, at any depth.
        output: the file.
        data: folder of the data sets, for images; without them, the page shows indices.

    Raises:
        RecordError: no run, more runs than fit into `LIMIT`, or a file that cannot be written.
        DataError: files of the data set that are damaged, or of another data set.
    """
    runs = read_runs(folders)
    page = Page(runs, Path(data))
    for detail in DETAILS:
        html = page.html(detail)
        if len(html.encode()) <= LIMIT:
            replace_file(output, html)
            return len(html.encode()), [*filter(None, [detail.note]), *page.notes]
    raise RecordError(f"a page about {len(runs)} runs would be over {LIMIT / 1e6:.0f} MB: name a folder with fewer")


class Page:
    """What the page says, whatever its detail.

    Attributes:
        notes: what is missing.
    """

    def __init__(self, runs: list[PageRun], data: Path):
        self.runs = runs
        self.groups = groups(runs)
        self._unusual = unusual_settings(runs)
        names = {run.settings["data.name"] for run in runs if run.record.acquired}
        self._images: dict[str, Images | None] = {name: training_images(name, data) for name in sorted(names)}
        missing = [data_set_name(name) for name, images in self._images.items() if images is None]
        self.notes = [f"No images of {', '.join(missing)} in the data folder: --data FOLDER shows them."] * bool(
            missing
        )
        curves = [
            (str(c), str(m)) for g in self.groups for c, m in zip(g.rounds["curve"], g.rounds["method"], strict=True)
        ]
        self._styles = charts.curve_styles(curves)
        self.specs = charts.of_runs()
        self._sections = [self._section(number, group) for number, group in enumerate(self.groups)]

    def html(self, detail: Detail) -> str:
        """The whole page."""
        shown = [section | {"curves": list(self._curves(section, detail))} for section in self._sections]
        states: dict[str, int] = {}
        for run in self.runs:
            states[run.status["state"]] = states.get(run.status["state"], 0) + 1
        return _template().render(
            sections=shown,
            runs=[self._row(run) for run in self.runs],
            states=", ".join(f"{count} {state}" for state, count in sorted(states.items())),
            notes=[*filter(None, [detail.note]), *self.notes],
            version=__version__,
            css=_file("page.css"),
            script=_file("page.js"),
            vega=_vega(),
            specs=_in_script(json.dumps(self.specs, separators=(",", ":"))),
            link=lambda run: f"run{self.runs.index(run)}",
        )

    def _section(self, number: int, group: Group) -> dict[str, Any]:
        comparison, learning = compare(group), tables.learning(group)
        name, labels = f"g{number}", list(dict.fromkeys(group.rounds["curve"]))
        self.specs |= {
            f"{name}-learning": charts.learning(
                {label: self._styles[label] for label in labels},
                intervals=any(row[4] for row in learning.rows),
                trials=any(row[1] != "mean" for row in learning.rows),
            ),
            f"{name}-differences": charts.differences(
                len(comparison.differences), intervals=any(each.trials > 2 for each in comparison.differences)
            ),
            f"{name}-seconds": charts.seconds_by_curve(len(labels)),
        }
        return {
            "id": name,
            "group": group,
            "comparison": comparison,
            "answer": texts.answer(group, comparison),
            "time": texts.time_of_a_round(group, comparison),
            "learning": learning,
            "standings": tables.standings(comparison, group),
            "differences": tables.differences(comparison),
            "seconds": tables.seconds_by_curve(group),
        }

    def _curves(self, section: dict[str, Any], detail: Detail) -> Iterator[dict[str, Any]]:
        """The runs of each curve, the best first; then those that another run stands for."""
        group = section["group"]
        members = [(standing.curve, group.of(standing.curve)) for standing in section["comparison"].standings]
        if group.twice:
            members.append(("left out: another run here has the same settings", list(group.twice)))
        for label, runs in members:
            shown = [
                self._run(run, detail, images=detail.images_of_all or place == 0)
                for place, run in enumerate(runs)
                if detail.rounds_of_all or place == 0
            ]
            yield {"label": label, "runs": shown, "left_out": len(runs) - len(shown)}

    def _run(self, run: PageRun, detail: Detail, images: bool) -> dict[str, Any]:
        pictures = self._images.get(run.settings["data.name"]) if detail.bits and images else None
        last = run.record.rounds[-1]
        return {
            "run": run,
            "settings": self._unusual[run.folder],
            "rounds": tables.rounds(run),
            "classes": tables.classes([run]),
            "decisions": tables.decisions(run),
            "last": last,
            "bins": tables.bins(last),
            "batches": list(_batches(run, pictures, detail.bits)),
        }

    def _row(self, run: PageRun) -> dict[str, Any]:
        return {"run": run, "settings": self._unusual.get(run.folder, []), "name": _short(run.folder, self.runs)}


def _batches(run: PageRun, images: Images | None, bits: int) -> Iterator[dict[str, Any]]:
    """The points of each round in the order of acquisition, by ten."""
    by_round: dict[str, list[Row]] = {}
    for point in run.record.acquired:
        by_round.setdefault(point["round"], []).append(point)
    for number, points in by_round.items():
        gains, strips = tables.gains(points), []
        for start in range(0, len(points), _ACROSS):
            part = points[start : start + _ACROSS]
            indices, labels = ([int(point[key]) for point in part] for key in ("index", "label"))
            source = strip(images, indices, labels, bits) if images else ""
            rest = zip(indices, labels, gains[start:], strict=False)
            strips.append({"source": source, "points": list(rest), "first": start + 1, "last": start + len(part)})
        yield {"round": number, "labelled": run.record.rounds[int(number)]["labelled"], "strips": strips}


def _short(folder: Path, runs: Sequence[PageRun]) -> str:
    """A folder's name below what all runs have in common."""
    parts = [run.folder.parent.parts for run in runs]
    shared = 0
    while all(len(each) > shared and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return "/".join(folder.parts[shared:])


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text()


def _in_script(text: str) -> str:
    """As text between script tags may be."""
    return re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", "<\\!--")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, of the version that the charts are written for."""
    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return _in_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_file("page.html"))
