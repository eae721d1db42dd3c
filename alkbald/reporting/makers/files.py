"""Where the makers of figures read and write."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from alkbald.reporting.markdown import markdown
from alkbald.reporting.rounds import curve_names, load_runs


@dataclass(frozen=True)
class Folders:
    """Where the makers of figures and tables read and write.

    Attributes:
        results: the records.
        output: what is made.
        published: the paper's numbers.
    """

    results: Path
    output: Path
    published: Path

    def curves(self, wanted: list[str]) -> tuple[pd.DataFrame, list[str]]:
        """The rounds of these curves (by name), and which of the curves are not there.

        Raises:
            FileNotFoundError: no run is there.
        """
        rounds = load_runs([self.results / "learning_curves"])
        names = curve_names(rounds)
        return rounds[names.isin(wanted)], [name for name in wanted if name not in set(names)]

    def save(self, figure: Figure, name: str) -> None:
        """As PDF and PNG, without the time of day: the same records give the same bytes."""
        path = self.output / name
        with mpl.rc_context({"pdf.fonttype": 42}):  # fonts that can be edited and searched
            figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None}, dpi=200)
        figure.savefig(path.with_suffix(".png"), dpi=150)
        plt.close(figure)
        print(f"made {path}.pdf and .png")

    def save_table(self, table: pd.DataFrame, name: str, formats: dict[str, str]) -> None:
        """As CSV in full, and as Markdown with the columns that have a format and are not empty."""
        self.save_csv(table, name)
        path = self.output / name
        shown = table.replace("", None).dropna(axis="columns", how="all")
        rows = [
            {key: "" if pd.isna(row[key]) else format(row[key], spec) for key, spec in formats.items() if key in row}
            for row in shown.to_dict("records")
        ]
        path.with_suffix(".md").write_text(markdown(rows) + "\n")
        print(f"made {path}.md")

    def save_csv(self, table: pd.DataFrame, name: str) -> None:
        """In full, for those who compute with it."""
        path = self.output / f"{name}.csv"
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
        print(f"made {path}")
