"""Imported first by what needs the packages of the extra `experiments`: says in one line which of them are missing."""

from importlib.util import find_spec

#: What the extra brings, by the names that are imported.
MODULES = ("filelock", "hydra", "matplotlib", "omegaconf", "pandas", "scipy", "sklearn", "torchvision", "tqdm")

if missing := [name for name in MODULES if find_spec(name) is None]:
    raise ImportError(f"this part of alkbald needs {', '.join(missing)}: pip install 'alkbald[experiments]'")
