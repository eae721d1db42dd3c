"""Every command in README, docs/ and results/README.md: run, composed, parsed, tried by make, or only named.

`KINDS` says which, and why. A command of no kind fails. Commands that are run are slow by nature: programs.
"""

import argparse
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from conftest import ROOT, compose, random_log_probs

from alkbald.settings import from_config

PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PROGRAMS = {"bash", "cd", "conda", "git", "make", "pip", "python", "source", "tensorboard", "wandb"}

#: The first that fits the whole command tells its kind.
KINDS = [
    # only named
    # no whole commands
    (r"python|make|tensorboard|wandb|source \.venv/bin/activate|python run\.py SETTING=VALUE \.\.\.", "named"),
    (r"git worktree add \.\./older [0-9a-f]{7}", "named"),  # writes beside the repository, whose history may be cut off
    (r"tensorboard --logdir runs", "named"),  # a server that stays; its reader reads what we write in test_recorders.py
    (r"wandb (login|sync .+)", "named"),  # they ask a server
    (r"pip install .*", "installed"),  # here: its extras exist; a wheel is installed in test_wheel.py
    # run, in a copy of the repository's records
    (r"make help|python run\.py --cfg job", "run"),
    (r"python -m alkbald\.\w+ .+", "run"),
    (r"python scripts/(learning_curves|make_figures)\.py .+", "run"),
    # too long to run: minutes to days. Its parts are programs, each of which has tests of its own
    (r"make [a-z-]+( [A-Z0-9]+=.*)*", "make"),  # what make would do: its target exists, its commands are of these kinds
    (r"python (run|scripts/score_progression|scripts/table1)\.py.*", "composed"),  # settings exist and are possible
    (r"python scripts/\w+\.py.*", "parsed"),  # options exist and are possible
]


def kind(command: str) -> str | None:
    return next((kind for pattern, kind in KINDS if re.fullmatch(pattern, command)), None)


def commands_in(text: str) -> list[str]:
    """The lines of shell blocks, without comments, and the code in backticks that begins with a program's name."""
    found = []
    for language, block in FENCED.findall(text):
        assert language not in ("", "bash", "console", "shell"), "commands stand in sh, and all code has a language"
        if language == "sh":
            lines = (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines())
            found += [shlex.join(line) for line in lines if line]
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCED.sub("", text)))
    return found + [shlex.join(shlex.split(span)) for span in spans if span.partition(" ")[0] in PROGRAMS]


COMMANDS = sorted({command for page in PAGES for command in commands_in(page.read_text())})


def of_kind(name: str) -> list[str]:
    return [command for command in COMMANDS if kind(command) == name]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_of_a_kind(command):
    assert kind(command), "say in KINDS how it is tested, or why not"


def test_commands_are_found_and_new_ones_are_refused():
    page = "```sh\nmake test  # all\npython run.py 'a=[1]' \\\n  b=2\n```\n```python\nmake\n```\n`make\nhelp`, `runs/`"
    assert commands_in(page) == ["make test", "python run.py 'a=[1]' b=2", "make help"]
    for command in ("frobnicate", "python other.py", "make test; rm x", "python -m alkbald"):
        assert kind(command) is None
    with pytest.raises(AssertionError, match="commands stand in sh"):
        commands_in("```\nls\n```")


def test_there_are_commands_of_every_kind():
    assert len(COMMANDS) > 60
    assert {kind(command) for command in COMMANDS} == {kind for _, kind in KINDS}


@pytest.mark.parametrize("command", of_kind("installed"))
def test_extras_exist(command):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (names,) = re.fullmatch(r"pip install '?\.(?:\[([\w,]+)\])?'?", command).groups()
    assert set(names.split(",") if names else []) <= extras.keys()


def check_composed(command: str) -> None:
    """Of each list of a sweep, the first value."""
    _, _, *words = shlex.split(command)
    overrides = [re.sub(r"(=[^\s,\[\]]+),[^\s\[\]]*", r"\1", word) for word in words if word != "-m"]
    from_config(compose(*overrides))


@pytest.mark.parametrize("command", of_kind("composed"))
def test_settings_exist(command):
    check_composed(command)


class ParsedError(Exception):
    """In place of what a script would do next."""


def check_parsed(command: str) -> None:
    """The script's own parser takes the command line; main() goes no further."""
    _, script, *arguments = shlex.split(command)
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(ParsedError):
            importlib.import_module(script.removeprefix("scripts/").removesuffix(".py")).main()


@pytest.mark.parametrize("command", of_kind("parsed"))
def test_options_exist(command):
    check_parsed(command)


@pytest.mark.parametrize("command", ["scripts/bench_methods.py --pools 3", "scripts/ceiling.py RUN --labels many"])
def test_options_that_do_not_exist_are_found(command):
    with pytest.raises(SystemExit):
        check_parsed(f"python {command}")


@pytest.mark.parametrize("command", [*of_kind("make"), "make docs", "make dist", "make clean"])
def test_what_make_would_do(command):
    """The target exists, and the project's own programs are called as they can be."""
    _, target, *variables = shlex.split(command)
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    line = ["make", "--dry-run", "--always-make", target, *variables, "VENV=none", f"PYTHON={sys.executable}"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own = re.findall(r"^none/bin/(python (?:run\.py|scripts/\w+\.py).*)", done.stdout, re.MULTILINE)
    assert own or target not in ("demo", "figures", "reproduce", "studies", "bench")
    for command in own:
        (check_composed if kind(command) == "composed" else check_parsed)(command)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with what commands in the root of the repository find there, and may write to."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("configs", "scripts", "results"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("run.py", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "results" / "mnist_100_labels", folder / "runs")
    (folder / "predictions").mkdir()
    for shard in range(2):
        log_probs = random_log_probs(20, 5, 3, seed=shard, dtype=None).float().numpy()
        np.save(folder / "predictions" / f"{shard}.npy", log_probs)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", of_kind("run"))
def test_commands_run(command, copy):
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "--output" in words:
        assert (copy / words[words.index("--output") + 1]).exists()
