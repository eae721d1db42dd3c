"""How threads wait is set by every entry point, before PyTorch reads it."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from alkbald.waiting import CHOICES, SPIN_COUNT

ENTRY_POINTS = ["run.py", *sorted(f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.py"))]
#: These read records, for which they need no PyTorch.
WITHOUT_PYTORCH = {"scripts/learning_curves.py", "scripts/make_figures.py"}

#: In the place of PyTorch: says what libgomp would read, and ends the process.
STUB = "import os; os.write(1, f\"reads {os.environ.get('GOMP_SPINCOUNT')}\".encode()); os._exit(0)"


def environment(**changes: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in CHOICES} | changes


def read_by_pytorch(entry_point: str, folder, **variables: str) -> str:
    """The spin count that PyTorch's OpenMP library finds when the program begins."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(STUB)
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / entry_point),
            *(["data=digits", f"out={folder}"] if entry_point == "run.py" else []),
        ],
        env=environment(PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]), **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("entry_point", [name for name in ENTRY_POINTS if name not in WITHOUT_PYTORCH])
def test_every_entry_point_sets_it_before_pytorch_is_imported(entry_point, tmp_path):
    assert read_by_pytorch(entry_point, tmp_path) == f"reads {SPIN_COUNT}"


@pytest.mark.parametrize(
    ("variables", "read"), [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_a_users_own_choice_is_kept(variables, read, tmp_path):
    assert read_by_pytorch("run.py", tmp_path, **variables) == f"reads {read}"


def test_the_runs_of_a_sweep_inherit_it():
    code = (
        "import os, alkbald.waiting; from joblib import Parallel, delayed; "
        "print(Parallel(n_jobs=2)(delayed(os.getenv)('GOMP_SPINCOUNT') for _ in range(2)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == f"['{SPIN_COUNT}', '{SPIN_COUNT}']"


def test_the_library_leaves_the_environment_alone():
    code = "import os, alkbald.acquisition, alkbald.inference; print(os.getenv('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "None"
