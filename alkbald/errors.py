"""Errors that a user can mend. The command line tells each in one line (`alkbald.cli`)."""


class UserError(Exception):
    """Something outside the code is wrong; the message says what, and what to do."""


class SettingsError(UserError):
    """A setting has a value that no run can have."""


class DataError(UserError):
    """Data are missing, damaged, or too few for what is asked."""


class RecordError(UserError):
    """A run's folder cannot be written, or what is in it does not fit."""


class TrainingDiverged(UserError):
    """The loss is not finite any more."""
