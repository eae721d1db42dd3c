"""What `make dist` builds, installed where there is nothing but its hard dependencies. Slow: it builds and installs.

No network is needed: the new environment is given links to the hard dependencies of this one, and to what they need.
"""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow


#: Python finds the checkout by no variable.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """The folder of the wheel and the sdist."""
    pytest.importorskip("build", reason="needs build: make setup")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def required(names: list[str]) -> set[str]:
    """Distributions, and what they require here, and so on."""
    found, new = set(), set(names)
    while new:
        found |= new
        lines = [line for name in new for line in distribution(name).requires or []]
        requirements = [Requirement(line) for line in lines]
        new = {r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})} - found
    return found


def link(names: set[str], site: Path) -> None:
    """Makes distributions of this environment importable from another one's folder of packages."""
    for name in names:
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The Python of an environment of the wheel and its hard dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        lines = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
    hard = [Requirement(line).name for line in lines if "extra ==" not in line]
    link(required(hard), site)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--no-deps", "--no-index", wheel, folder=folder)
    assert "No broken requirements" in run(*pip, "check", folder=folder).stdout
    return python


def test_wheel_and_sdist_hold_the_package_and_its_licence(dist, wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"alkbald"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "alkbald").rglob("*.py")}
    modules |= {f"alkbald/reporting/page/page.{kind}" for kind in ("html", "css", "js")}  # the report's template
    assert {name for name in names if ".dist-info/" not in name} == modules
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert inside >= modules | {"LICENSE", "README.md", "pyproject.toml"}
    assert not {name.split("/")[0] for name in inside} & {"configs", "results", "tests"}


def test_they_pass_twines_check(dist):
    pytest.importorskip("twine", reason="needs twine: make setup")
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir(), folder=dist)


def test_the_readmes_snippet_runs_with_the_hard_dependencies_alone(installed, tmp_path):
    library = (ROOT / "README.md").read_text().partition("## The library")[2]
    (tmp_path / "snippet.py").write_text(re.search(r"```python\n(.*?)```", library, re.DOTALL)[1])
    assert run(installed, "-I", "-W", "error", tmp_path / "snippet.py", folder=tmp_path).stdout.startswith("[")
    found = run(installed, "-I", "-c", "import alkbald; print(alkbald.__file__)", folder=tmp_path).stdout
    assert Path(found).is_relative_to(installed.parents[1])


def test_what_needs_experiments_says_so_there(installed, tmp_path):
    done = subprocess.run([installed, "-I", "-c", "import alkbald.data"], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(r"ImportError: .*hydra.*: pip install 'alkbald\[experiments\]'", last)
