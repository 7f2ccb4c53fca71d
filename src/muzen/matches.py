"""Games between players, many at a time: evaluation, the learning curve and the arena all play here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from muzen.envs import OpenSpielEnvironment
from muzen.players import LANES, Move, Player, Position
from muzen.runs import GameRecord
from muzen.scoresheet import write_down
from muzen.types import Environment

# Tells the random numbers of a game's players from those of its environment, which have the same seed.
_PLAYERS = 1


@dataclass(frozen=True)
class Game:
    """A game to be played.

    Attributes:
      seed: the environment's chance and the players' follow from it.
      seats: [P] who sits where; the same object may have several.
      opening: actions that are taken before anyone is asked.
    """

    seed: int
    seats: tuple[Player, ...]
    opening: tuple[int, ...] = ()


@dataclass(frozen=True)
class Played:
    """What became of a game.

    Attributes:
      returns: [P] undiscounted.
      length: environment steps, the opening included.
      cut: whether it was broken off because it took too long.
      record: of an OpenSpiel game, where records were asked for.
    """

    returns: np.ndarray
    length: int
    cut: bool
    record: GameRecord | None = None


def play(
    make: Callable[[], Environment],
    games: Sequence[Game],
    *,
    max_steps: int,
    lanes: int = LANES,
    keep: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Played]:
    """Play games, `lanes` of them side by side. What happens in one depends on nothing in the others.

    Args:
      make: makes one environment.
      games: what is to be played.
      max_steps: environment steps after which a game is broken off.
      lanes: games that go on at the same time.
      keep: write the games down, where they are OpenSpiel's.
      progress: called with (games done, games) after each one.

    Returns:
      One `Played` for each game, in their order.
    """
    tables = [_Table(make(), max_steps, keep) for _ in range(min(lanes, len(games)))]
    waiting = deque(enumerate(games))
    played: dict[int, Played] = {}
    # Whoever is best asked for many positions at once is asked when the others have moved everywhere.
    players = sorted({id(player): player for game in games for player in game.seats}.values(), key=lambda p: p.batch)

    def settle(table: _Table) -> None:
        """Until somebody has to move there, or nothing is left to be played."""
        while table.game is None or table.mover is None:
            if table.game is not None:
                played[table.number] = table.result()
                if progress is not None:
                    progress(len(played), len(games))
            table.game = None
            if not waiting:
                return
            table.begin(*waiting.popleft())

    try:
        for table in tables:
            settle(table)
        while len(played) < len(games):
            for player in players:
                while asked := [table for table in tables if table.mover is player]:
                    moves = player.choose([table.position() for table in asked])
                    for table, move in zip(asked, moves, strict=True):
                        table.step(move)
                        table.memories[id(player)] = move.memory
                        settle(table)
                    if player.batch > 1:
                        break
    finally:
        for table in tables:
            table.env.close()
    return [played[number] for number in range(len(games))]


class _Table:
    """An environment, and the game that is played in it."""

    def __init__(self, env: Environment, max_steps: int, keep: bool):
        self.env, self.max_steps = env, max_steps
        self.keep = keep and isinstance(env, OpenSpielEnvironment)
        self.game: Game | None = None

    def begin(self, number: int, game: Game) -> None:
        self.number, self.game = number, game
        self.returns, self.length = np.zeros(self.env.spec.players), 0
        self.comments: dict[int, dict[str, Any]] = {}
        self.memories: dict[int, Any] = {}  # of each player, by its identity
        self.now = self.env.reset(game.seed)
        for action in game.opening:
            self.step(Move(action))

    @property
    def over(self) -> bool:
        """Whether the game has ended by itself."""
        return self.now.terminated or self.now.truncated

    @property
    def mover(self) -> Player | None:
        """Whose turn it is; nobody's where no game goes on."""
        if self.game is None or self.over or self.length >= self.max_steps:
            return None
        return self.game.seats[self.now.to_play]

    def position(self) -> Position:
        assert self.game is not None
        seed, memory = (self.game.seed, _PLAYERS, self.length), self.memories.get(id(self.mover))
        return Position(self.now, getattr(self.env, "state", None), seed, memory)

    def step(self, move: Move) -> None:
        if self.keep and move.comment:
            self.comments[len(self._state().full_history())] = move.comment
        self.now = self.env.step(move.action)
        self.returns += self.now.reward
        self.length += 1

    def result(self) -> Played:
        assert self.game is not None
        record = None
        if self.keep:
            info = {"seed": self.game.seed, "opening": len(self.game.opening)}
            names = [player.name for player in self.game.seats]
            record = write_down(self._state(), names, comments=self.comments, info=info)
        return Played(self.returns, self.length, not self.over, record)

    def _state(self) -> Any:
        return self.env.state  # pyright: ignore[reportAttributeAccessIssue] - `keep` is true of OpenSpiel's games only
