"""Every error that Muzen raises on purpose. Catch `MuzenError` to catch them all.

A message names the field or file, the value, the rule, and the way out.
"""


class MuzenError(Exception):
    """Root of Muzen's exception tree."""


class ConfigError(MuzenError, ValueError):
    """A setting is unknown, misspelt, of the wrong type or out of range."""


class EnvError(MuzenError):
    """An environment cannot be made, or does something that Muzen cannot learn from."""


class UnknownEnvError(EnvError):
    """No environment has this id; the message lists the nearest ones."""


class UnsupportedSpaceError(EnvError):
    """The environment's observation or action space is of a kind that Muzen does not support."""


class RunError(MuzenError):
    """A run folder cannot be used."""


class RunExistsError(RunError):
    """The folder for a new run is already there."""


class RunBusyError(RunError):
    """Another process is training in the run folder."""


class RunNotFoundError(RunError):
    """The folder is not there, or is not a run."""


class RunDamagedError(RunError):
    """A file of the run folder is missing, truncated or altered."""


class RunVersionError(RunError):
    """The run folder was written by a newer Muzen."""


class StorageError(RunError):
    """A file could not be written: the disk is full, or the folder is read-only."""


class TrainingError(MuzenError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """A loss turned NaN or infinite; the last good checkpoint is kept."""


class SearchError(MuzenError, ValueError):
    """A search was asked for something that has no answer, such as a root without a legal action."""


class PlayError(MuzenError):
    """A game against the agent was asked for something that it does not allow now; the game is as it was."""


class IllegalMoveError(PlayError):
    """A move is not legal, or stands for several; the message says which are. The game is as it was."""
