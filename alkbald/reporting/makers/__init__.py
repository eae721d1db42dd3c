"""From records to every figure and table, by name, without training anything."""

from collections.abc import Callable, Iterable

from alkbald.errors import RecordError
from alkbald.reporting.makers import accuracies, paper, studies
from alkbald.reporting.makers.files import Folders

MAKERS: dict[str, Callable[[Folders], None]] = {
    "overview": paper.overview,
    "figure1": paper.figure1,
    "figure2": paper.figure2,
    "figure3": paper.figure3,
    "table1": paper.table1,
    "comparison": accuracies.comparison,
    "published": accuracies.published,
    "noise": accuracies.noise,
    "acquired": paper.acquired,
    "correlation": studies.correlation,
    "conjecture": studies.conjecture,
    "quality": studies.quality,
    "choices": studies.choices,
    "ceiling": studies.ceiling,
    "dynamic": studies.dynamic,
}


def make(names: Iterable[str], folders: Folders) -> int:
    """Makes these of `MAKERS` whose records are there, and says why it does not make the others.

    Returns:
        How many were made.
    """
    folders.output.mkdir(parents=True, exist_ok=True)
    made = 0
    for name in names:
        try:
            MAKERS[name](folders)
            made += 1
        except (FileNotFoundError, RecordError) as error:
            missing = getattr(error, "filename", None)
            print(f"{name} is not made: {f'there is no {missing}' if missing else error}")
    return made
