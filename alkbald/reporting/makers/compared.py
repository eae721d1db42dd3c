"""Which curves are drawn and compared, and at which labelled-set sizes. Names are those of `reporting.rounds`."""

from alkbald.reporting.figures.curves import Panel

#: Of README's picture.
OVERVIEW = ["batchbald-5", "2bald-10", "random-10"]
FIGURE_1 = [
    Panel("2-BALD 10 as published: with noise", ["2bald-10"], beside_published=True),
    Panel("BatchBALD 5 as published: without noise", ["batchbald-5 without noise"], beside_published=True),
    Panel("all methods, with noise", ["2bald-10", "batchbald-5", "random-10", "bald-10", "batchbald-10"]),
    Panel(
        "all methods, without noise",
        ["2bald-10 without noise", "batchbald-5 without noise", "batchbald-10 without noise"],
    ),
]
#: 2-BALD by its batch size.
SIZES_OF_2BALD = ["2bald-10", "2bald-20", "2bald-40"]
FIGURE_2 = [
    Panel("2-BALD by batch size", SIZES_OF_2BALD),
    Panel("batches of 10 beside the published", ["2bald-10"], beside_published=True),
    Panel("batches of 20 beside the published", ["2bald-20"], beside_published=True),
    Panel("batches of 40 beside the published", ["2bald-40"], beside_published=True),
]
#: All curves of both figures.
PAPER = list(dict.fromkeys(name for panel in [*FIGURE_1, *FIGURE_2] for name in panel.curves))

#: Methods that choose the batch size, up to 40.
DYNAMIC = ["positive_bald-40", "dynamic_bald-40", "conservative_bald-40"]
#: As large as theirs, and nothing chosen.
CONTROL = "bald-40"
FIXED = [*SIZES_OF_2BALD, CONTROL]

TOTAL_CORRELATION = ["bald-10", "2bald-10", "batchbald-10", "batchbald-5", "random-10"]

#: The curve that the others are compared with, on the pool with noise; on another pool, its namesake there.
REFERENCE = "2bald-10"
#: Labelled-set sizes, and accuracies to reach.
SIZES, THRESHOLDS = [100, 200, 300], [0.90, 0.95]
#: Sizes that batches of 5, 10, 20 and 40 come by; curves of chosen batch sizes are interpolated.
GRID = list(range(20, 301, 40))

#: How a table of paired differences is written.
DIFFERENCES = {"curve": "", "less": "", "at": "", "trials": "", "difference": "+.4f", "low": "+.4f", "high": "+.4f"}
