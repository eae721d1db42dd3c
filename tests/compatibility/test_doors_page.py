"""The examples of docs/doors.md, with the real packages."""

import re
from importlib.util import find_spec

import pytest
from conftest import ROOT

from alkbald.acquisition import METHODS

PAGE = (ROOT / "docs" / "doors.md").read_text()
EXAMPLES = dict(re.findall(r"^## (.*?)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
#: What an example gives, and the package that it needs.
RESULTS = {
    "batchbald_redux": ("candidates.indices", None),
    "baal": ("dataset.labelled.nonzero()[0]", "baal"),
    "scikit-activeml": ("indices", "skactiveml"),
    "NumPy arrays": ("batch.indices", None),
}


def test_there_is_an_example_of_every_door():
    assert EXAMPLES.keys() == RESULTS.keys()
    for example in EXAMPLES.values():
        assert len(re.findall(r"^[^#\n]", example, re.MULTILINE)) <= 12


@pytest.mark.parametrize("door", RESULTS)
def test_examples_run(door):
    expression, package = RESULTS[door]
    if package and find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install 'alkbald[doors]'")
    names = {}
    exec(EXAMPLES[door], names)
    chosen = list(eval(expression, names))
    assert len(set(chosen)) == len(chosen) == (30 if door == "baal" else 10)


def test_the_methods_that_doors_refuse_are_named():
    (line,) = re.findall(r"^- Methods that choose the size of their batch \((.*?)\)", PAGE, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", line)) == sorted(n for n, method in METHODS.items() if method.chooses_size)
