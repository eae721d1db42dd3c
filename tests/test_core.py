"""The core needs PyTorch and little else; what needs more says so."""

import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

import alkbald
from alkbald.needs_experiments import MODULES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HARD = [Requirement(line).name for line in PROJECT["dependencies"]]
#: The rooms that need the extra `experiments`.
EXPERIMENTS = [
    "benchmarking",
    "cli",
    "data",
    "loop",
    "recording",
    "records",
    "reporting",
    "settings",
    "status",
    "studies",
]
CORE = {module.name for module in pkgutil.iter_modules(alkbald.__path__)} - {*EXPERIMENTS, "needs_experiments"}
CORE |= {"compatibility.batchbald_redux"}


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_core_imports_the_hard_dependencies_alone():
    """Beyond what these import themselves: top-level packages that are new in sys.modules."""
    code = f"""
import json, sys
import {", ".join(HARD)}
roots = lambda: {{name.partition(".")[0] for name in sys.modules}}
before = roots()
import {", ".join(f"alkbald.{name}" for name in CORE)}
print(json.dumps(sorted(roots() - before - sys.stdlib_module_names)))
"""
    assert json.loads(python(code).stdout) == ["alkbald"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_needs_experiments_says_so_in_one_line(name):
    """In a Python that finds none of the extra's packages (PyTorch imports some of them if they are there)."""
    code = f"""
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MODULES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in {MODULES} else found(name)
import alkbald.{name}
"""
    last = python(code).stderr.strip().splitlines()[-1]
    assert last == (f"ImportError: this part of alkbald needs {', '.join(MODULES)}: pip install 'alkbald[experiments]'")


def test_the_extra_is_what_is_looked_for():
    packages = packages_distributions()
    brought = {name.lower() for module in MODULES for name in packages[module]}
    extra = {Requirement(line).name for line in PROJECT["optional-dependencies"]["experiments"]}
    assert brought == {name for name in extra if not name.endswith("-launcher")}  # which Hydra asks for itself


def test_the_version_is_said_once():
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", alkbald.__version__)
    for name in ("pyproject.toml", "CITATION.cff", "docs/library.md", "environment.yml"):
        assert alkbald.__version__ not in (ROOT / name).read_text(), name


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_number_of_hard_dependencies_is_told(page):
    text = " ".join((ROOT / page).read_text().split())
    told = re.search(r"(\d+) hard dependencies: ([^.]*)\.", text)
    assert int(told[1]) == len(HARD)
    assert sorted(re.split(r", | and ", told[2])) == sorted(HARD)
