"""Errors and warnings. The command line tells a `UserError` in one line (`alkbald.cli`)."""


class UserError(Exception):
    """Something that a user can mend; the message says what is wrong, and what to do."""


class SettingsError(UserError):
    """A setting has a value that no run can have."""


class DataError(UserError):
    """Data are missing, damaged, or too few for what is asked."""


class RecordError(UserError):
    """A run's folder cannot be written, or what is in it does not fit."""


class TrainingDiverged(UserError):
    """The loss is not finite any more."""


class TablesTooLarge(ValueError):
    """An order of k-BALD whose outcome tables exceed the memory budget."""


class AxesWarning(UserWarning):
    """Axes of predictions that seem to be in another order than [N, K, C]."""
