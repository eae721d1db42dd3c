"""Records are read, and figures made of them, without what trains models."""

import subprocess
import sys

import pytest
from conftest import ROOT

LEARNING = ["torch", "torchvision", "sklearn", "alkbald.settings", "alkbald.training", "alkbald.loop"]


@pytest.mark.parametrize(
    "code",
    [
        "import alkbald.status",
        "import alkbald.reporting.tables",
        "import alkbald.report, alkbald.reporting.page.build",
        "import alkbald.records.files, alkbald.records.versions",
        "import runpy; runpy.run_path('scripts/learning_curves.py')",
        "import runpy; runpy.run_path('scripts/make_figures.py')",
    ],
)
def test_no_part_of_the_learning_stack_is_imported(code):
    code += f"; import sys; print([name for name in {LEARNING} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
