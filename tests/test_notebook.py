"""The notebooks, from the first cell to the last. Running is slow by nature: they are studies, in a process each."""

import re

import nbclient
import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = ["walkthrough", "own_model"]
NUMBER = re.compile(r"-?\d+(\.\d+)?")
#: Where home, temporary and working folders of machines begin.
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|work|usr|var|opt|Users)/|[A-Z]:\\")


def committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: nbformat.NotebookNode, stream: str = "stdout") -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == stream)


def shown(cell: nbformat.NotebookNode) -> tuple[list[str], list[list[str]]]:
    """What a reader sees of a cell's outputs: the words that it prints, without numbers, and the kinds of its pictures.

    Numbers are left out: they differ in their last digits from machine to machine. The cells' asserts are about them.
    """
    lines = [line.rpartition("\r")[2] for line in printed(cell).split("\n")]  # of a progress bar, its last state
    words = NUMBER.sub("#", "\n".join(lines)).split()
    return words, [sorted(output.data) for output in cell.outputs if "data" in output]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs_and_its_claims_hold(name, tmp_path):
    """What its text says of its numbers is asserted in its cells. Its committed outputs are those of its code."""
    notebook = committed(name)
    outputs = [shown(cell) for cell in code_cells(notebook)]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    assert [shown(cell) for cell in code_cells(notebook)] == outputs


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_outputs_are_of_one_clean_run(name):
    """All cells in order in a fresh kernel; no error, no warning, nothing of the machine that it ran on."""
    notebook = committed(name)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        assert not printed(cell, "stderr")
        assert all(output.output_type != "error" for output in cell.outputs)
        assert not MACHINE_PATH.search(printed(cell))
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < 300_000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_lead_to_files(name):
    text = "\n".join(cell.source for cell in committed(name).cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert (ROOT / "notebooks" / link).exists(), link
