"""From the records below RESULTS to every figure and table, without training anything:

    python scripts/make_figures.py                            results/ to results/figures/: half a minute
    python scripts/make_figures.py --results runs/mine        of a reproduction of one's own
    python scripts/make_figures.py --only figure1 table1

What is missing is told, and the rest is made all the same.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
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
    bald_beside_batchbald,
    ceiling,
    dynamic_batch_sizes,
    learning_curves,
    score_progression,
    total_correlation,
)
from alkbald.reporting.overview import overview
from alkbald.tables import (
    beside_published,
    check_comparable,
    curve_names,
    last_size,
    load_runs,
    paired_differences,
    rounds_beside,
    summary,
    trials,
)

PUBLISHED = Path(__file__).parents[1] / "results" / "published"
OVERVIEW = ["batchbald-5", "2bald-10", "random-10"]
FIGURE_1 = ["batchbald-5", "2bald-10", "random-10", "bald-10", "batchbald-10"]
FIGURE_2 = ["2bald-10", "2bald-20", "2bald-40"]
DYNAMIC = ["positive_bald-40", "dynamic_bald-40", "conservative_bald-40"]
REFERENCE = "2bald-10"
CONTROL = "bald-40"  # as large, and nothing chosen
FIXED = [*FIGURE_2, CONTROL]
REFERENCE_SAMPLES = 100
TOTAL_CORRELATION = ["bald-10", "2bald-10", "batchbald-10", "batchbald-5", "random-10"]
SIZES, THRESHOLDS = [100, 200, 300], [0.90, 0.95]
GRID = list(range(20, 301, 40))  # sizes that batches of 5, 10, 20 and 40 come by; chosen sizes are interpolated
DIFFERENCES = {"curve": "", "less": "", "at": "", "trials": "", "difference": "+.4f", "low": "+.4f", "high": "+.4f"}


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
    names = curve_names(rounds)
    return rounds[names.isin(wanted)], [name for name in wanted if name not in set(names)]


def draw_overview(results: Path, output: Path) -> None:
    """README's picture: accuracies, and seconds to select beside batchbald_redux."""
    rounds, missing = curves_of(results, OVERVIEW)
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} is not in {results}/learning_curves")
    check_comparable(rounds)
    save(overview(rounds, pd.read_csv(results / "table1" / "times.csv")), output / "overview")


def figure_of_curves(results: Path, output: Path, name: str, wanted: list[str]) -> None:
    rounds, missing = curves_of(results, wanted)
    for curve in missing:
        print(f"{name}: {curve} is not there")
    if rounds.empty:
        raise FileNotFoundError(f"none of its curves is in {results}/learning_curves")
    save(learning_curves(rounds, bottom=0.65, missing=missing, order=wanted), output / name)


