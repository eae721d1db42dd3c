"""Tables in Markdown."""

from collections.abc import Sequence
from typing import Any


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a table in Markdown. Columns come in the order in which they are first met; what a row lacks is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *[[str(row.get(key, "")) for key in columns] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
