"""What a run tells others while it works. Subclass `Callback` and override what you want to hear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from muzen.errors import ConfigError


class Callback:
    """Does nothing. `run` is the `Experiment` at work: read its `config`, `env_steps`, `updates`, `episodes`,
    `elapsed()` (seconds) and `folder.path`, take its `agent()`, call `run.stop(reason)` to end it. Change nothing else.
    """

    def on_start(self, run: Any) -> None:
        """Before the first turn, and after a resume."""

    def on_report(self, run: Any, row: dict[str, float]) -> None:
        """A row of the metrics table was written."""

    def on_health(self, run: Any, findings: list[Any]) -> None:
        """Health checks found something; each finding has a `line()` for people."""

    def on_difference(self, run: Any, lines: list[str]) -> None:
        """A resumed run cannot be the same to the bit; each line says what differs (a version, the environment)."""

    def on_checkpoint(self, run: Any) -> None:
        """A checkpoint is safely on disk."""

    def on_evaluation(self, done: int, episodes: int) -> None:
        """An evaluation episode ended."""

    def on_end(self, run: Any, summary: dict[str, Any]) -> None:
        """The run finished or stopped; `summary["run"]` is its `muzen.Run`, without an evaluation where it stopped."""


def listening(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks as a list.

    Raises:
      ConfigError: something else is among them, or it is no list.
    """
    if not isinstance(callbacks, Iterable):
        raise ConfigError(f"callbacks: {callbacks!r} is no list; give a list, of one callback too")
    found = list(callbacks)
    for one in found:
        if not isinstance(one, Callback):
            raise ConfigError(f"callbacks: {one!r} is no Callback; give objects of a subclass of muzen.Callback")
    return found
