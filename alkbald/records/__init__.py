"""The record of a run on disk. Reading needs neither PyTorch nor any other part of the learning stack.

schema     the columns of its tables, each said once
versions   its settings, those of earlier versions too
files      its folder is read, its files are written
status     what became of runs
run        a run's folder, opened to write
recorders  what shows a run elsewhere while it goes on: TensorBoard, W&B
locks      one process at a time writes a folder
provenance where numbers come from (this one asks PyTorch)
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)
