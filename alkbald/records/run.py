"""A run's folder, opened to go on after its last complete round; how it is named and found.

What is in it: `alkbald.records.files`. Settings are plain data here: a dataclass or dictionaries, nested as in
configs/config.yaml.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from alkbald.errors import RecordError
from alkbald.records.files import Record, as_text, is_complete, read_record, replace_file, write_table
from alkbald.records.locks import locked
from alkbald.records.schema import ACQUIRED, EPOCHS, ROUNDS
from alkbald.records.versions import complete, differing, digest, flat, nested, recorded_settings, unknown

#: What of a run's provenance decides about the last bits of its numbers.
_SAME_BITS = ("commit", "device", "threads", "packages")


def named(settings: Any) -> dict[str, Any]:
    """Settings by dotted names."""
    return flat(asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings)


def run_folder(settings: Any) -> Path:
    """The name of a new run's folder, OUT/data/method/acq_size=B/seed=S-hash: a function of the defining settings.

    The hash is over them all, but for those that came later and have their legacy value.
    """
    values = named(settings)
    parts = values["data.name"], values["method.name"], f"acq_size={values['acq_size']}"
    return Path(values["out"], *parts, f"seed={values['seed']}-{digest(values)}")


def find_folder(settings: Any) -> Path:
    """The folder that holds the run with these settings, or else the one of its name.

    The name is tried first, then the recorded settings of the folders beside it: another version may have named the run
    otherwise.

    Raises:
        RecordError: the folder of that name holds a run of other settings, several folders hold the run, or one would
            but for settings that this version does not know.
    """
    folder = run_folder(settings)
    if (folder / "config.yaml").exists() or (folder / ROUNDS.file).exists():
        _check_same(folder, settings)
        return folder
    paths = sorted(folder.parent.glob(f"{folder.name.partition('-')[0]}-*/config.yaml"))
    found = [path.parent for path in paths if _holds(path.parent, settings)]
    if len(found) > 1:
        raise RecordError(f"{found[0]} and {found[1]} hold one and the same run: move one of them away")
    return found[0] if found else folder


def _check_same(folder: Path, settings: Any) -> None:
    """Raises RecordError unless the folder holds the run with these settings."""
    recorded, wanted = recorded_settings(folder), complete(named(settings))
    for key in differing(recorded, wanted):
        instead = f"not {wanted[key]}" if key in wanted else f"and {key} is no setting of this version"
        differs = " ".join(f"{key}={recorded.get(key)}, {instead}".split())  # in one line, whatever the file holds
        raise RecordError(f"{folder} holds a run with {differs}: move it away")


def _holds(folder: Path, settings: Any) -> bool:
    """Whether the folder holds the run with these settings; told, where that cannot be known.

    Raises:
        RecordError: settings that this version does not know are all that differs.
    """
    try:
        recorded = recorded_settings(folder)
    except RecordError as error:
        print(f"note: it is not known which run {folder} holds: {error}")
        return False
    wanted = named(settings)
    others = differing(recorded, wanted)
    if others and set(others) <= set(unknown(recorded, wanted)):
        _check_same(folder, settings)
    return not others


class Run:
    """A run's folder, opened to go on after its last complete round.

    Attributes:
        folder: where the files are.
        rounds: complete rounds, one dict a round (keys: the columns of `schema.ROUNDS`, values as text).
        acquired: the points acquired in them (`schema.ACQUIRED`).
        epochs: the epochs of their trainings (`schema.EPOCHS`); none of rounds that earlier versions recorded.
    """

    def __init__(self, settings: Any):
        """Reads what is there; writes nothing.

        Raises:
            RecordError: see `find_folder`; or the folder's files do not fit together.
        """
        self.settings = settings
        self._values = named(settings)
        self.folder = find_folder(settings)
        self._read()

    def _read(self) -> None:
        record = read_record(self.folder)
        self.rounds, self.acquired, self.epochs = record
        # The last row of a run that ended has no batch. If the run is to go further now, that round is done again.
        if self.rounds and not self.is_complete and not self.rounds[-1]["batch"]:
            self.rounds, self.acquired, self.epochs = record.first(len(self.rounds) - 1)

    @property
    def record(self) -> Record:
        """Its complete rounds, and what belongs to them."""
        return Record(self.rounds, self.acquired, self.epochs)

    @property
    def is_complete(self) -> bool:
        """Whether the last round met a condition to stop."""
        return is_complete(self.rounds, self._values["max_labels"], self._values["target_accuracy"])

    @contextmanager
    def writing(self, start: dict[str, Any]) -> Iterator[None]:
        """Makes the folder, locks it, reads it again, records settings and provenance; notes why it failed, if it does.

        Args:
            start: where numbers come from as of now, of `records.provenance`.

        Raises:
            RecordError: another process has the lock, or something cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"out={self._values['out']}: cannot make {self.folder}: {error.strerror}") from error
        with locked(self.folder):
            if (self.folder / "config.yaml").exists():
                _check_same(self.folder, self.settings)
            self._read()
            path = self.folder / "provenance.json"
            try:
                starts = json.loads(path.read_text()) if path.exists() else []
                before = {key: starts[-1][key] for key in _SAME_BITS} if len(starts) else {}
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise RecordError(f"{path} is damaged: {error}") from error
            if self.rounds and (changed := [key for key in before if before[key] != start[key]]):
                changes = ", ".join(f"{key} {before[key]} -> {start[key]}" for key in changed)
                print(f"note: rounds from here on are not bit for bit those of a run without a change: {changes}")
            replace_file(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(nested(self._values))))
            replace_file(path, json.dumps([*starts, {"round": len(self.rounds), **start}], indent=1) + "\n")
            failure = self.folder / "failure.txt"
            failure.unlink(missing_ok=True)
            try:
                yield
            except Exception as error:
                with suppress(OSError):  # on a full disk there may be no room for the reason either
                    failure.write_text(" ".join(f"{error}".split()) or type(error).__name__)
                raise

    def append(
        self, row: dict[str, Any], acquired: Iterable[dict[str, Any]], epochs: Iterable[dict[str, Any]] = ()
    ) -> None:
        """Records a complete round, its acquired points and its epochs; missing values are left empty."""
        self.acquired += [as_text(point, ACQUIRED) for point in acquired]
        write_table(self.folder / ACQUIRED.file, ACQUIRED, self.acquired)
        self.epochs += [as_text(epoch, EPOCHS) for epoch in epochs]
        write_table(self.folder / EPOCHS.file, EPOCHS, self.epochs)
        self.rounds.append(as_text(row, ROUNDS))
        write_table(self.folder / ROUNDS.file, ROUNDS, self.rounds)
