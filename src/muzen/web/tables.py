"""The games that a server holds: by id, in memory, so many and no more, each with a lock of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from muzen.play import GameSession

MOST_TABLES = 100
IDLE_S = 24 * 3600.0


class Table:
    """One game. Whoever touches `session` holds `lock`; whoever searches holds `thinking`, and takes it first.

    So a person's move does not wait for what the agent thinks about their turn. `version` counts the changes of moves.
    """

    def __init__(self, name: str, session: GameSession, asked: str = ""):
        self.id, self.session, self.asked, self.version = name, session, asked, 0
        self.lock, self.thinking = threading.Lock(), threading.Lock()
        self.used = 0.0


class Tables:
    """All games of one server.

    A game that nobody has asked for in `idle_s` seconds is dropped; where there are `most`, the one that was idle
    longest makes room. The page keeps the moves of its game, and brings it back if it was dropped.

    Args:
      new_game: makes a session; takes the options of `GameSession`.
      seed: of all chance in the first game, unless it asks for one of its own.
      asked: what the server was started for, see `serve`.
      clock: seconds.
    """

    def __init__(
        self,
        new_game: Callable[..., GameSession],
        *,
        seed: int | None = None,
        asked: str = "",
        most: int = MOST_TABLES,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._new_game, self._most, self._idle_s, self._clock = new_game, most, idle_s, clock
        self._seed, self.asked = seed, asked
        self._tables: dict[str, Table] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tables)

    def open(self, moves: list[int], **options: Any) -> Table:
        """A new game at a table of its own, `moves` already played. Raises as `GameSession` and its `restore` do."""
        with self._lock:
            if self._seed is not None:
                options = {"seed": self._seed} | options
                self._seed = None
        session = self._new_game(**options)
        session.restore(moves)
        table = Table(secrets.token_urlsafe(9), session, self.asked)
        with self._lock:
            self._drop_idle()
            while len(self._tables) >= self._most:
                del self._tables[min(self._tables, key=lambda name: self._tables[name].used)]
            table.used = self._clock()
            self._tables[table.id] = table
        return table

    def find(self, name: str) -> Table | None:
        """The table of this id, or None if there is none any more."""
        with self._lock:
            self._drop_idle()
            table = self._tables.get(name)
            if table is not None:
                table.used = self._clock()
            return table

    def _drop_idle(self) -> None:
        oldest = self._clock() - self._idle_s
        for name in [name for name, table in self._tables.items() if table.used < oldest]:
            del self._tables[name]
