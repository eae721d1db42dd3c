"""A page about runs: one HTML file that needs no network. Its door is `python -m alkbald.report`.

runs         which runs are there, and which of them can be compared
comparison   which curve is better, by how much, and how sure
tables       the tables of the page; every chart draws the table below it
charts       the charts, in Vega-Lite
reliability  what a record tells of calibration
images       acquired images, in few bits
texts        the sentences at the top
build        the page, as large as its limit allows
template     page.html, page.css and page.js
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)

# isort: split
from importlib.util import find_spec

#: What the extra `report` brings, by the names that are imported.
MODULES = ("altair", "jinja2", "vl_convert")

if missing := [name for name in MODULES if find_spec(name) is None]:
    raise ImportError(f"the report page needs {', '.join(missing)}: pip install 'alkbald[report]'")
