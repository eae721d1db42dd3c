"""From the records below RESULTS to every figure and table, without training anything:

    python scripts/make_figures.py                            results/ to results/figures/: some 20 seconds
    python scripts/make_figures.py --results runs/mine        of a reproduction of one's own
    python scripts/make_figures.py --only figure1 table1

What is missing is told, and the rest is made all the same.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from acquired_images import acquired_batches, read_images
from benchmarking import markdown
from matplotlib.figure import Figure

from alkbald.errors import RecordError, UserError, errors_in_one_line
from alkbald.figures import (
    NAMES,
    acquired_images,
    approximation_quality,
    learning_curves,
    score_progression,
    total_correlation,
)
from alkbald.tables import beside_published, load_runs, paired_differences, summary, trials

PUBLISHED = Path(__file__).parents[1] / "results" / "published"
FIGURE_1 = ["batchbald-5", "2bald-10", "random-10", "bald-10", "batchbald-10"]
FIGURE_2 = ["2bald-10", "2bald-20", "2bald-40"]
REFERENCE = "2bald-10"
TOTAL_CORRELATION = ["bald-10", "2bald-10", "batchbald-10", "random-10"]
SIZES, THRESHOLDS = [100, 200, 300], [0.90, 0.95]
GRID = list(range(20, 301, 40))  # sizes that batches of 5, 10, 20 and 40 all come by


def save(figure: Figure, path: Path) -> None:
    """As PDF and PNG, without the time of day: the same records give the same bytes."""
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None}, dpi=200)
    figure.savefig(path.with_suffix(".png"), dpi=150)
    print(f"made {path}.pdf and .png")


def save_table(table: pd.DataFrame, path: Path, formats: dict[str, str]) -> None:
    """As CSV in full, and as Markdown with the columns that have a format and are not empty."""
    table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.6g", lineterminator="\n")
    shown = table.replace("", None).dropna(axis="columns", how="all")
    rows = [
        {name: "" if pd.isna(row[name]) else format(row[name], spec) for name, spec in formats.items() if name in row}
        for row in shown.to_dict("records")
    ]
    path.with_suffix(".md").write_text(markdown(rows) + "\n")
    print(f"made {path}.csv and .md")


def curves_of(results: Path, wanted: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The rounds of these curves, and which of the curves are not there."""
    rounds = load_runs([results / "learning_curves"])
    names = rounds["method"] + "-" + rounds["acq_size"].astype(str)
    return rounds[names.isin(wanted)], [name for name in wanted if name not in set(names)]


def figure_of_curves(results: Path, output: Path, name: str, wanted: list[str]) -> None:
    rounds, missing = curves_of(results, wanted)
    for curve in missing:
        print(f"{name}: {curve} is not there")
    if rounds.empty:
        raise FileNotFoundError(f"none of its curves is in {results}/learning_curves")
    save(learning_curves(rounds, bottom=0.65, missing=missing, order=wanted), output / name)


def comparison(results: Path, output: Path) -> None:
    """What the curves reach, how they differ, and the published numbers."""
    rounds, missing = curves_of(results, [*FIGURE_1, *FIGURE_2])
    if REFERENCE in missing:
        raise FileNotFoundError(f"{REFERENCE}, with which curves are compared, is not in {results}/learning_curves")
    curves = trials(rounds)
    accuracies = {f"{what}{size}": ".4f" for size in SIZES for what in ("accuracy at ", "± at ")}
    needed = {f"{what} to {share:.0%}": ".0f" for share in THRESHOLDS for what in ("labels", "trials")}
    save_table(
        summary(curves, SIZES, THRESHOLDS, GRID),
        output / "summary",
        {"curve": "", "trials": "", **accuracies, "area": ".4f", "± area": ".4f", **needed},
    )
    save_table(
        paired_differences(curves, REFERENCE, SIZES, GRID),
        output / "differences",
        {"curve": "", "less": "", "at": "", "trials": "", "difference": "+.4f", "low": "+.4f", "high": "+.4f"},
    )
    save_table(
        beside_published(curves, pd.read_csv(PUBLISHED / "accuracy.csv")),
        output / "published",
        {
            **{"curve": "", "labelled": "", "trials": "", "ours": ".4f", "published": ".3f"},
            **{"difference": "+.4f", "in standard errors": "+.1f"},
        },
    )


def figure3(results: Path, output: Path) -> None:
    save(score_progression(pd.read_csv(results / "figure3" / "scores.csv")), output / "figure3")


