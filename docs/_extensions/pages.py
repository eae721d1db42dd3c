"""What the site adds to the Markdown pages, so that these read well on a hosting site too."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

#: The title and the file, without its suffix, of an item of docs/index.md that leads to a page.
ITEM = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\.(?:md|rst)\)", re.MULTILINE)
#: Pages of the site that are not on that list.
FURTHER = ("README <../README>", "Changelog <../CHANGELOG>", "Records of earlier versions <../tests/records/README>")


def toctree(entries: list[str], option: str = "") -> str:
    return "\n\n" + "\n".join(["```{toctree}", ":hidden:", option, "", *entries, "```", ""])


def extend(app: Sphinx, docname: str, source: list[str]) -> None:
    """The list in docs/index.md becomes the site's table of contents, results/ its part below `Results`."""
    if docname == app.config.root_doc:
        source[0] += toctree([f"{title} <{page}>" for title, page in ITEM.findall(source[0])] + [*FURTHER])
    elif docname == "results/README":
        source[0] += toctree(["*/report", "figures/*", "published/README"], ":glob:")
    elif docname.startswith("results/figures/"):  # a table, whose file has no title
        source[0] = f"# {Path(docname).name}\n\n{source[0]}"


def without_links_to_folders(app: Sphinx, page: nodes.document) -> None:
    """A link to a folder of the repository becomes its text: a folder has no page."""
    for link in list(page.findall(pending_xref)):
        if (Path(page["source"]).parent / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", extend)
    app.connect("doctree-read", without_links_to_folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
