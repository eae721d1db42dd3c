"""The columns of a run's tables. Each is said once, here, and everything else follows from it: how a value is written,
read and checked (`alkbald.records.files`), and the tables of the documentation (`documentation`; a test compares).

To add a column, add a line here and compute its value where the round's row is made (`alkbald.recording`). Its `since`
is `VERSION + 1`: the version that comes next. Records of each version are in tests/records.
"""

from dataclasses import dataclass

#: The last version of the record that tests/records holds a run of. It is raised when such a run is added, at a
#: release. Until then, columns of the next version come and go without one.
VERSION = 7

#: Units. A share is between 0 and 1.
NATS, SECONDS, BYTES, SHARE = "nats", "s", "bytes", "share"

_TYPES = {int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: as in the table's first line.
        type: of its values: int, float or str.
        unit: of its values; empty for counts, numbers of things, and text.
        meaning: what a reader has to know.
        empty: when a value is missing; empty: never.
        since: the version of the record that brought it, if it came after its table; in older rows it is empty as well.
    """

    name: str
    type: type
    unit: str
    meaning: str
    empty: str = ""
    since: int = 1

    @property
    def of_batch(self) -> bool:
        """Whether it says something of a round's batch: then it is empty in the last round, which has none."""
        return self.empty.startswith(_LAST)


@dataclass(frozen=True)
class Table:
    """A file of a run's folder.

    Attributes:
        file: its name.
        columns: in the order in which they are written.
        since: the version of the record that brought it.
    """

    file: str
    columns: tuple[Column, ...]
    since: int = 1

    @property
    def names(self) -> list[str]:
        """Of all columns."""
        return [column.name for column in self.columns]

    @property
    def numbers(self) -> list[str]:
        """Of the columns that hold no text."""
        return [column.name for column in self.columns if column.type is not str]

    @property
    def required(self) -> set[str]:
        """Of the columns that the table has in every version."""
        return {column.name for column in self.columns if column.since <= self.since}

    @property
    def never_empty(self) -> set[str]:
        """Of the columns that every row of every version has a value of."""
        return {column.name for column in self.columns if column.since <= self.since and not column.empty}


_LAST = "in the last round"

ROUNDS = Table(
    "rounds.csv",
    (
        Column("round", int, "", "number of the round, from 0"),
        Column("labelled", int, "", "labels that the model was trained on"),
        Column("accuracy", float, SHARE, "of test inputs whose likeliest class is right; of the mean predictive over "
               "`evaluation_samples`, as the next three are"),
        Column("nll", float, NATS, "mean of -log p(label) on the test set"),
        Column("ece", float, SHARE, "expected calibration error on the test set: confidence, the probability of the "
               "likeliest class, against accuracy, in 15 bins of equal width, weighted by their share of the inputs "
               "(Guo et al. 2017)", since=6),
        Column("brier", float, "", "Brier score on the test set: squared distance of the probabilities from the right "
               "class's one-hot vector, summed over classes, mean over inputs; 0 to 2 (Brier 1950)", since=6),
        Column("bin_inputs", str, "", "test inputs in each bin of `ece`: whole numbers with a space between them; a "
               "reliability curve is drawn of this and the next two", since=8),
        Column("bin_correct", str, "", "how many of them have the right likeliest class", since=8),
        Column("bin_confidence", str, "", "sum of their confidences", since=8),
        Column("epochs", int, "", "epochs trained"),
        Column("best_epoch", int, "", "the epoch, from 1, whose weights the model has"),
        Column("validation_accuracy", float, SHARE, "at that epoch", "without validation"),
        Column("seconds_training", float, SECONDS, "training, with validation"),
        Column("seconds_validation", float, SECONDS, "the part of it that early stopping's validation took"),
        Column("seconds_evaluation", float, SECONDS, "predicting the test set"),
        Column("seconds_inference", float, SECONDS, "predicting the pool", f"{_LAST}, and of `random`"),
        Column("seconds_selection", float, SECONDS, "choosing the batch", _LAST),
        Column("seconds_judging", float, SECONDS, "what the batch is worth: its joint mutual information and total "
               "correlation (of `random`, with the batch's predictions)", _LAST, since=6),
        Column("peak_memory_bytes", int, BYTES, "most so far: of the GPU's allocator, or of the process on a CPU"),
        Column("pool", int, "", "points that were not labelled before this round's batch"),
        Column("batch", int, "", "points acquired", _LAST),
        Column("joint_mutual_information", float, NATS, "of the batch with the K samples: what the batch is really "
               "worth, whatever method chose it", _LAST),
        Column("joint_mutual_information_error", float, NATS, "its standard error; 0 where all outcomes were "
               "enumerated", _LAST, since=2),
        Column("share_of_log_k", float, "log K", "the batch's worth as a share of the most that K samples can give; a "
               "run says so when a batch uses up 95% of it", f"{_LAST}, and of K = 1", since=2),
        Column("total_correlation", float, NATS, "of the batch: what the sum of its BALD scores counts more than once",
               _LAST),
        Column("first_non_positive", int, "", "the first position in the batch, from 0, whose pick did not raise the "
               "method's score by more than rounding", f"{_LAST}, and if all picks did", since=2),
        Column("decision", str, "", "what a method that chooses its own size or order decided, and why",
               f"{_LAST}, and of other methods", since=4),
    ),
)  # fmt: skip

ACQUIRED = Table(
    "acquired.csv",
    (
        Column("round", int, "", "the round that acquired the point"),
        Column("position", int, "", "in the batch, from 0"),
        Column("index", int, "", "in the original training set"),
        Column("pool_position", int, "", "in the pool"),
        Column("label", int, "", "its class"),
        Column("score", float, "nats, but of `variation_ratios`", "the method's score of the batch up to this point",
               "of `random`"),
    ),
)  # fmt: skip

EPOCHS = Table(
    "epochs.csv",
    (
        Column("round", int, "", "the round whose model was trained"),
        Column("epoch", int, "", "number of the epoch, from 1"),
        Column("training_loss", float, NATS, "mean over the epoch's steps"),
        Column("validation_accuracy", float, SHARE, "after the epoch",
               "without validation, and of an epoch that was not better than all before it (older records have it)"),
    ),
    since=6,
)  # fmt: skip


def documentation(table: Table) -> str:
    """The columns as a table in Markdown."""
    lines = ["| column | type | unit | meaning | empty |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| `{c.name}` | {_TYPES[c.type]} | {c.unit} | {c.meaning} | {c.empty} |" for c in table.columns]
    return "\n".join(lines)