def table1(results: Path, output: Path) -> None:
    """Minutes to select a batch, of the benchmark's measurements on the largest pool at K = 100 after 20 labels."""
    times = pd.read_csv(results / "bench_acquisition" / "times.csv")
    times = times[(times["K"] == 100) & times["predictions"].str.endswith(" 20 labels")]
    if times.empty:
        raise FileNotFoundError(f"no times on predictions after 20 labels, K = 100, in {results}/bench_acquisition")
    largest = times["N"].max()
    device = json.loads((results / "bench_acquisition" / "provenance.json").read_text())["device"]
    published = pd.read_csv(PUBLISHED / "minutes.csv")
    inference = times.loc[times["what"] == "inference", "seconds"].median()

    def minutes(what: str, b: int) -> tuple[float, str]:
        """Of the largest pool, or scaled up to it from the next one that was measured."""
        rows = times[(times["what"] == what) & (times["B"] == b)]
        if rows.empty:
            return float("nan"), ""
        pool = rows["N"].max()
        note = "" if pool == largest else f"{largest / pool:g} times the {pool:,} points'"
        seconds = rows.loc[rows["N"] == pool, "seconds"]
        # The peer has a row a seed. Ours is a median already; its first is the one beside the peer.
        return (seconds.iloc[0] if what.endswith("ours") else seconds.median()) * largest / pool / 60, note

    rows = []
    for method in ("BatchBALD", "2-BALD", "3-BALD"):
        for b in (5, 10):
            ours, our_note = minutes(f"{method}, ours", b)
            peer, peer_note = minutes(f"{method}, batchbald_redux", b)
            if method == "2-BALD":
                peer_note = "its joint entropies in our greedy loop"
            paper = published[(published["method"] == method) & (published["acq_size"] == b)]["minutes"]
            rows.append(
                {
                    "method": method,
                    "acq_size": b,
                    "paper (2080 Super), min": paper.squeeze() if len(paper) else float("nan"),
                    "batchbald_redux, min": peer,
                    "ours, min": ours,
                    "ratio": peer / ours,
                    "inference (ours), min": inference / 60,
                    "pool": largest,
                    "K": 100,
                    "device": device,
                    "ours is": our_note,
                    "batchbald_redux is": peer_note,
                }
            )
    minutes_format = {
        "batchbald_redux, min": ".2f",
        "ours, min": ".4f",
        "ratio": ".0f",
        "inference (ours), min": ".2f",
    }
    save_table(
        pd.DataFrame(rows),
        output / "table1",
        {"method": "", "acq_size": "", "paper (2080 Super), min": ".0f", **minutes_format}
        | {"pool": ",", "K": "", "device": "", "ours is": "", "batchbald_redux is": ""},
    )


def acquired(results: Path, output: Path) -> None:
    """The first round's batches of 10: the same model chose them from the same pool."""
    batches = {NAMES[method]: batch for method, batch in acquired_batches(results).items()}
    path = results / "acquired_images" / "images.csv"
    images = read_images(path)
    if lacking := {index for batch in acquired_batches(results).values() for index in batch["index"]} - images.keys():
        raise FileNotFoundError(f"{path} lacks {len(lacking)} images: python scripts/acquired_images.py {results}")
    save(acquired_images(batches, images), output / "acquired")


def correlation(results: Path, output: Path) -> None:
    """What top-k BALD counts more than once, over a run."""
    rounds, _ = curves_of(results, TOTAL_CORRELATION)
    if rounds.empty:
        raise FileNotFoundError(f"none of its curves is in {results}/learning_curves")
    save(total_correlation(rounds, TOTAL_CORRELATION), output / "total_correlation")


def quality(results: Path, output: Path) -> None:
    save(approximation_quality(pd.read_csv(results / "quality" / "quality.csv")), output / "quality")


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "figure1": lambda results, output: figure_of_curves(results, output, "figure1", FIGURE_1),
    "figure2": lambda results, output: figure_of_curves(results, output, "figure2", FIGURE_2),
    "figure3": figure3,
    "table1": table1,
    "comparison": comparison,
    "acquired": acquired,
    "correlation": correlation,
    "quality": quality,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, help="folder of what is made; default: RESULTS/figures")
    parser.add_argument("--only", nargs="+", choices=MAKERS, default=list(MAKERS))
    arguments = parser.parse_args()
    output = arguments.output or arguments.results / "figures"
    output.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["pdf.fonttype"] = 42
    made = 0
    for name in arguments.only:
        try:
            MAKERS[name](arguments.results, output)
            made += 1
        except (FileNotFoundError, RecordError) as error:
            lacking = getattr(error, "filename", None)
            print(f"{name} is not made: {f'there is no {lacking}' if lacking else error}")
    if not made:
        raise UserError(f"nothing to make figures of below {arguments.results}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
