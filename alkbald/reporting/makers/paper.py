"""The paper's figures and tables."""

import json

import pandas as pd

from alkbald.reporting.acquired import acquired_batches, read_images
from alkbald.reporting.figures import overview as figures
from alkbald.reporting.figures.batches import score_progression
from alkbald.reporting.figures.curves import Panel, beside_published
from alkbald.reporting.figures.images import acquired_images
from alkbald.reporting.makers.compared import (
    FIGURE_1,
    FIGURE_2,
    OVERVIEW,
)
from alkbald.reporting.makers.files import Folders
from alkbald.reporting.names import method_name
from alkbald.reporting.published import DATA, read_published
from alkbald.reporting.rounds import check_comparable

PAPER_MINUTES = "paper (2080 Super), selection alone, min"
PAPER_SOURCE = "source of the paper's minutes"
#: What is timed as the 2-BALD of batchbald_redux, which has no function for it.
AUTHORS_2BALD = "the author's own algorithm: whole pool after each pick, ExactJointEntropy, float64"


def overview(folders: Folders) -> None:
    """README's picture: accuracies, and seconds to select beside batchbald_redux."""
    rounds, missing = folders.curves(OVERVIEW)
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} is not in {folders.results}/learning_curves")
    check_comparable(rounds)
    times = pd.read_csv(folders.results / "table1" / "times.csv")
    folders.save(figures.overview(rounds, times), "overview")


def figure1(folders: Folders) -> None:
    """Learning curves of 2-BALD and BatchBALD as published, and of all methods on each pool."""
    _learning_curves(folders, "figure1", FIGURE_1)


def figure2(folders: Folders) -> None:
    """Learning curves of 2-BALD by its batch size."""
    _learning_curves(folders, "figure2", FIGURE_2)


def _learning_curves(folders: Folders, name: str, panels: list[Panel]) -> None:
    rounds, missing = folders.curves(list(dict.fromkeys(curve for panel in panels for curve in panel.curves)))
    for curve in missing:
        print(f"{name}: {curve} is not there")
    if rounds.empty:
        raise FileNotFoundError(f"none of its curves is in {folders.results}/learning_curves")
    published = read_published(folders.published / "curves.csv")
    if set(rounds["data"]) != {DATA}:
        published = published[:0]  # they are of another data set
    folders.save(beside_published(rounds, published, panels, bottom=0.65), name)


def figure3(folders: Folders) -> None:
    """Scores of pool points within one round of 2-BALD."""
    folders.save(score_progression(pd.read_csv(folders.results / "figure3" / "scores.csv")), "figure3")


def table1(folders: Folders) -> None:
    """Minutes to select a batch: the paper's, batchbald_redux's and ours."""
    times = pd.read_csv(folders.results / "table1" / "times.csv")
    source = json.loads((folders.results / "table1" / "provenance.json").read_text())
    published = pd.read_csv(folders.published / "minutes.csv").set_index(["method", "acq_size"])
    formats = {"method": "", "acq_size": "", PAPER_MINUTES: ".0f", PAPER_SOURCE: "", "batchbald_redux, min": ".3g"}
    formats |= {"ours, min": ".2g", "ratio": ".3g", "inference (ours), min": ".2g", "pool": ",", "K": ""}
    formats |= {"outcomes kept, ours and the peer's": ",.0f", "device": "", "batchbald_redux is": ""}
    table = _minutes(times, published).assign(device=f"{source['device']}, {source['threads']} threads")
    folders.save_table(table[list(formats)], "table1", formats)


def _minutes(times: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """A row for each method and batch size of `times` (columns what, B, N, K, particles, seconds), beside the paper's
    (by method and batch size: minutes, and where they come from)."""
    minutes = times.set_index(["what", "B"])["seconds"] / 60
    rows = []
    for method in ("BatchBALD", "2-BALD", "3-BALD"):
        for row in times[times["what"] == f"{method}, ours"].sort_values("B").to_dict("records"):
            ours, peer = (minutes.get((f"{method}, {whose}", row["B"])) for whose in ("ours", "batchbald_redux"))
            rows.append(
                {
                    "method": method,
                    "acq_size": int(row["B"]),
                    PAPER_MINUTES: published["minutes"].get((method, row["B"])),
                    PAPER_SOURCE: published[PAPER_SOURCE].get((method, row["B"]), ""),
                    "batchbald_redux, min": peer,
                    "ours, min": ours,
                    "ratio": peer / ours if peer else None,
                    "inference (ours), min": minutes["inference"].squeeze(),
                    "pool": int(row["N"]),
                    "K": int(row["K"]),
                    "outcomes kept, ours and the peer's": int(row["particles"]) or None,
                    "batchbald_redux is": AUTHORS_2BALD if method == "2-BALD" else "",
                }
            )
    return pd.DataFrame(rows)


def acquired(folders: Folders) -> None:
    """The images of the first round's batches of 10: the same model chose them from the same pool."""
    batches = acquired_batches(folders.results)
    path = folders.results / "acquired_images" / "images.csv"
    images = read_images(path)
    if lacking := {index for batch in batches.values() for index in batch["index"]} - images.keys():
        command = f"python scripts/acquired_images.py {folders.results}"
        raise FileNotFoundError(f"{path} lacks {len(lacking)} images: {command}")
    folders.save(acquired_images({method_name(key): batch for key, batch in batches.items()}, images), "acquired")
