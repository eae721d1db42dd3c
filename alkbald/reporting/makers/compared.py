"""Which curves are drawn and compared, and at which labelled-set sizes. Curves are named METHOD-ACQSIZE."""

#: Of README's picture.
OVERVIEW = ["batchbald-5", "2bald-10", "random-10"]
FIGURE_1 = ["batchbald-5", "2bald-10", "random-10", "bald-10", "batchbald-10"]
FIGURE_2 = ["2bald-10", "2bald-20", "2bald-40"]

#: Methods that choose the batch size, up to 40.
DYNAMIC = ["positive_bald-40", "dynamic_bald-40", "conservative_bald-40"]
#: As large as theirs, and nothing chosen.
CONTROL = "bald-40"
FIXED = [*FIGURE_2, CONTROL]

TOTAL_CORRELATION = ["bald-10", "2bald-10", "batchbald-10", "batchbald-5", "random-10"]

#: The curve that the others are compared with.
REFERENCE = "2bald-10"
#: Labelled-set sizes, and accuracies to reach.
SIZES, THRESHOLDS = [100, 200, 300], [0.90, 0.95]
#: Sizes that batches of 5, 10, 20 and 40 come by; curves of chosen batch sizes are interpolated.
GRID = list(range(20, 301, 40))

#: How a table of paired differences is written.
DIFFERENCES = {"curve": "", "less": "", "at": "", "trials": "", "difference": "+.4f", "low": "+.4f", "high": "+.4f"}
