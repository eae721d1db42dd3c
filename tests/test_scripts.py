"""Scripts are thin commands: what they do is in the package."""

import ast
import re

import pytest
from conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
MOST_LINES = 80


def imported(path) -> set[str]:
    """The first parts of the names of what a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} is no package: it has nothing to import relatively"
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_imports_another(path):
    assert imported(path) & ({script.stem for script in SCRIPTS} | {"scripts"}) == set()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_unless_they_are_benchmarks(path):
    most = 300 if path.name.startswith("bench_") else MOST_LINES
    assert len(path.read_text().splitlines()) < most


def test_commands_that_the_makefile_and_the_readme_name_are_there():
    text = (ROOT / "Makefile").read_text() + (ROOT / "README.md").read_text()
    named = set(re.findall(r"scripts/(\w+\.py)", text))
    assert {"make_figures.py", "table1.py"} <= named
    assert named <= {path.name for path in SCRIPTS}
