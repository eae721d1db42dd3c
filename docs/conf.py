"""How Sphinx builds the site (`make docs`).

The source folder is the root of the repository, so that links among docs/, README and results/ mean the same here as
on a hosting site. What the site adds to the pages is in `_extensions/`.
"""

import sys
from pathlib import Path

import alkbald

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

project = "alkbald"
author = "the authors of alkbald"
version = release = alkbald.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "pages", "mathml", "citations", "signatures"]
default_role = "py:obj"  # `name` in a docstring: a link, where the name has a place on the site
root_doc = "docs/index"
include_patterns = ["docs/**", "results/**.md", "tests/records/README.md", "README.md", "CHANGELOG.md"]
exclude_patterns = [  # folders that need not be walked: an environment has 100,000 files
    *(path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("docs", "results", "tests")),
    "docs/_build",
    "docs/_extensions",
]

myst_heading_anchors = 4
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True  # as they are written: `iter`, not its address
maximum_signature_line_length = 80
python_display_short_literal_types = True
napoleon_custom_sections = [("Attributes", "params_style")]  # in place of "Variables"
napoleon_attr_annotations = False  # types stand in the signature

html_theme = "furo"
html_title = f"alkbald {version}"
html_show_copyright = html_copy_source = html_show_sourcelink = False
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
