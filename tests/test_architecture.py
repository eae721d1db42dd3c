"""Who may import whom, and how long files and functions may be."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

#: The rooms of the package (its files and folders), and the rooms that each may import. Those of a posterior, of
#: information and of acquisition know no files, configuration or progress bars.
MAY_IMPORT = {
    "errors": set(),
    "randomness": set(),
    "waiting": set(),
    "measuring": set(),
    "devices": {"errors"},
    "information": {"devices"},
    "acquisition": {"devices", "errors", "information"},
    "compatibility": {"acquisition", "information"},
    "needs_experiments": set(),
    "progress": set(),
    "posteriors": {"devices", "errors", "information"},
    "model": {"posteriors"},
    "evaluation": {"information", "posteriors"},
    "inference": {"evaluation", "posteriors"},
    "predicting": {"acquisition", "posteriors"},
    "select": {"acquisition"},
    "data": {"errors", "randomness"},
    "training": {"errors", "evaluation", "posteriors"},
    "records": {"errors"},
    "status": {"records"},
    "reporting": {"errors", "records"},
    "report": {"errors", "reporting"},
    "settings": {"acquisition", "data", "errors", "posteriors", "records", "training"},
    "recording": {"acquisition", "data", "errors", "evaluation", "records", "training"},
    "loop": {"acquisition", "data", "devices", "errors", "evaluation", "measuring", "posteriors", "progress"}
    | {"randomness", "recording", "records", "settings", "training"},
    "cli": {"errors", "progress", "settings"},
    "benchmarking": {"data", "devices", "errors", "inference", "information", "measuring", "model", "posteriors"}
    | {"randomness", "records", "reporting", "settings", "training", "acquisition"},
    "studies": {"acquisition", "benchmarking", "data", "devices", "errors", "evaluation", "information", "loop"}
    | {"posteriors", "randomness", "recording", "records", "reporting", "settings"},
}
#: Rooms that need the packages of the extra `experiments`, and say so before they look for any.
for name in ("benchmarking", "cli", "data", "loop", "progress", "records", "reporting", "settings", "studies"):
    MAY_IMPORT[name].add("needs_experiments")
#: Doors for users of other packages: no part of the package imports one.
DOORS = "compatibility"
PURE = ("information", "acquisition", "posteriors")
#: What pure rooms do not import: files, configuration, progress bars, tables.
IMPURE = {"csv", "hydra", "json", "omegaconf", "os.path", "pandas", "pathlib", "tqdm"}

FILES = [*ROOT.glob("alkbald/**/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "run.py"]


def modules() -> dict[str, Path]:
    """The package's modules by their dotted names."""
    names = {}
    for path in ROOT.glob("alkbald/**/*.py"):
        names[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return names


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it; `from a import b` is a.b and a."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(module: str) -> str:
    """The file or folder of the package that a module is in."""
    return module.split(".")[1] if "." in module else ""


def test_every_room_imports_only_what_it_may():
    assert MAY_IMPORT.keys() == {room(name) for name in modules()} - {""}
    for name, path in modules().items():
        others = {room(other) for other in imported(path) & modules().keys()} - {room(name), ""}
        assert others <= MAY_IMPORT.get(room(name), set()), name


def test_nothing_imports_a_door():
    assert not any(DOORS in others for others in MAY_IMPORT.values())
    for path in [*ROOT.glob("scripts/*.py"), ROOT / "run.py"]:
        assert not any(name.startswith(f"alkbald.{DOORS}") for name in imported(path)), path


def test_no_room_and_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError
    known = modules()
    graph = {}
    for name, path in known.items():
        others = imported(path) & known.keys()
        # `from a import b` names a too, which it needs to run only if b is no module of its own.
        graph[name] = {other for other in others if not any(o.startswith(f"{other}.") for o in others)} - {name}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("pure", PURE)
def test_pure_rooms_know_no_files_configuration_or_progress_bars(pure):
    for name, path in modules().items():
        if room(name) == pure:
            roots = imported(path)
            assert not roots & IMPURE, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    """Files of at most 300 lines, functions of at most 50 without their docstrings."""
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)
            assert lines <= 50, node.name
