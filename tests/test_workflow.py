"""The workflow of hosted CI calls make's targets alone, and all that .ci/run calls."""

import re

import pytest
import yaml
from conftest import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
COMMANDS = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in JOBS.items()}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
#: Actions that set up and hand over; nothing is built or tested by them.
ACTIONS = {"actions/checkout", "actions/setup-python", "actions/upload-artifact"}


@pytest.mark.parametrize("job", JOBS)
def test_every_command_is_a_target_of_make(job):
    assert COMMANDS[job]
    for command in COMMANDS[job]:
        program, target = command.split()
        assert program == "make"
        assert target in TARGETS, target


@pytest.mark.parametrize("job", JOBS)
def test_other_steps_only_set_up_and_hand_over(job):
    steps = JOBS[job]["steps"]
    assert [step["uses"].partition("@")[0] for step in steps[:2]] == ["actions/checkout", "actions/setup-python"]
    for step in steps:
        assert "run" in step or step["uses"].partition("@")[0] in ACTIONS
        assert step.keys() <= {"run", "uses", "with"}


def test_what_ci_runs_is_run_there_too():
    called = {command for commands in COMMANDS.values() for command in commands}
    assert called == set(re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))


def test_tests_run_on_every_python_that_is_promised():
    oldest, beyond = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()
    ).groups()
    assert JOBS["test"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(oldest), int(beyond))]
    assert "make test" in COMMANDS["test"]


def test_it_starts_with_every_push_and_pull_request():
    assert set(WORKFLOW[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
