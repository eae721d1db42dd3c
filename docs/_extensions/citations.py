"""Bibliography keys of docstrings, such as [Kirsch2023, equation 6], become links to the list of references.

The references stand at the head of the modules that cite them.
"""

import ast
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

REFERENCE = re.compile(r"^ *\[([A-Z]\w+\d{4})\] (.+(?:\n *[^\s\[].*)*)", re.MULTILINE)
SECTION = re.compile(r"^References:\n(?: {4}.*\n)+", re.MULTILINE)
CITED = re.compile(r"\[([A-Z]\w+\d{4}\b[^\]]*)\]")
KEY = re.compile(r"\b[A-Z]\w+\d{4}\b")


def references(package: Path) -> dict[str, str]:
    """By key, what the heads of a package's modules say; of several, the shortest, which has no remark."""
    found: dict[str, str] = {}
    for module in sorted(package.rglob("*.py")):
        for key, text in REFERENCE.findall(ast.get_docstring(ast.parse(module.read_text())) or ""):
            found[key] = min(" ".join(text.split()), found.get(key, text), key=len)
    return dict(sorted(found.items()))


def link(app: Sphinx, what: str, name: str, documented: object, options: Any, lines: list[str]) -> None:
    """In place, in the lines of a docstring; a module's own list of references is left out, since the site has one."""

    def linked(citation: re.Match) -> str:
        return f"[{KEY.sub(lambda key: f':ref:`{key[0]}`', citation[1])}]"

    lines[:] = CITED.sub(linked, SECTION.sub("", "\n".join([*lines, ""]))).splitlines()


def list_references(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == "docs/api/references":
        items = references(Path(app.srcdir, "alkbald")).items()
        source[0] += "".join(f"\n.. _{key}:\n\n.. rubric:: {key}\n\n{text}\n" for key, text in items)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", link, priority=400)  # before napoleon
    app.connect("source-read", list_references)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