def comparison(results: Path, output: Path) -> None:
    """What the curves reach, how they differ, and the published numbers."""
    rounds, missing = curves_of(results, [*FIGURE_1, *DYNAMIC, *FIXED])
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
    save_table(paired_differences(curves, REFERENCE, SIZES, GRID), output / "differences", DIFFERENCES)
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
    """Minutes to select a batch, the paper's, the peer's and ours."""
    times = pd.read_csv(results / "table1" / "times.csv")
    source = json.loads((results / "table1" / "provenance.json").read_text())
    published = pd.read_csv(PUBLISHED / "minutes.csv").set_index(["method", "acq_size"])["minutes"]
    minutes = times.set_index(["what", "B"])["seconds"] / 60
    rows = []
    for method in ("BatchBALD", "2-BALD", "3-BALD"):
        for row in times[times["what"] == f"{method}, ours"].sort_values("B").to_dict("records"):
            ours, peer = (minutes.get((f"{method}, {whose}", row["B"])) for whose in ("ours", "batchbald_redux"))
            rows.append(
                {
                    "method": method,
                    "acq_size": int(row["B"]),
                    "paper (2080 Super), min": published.get((method, row["B"])),
                    "batchbald_redux, min": peer,
                    "ours, min": ours,
                    "ratio": peer / ours if peer else None,
                    "inference (ours), min": minutes["inference"].squeeze(),
                    "pool": int(row["N"]),
                    "K": int(row["K"]),
                    "outcomes kept, ours and the peer's": int(row["particles"]) or None,
                    "device": f"{source['device']}, {source['threads']} threads",
                    "batchbald_redux is": "its joint entropies in our greedy loop" if method == "2-BALD" else "",
                }
            )
    formats = {"paper (2080 Super), min": ".0f", "batchbald_redux, min": ".3g", "ours, min": ".2g", "ratio": ".3g"}
    save_table(
        pd.DataFrame(rows),
        output / "table1",
        {"method": "", "acq_size": "", **formats, "inference (ours), min": ".2g"}
        | {"pool": ",", "K": "", "outcomes kept, ours and the peer's": ",.0f", "device": "", "batchbald_redux is": ""},
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
    check_comparable(rounds)
    save(total_correlation(rounds, TOTAL_CORRELATION), output / "total_correlation")


def conjecture(results: Path, output: Path) -> None:
    """Whether 1-BALD's batches become BatchBALD's as labels grow: of whole pools, the largest batches on record; in the
    table smaller ones too, of which K samples can tell more."""
    table = pd.read_csv(results / "conjecture" / "quality.csv")
    if lacking := {"BALD", "BatchBALD"} - set(table["method"]):
        raise RecordError(f"{' and '.join(lacking)} is not in {results}/conjecture")
    largest = table["position"].max()
    save(bald_beside_batchbald(table[table["position"] == largest]), output / "conjecture")
    chosen = table[table["position"].isin([2, 3, largest])].assign(points=table["position"])
    joint, repeated = (
        chosen.pivot(index=["points", "labelled"], columns="method", values=values)
        for values in ("joint", "total_correlation")
    )
    shares = repeated / (repeated + joint)
    rows = {f"{method}, nats": joint[method] for method in joint}
    rows |= {"BALD / BatchBALD": joint["BALD"] / joint["BatchBALD"]}
    rows |= {f"total correlation, {method}": shares[method] for method in shares}
    formats = {name: ".1%" if "/" in name or "total" in name else ".3f" for name in rows}
    save_table(pd.DataFrame(rows).reset_index(), output / "conjecture", {"points": "", "labelled": "", **formats})


def quality(results: Path, output: Path) -> None:
    """What k-BALD believes of its batches, and what they are worth."""
    save(approximation_quality(pd.read_csv(results / "quality" / "quality.csv")), output / "quality")


def choices(results: Path, output: Path) -> None:
    """What methods choose that choose a size or an order."""
    table = pd.read_csv(results / "quality" / "choices.csv")
    formats = {"labelled": "", "method": "", "size": "", "decision": "", "score": ".3f", "joint": ".3f", "error": ".4f"}
    save_table(table, output / "choices", formats | {"batchbald": ".3f"})


def study_ceiling(results: Path, output: Path) -> None:
    """What few and many MC samples can tell of a batch, and what they do to accuracy."""
    worth = pd.read_csv(results / "ceiling" / "worth.csv")
    try:
        rounds = load_runs([results / "ceiling"])
    except FileNotFoundError:
        print("ceiling: no runs of experiment=ceiling are there")
        save(ceiling(worth), output / "ceiling")
        return
    samples = rounds["variant"].str.extract(r"^num_samples=(\d+)$")[0]
    if samples.isna().any() or set(rounds["method"]) != {"batchbald"}:
        raise RecordError(f"the runs in {results}/ceiling are not BatchBALD's that differ in num_samples alone")
    rounds["num_samples"] = samples.astype(int)
    tables = []
    for acq_size, of_size in rounds.groupby("acq_size"):
        curves = {f"K = {k}": trials(runs) for k, runs in of_size.groupby("num_samples")}
        curves = {f"{name}, {k}": curve for k, named in curves.items() for name, curve in named.items()}
        reference = f"batchbald-{acq_size}, K = {REFERENCE_SAMPLES}"
        if reference in curves:
            last = min(last_size(runs) for _, runs in of_size.groupby("num_samples"))
            grid = list(range(of_size["labelled"].min(), last + 1, acq_size))  # the rounds that all of them have
            if len(grid) > 1:
                sizes = [size for size in (40, 60, 100, 180, 300) if size in grid]
                tables.append(paired_differences(curves, reference, sizes, grid))
        else:
            print(f"ceiling: {reference} is not there")
    save(ceiling(worth, rounds), output / "ceiling")
    if tables:
        save_table(pd.concat(tables), output / "ceiling_differences", DIFFERENCES)


def study_dynamic(results: Path, output: Path) -> None:
    """Batch sizes chosen in the round beside fixed ones: accuracy, how often labels were asked for, and why batches
    ended."""
    rounds, missing = curves_of(results, [*DYNAMIC, *FIXED])
    if REFERENCE in missing or set(DYNAMIC) <= set(missing):
        raise FileNotFoundError(f"{', '.join(missing)} is not in {results}/learning_curves")
    for curve in missing:
        print(f"dynamic: {curve} is not there")
    check_comparable(rounds)
    save(dynamic_batch_sizes(rounds, [*DYNAMIC, *FIXED]), output / "dynamic")
    table = rounds_beside(rounds, REFERENCE, [*DYNAMIC, *FIXED], THRESHOLDS)
    formats = dict.fromkeys(table, "") | {"accuracy": ".0%", "rounds": ".1f", "trials": ".0f"}
    formats |= dict.fromkeys(["difference", "low", "high"], "+.1f")
    save_table(table, output / "dynamic_rounds", formats)
    if CONTROL not in missing:
        curves = {name: curve for name, curve in trials(rounds).items() if name in [*DYNAMIC, CONTROL]}
        save_table(paired_differences(curves, CONTROL, SIZES, GRID), output / "dynamic_differences", DIFFERENCES)
    batches = rounds.dropna(subset=["decision"]).groupby(["method", "acq_size", "decision"])["batch"]
    decisions = batches.agg(["count", "mean", "min", "max"]).reset_index()
    formats = {"method": "", "acq_size": "", "decision": "", "count": "", "mean": ".1f", "min": ".0f", "max": ".0f"}
    save_table(decisions, output / "dynamic_decisions", formats)


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "overview": draw_overview,
    "figure1": lambda results, output: figure_of_curves(results, output, "figure1", FIGURE_1),
    "figure2": lambda results, output: figure_of_curves(results, output, "figure2", FIGURE_2),
    "figure3": figure3,
    "table1": table1,
    "comparison": comparison,
    "acquired": acquired,
    "correlation": correlation,
    "conjecture": conjecture,
    "quality": quality,
    "choices": choices,
    "ceiling": study_ceiling,
    "dynamic": study_dynamic,
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
