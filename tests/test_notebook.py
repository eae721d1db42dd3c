"""The notebook, from its first cell to its last. Slow by nature: it is a study, in a process of its own."""

import nbclient
import nbformat
import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("name", ["walkthrough"])
def test_the_notebook_runs_and_its_claims_hold(name, tmp_path):
    """What its text says of its numbers is asserted in its cells."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
