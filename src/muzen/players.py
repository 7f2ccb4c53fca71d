"""Who plays in matches: the one way in which anything is asked for its moves.

A player is asked for the moves of many games at once. An agent answers them with one search; how it searches
(its learned model, a game's own rules) is its planner's affair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

from muzen.search import joined
from muzen.types import TimeStep

if TYPE_CHECKING:
    from muzen.agent import Agent

# Games that are searched in one batch: a fixed size, so that a result does not depend on who finished first.
LANES = 32


class Position(NamedTuple):
    """A game in which it is someone's turn.

    Attributes:
      now: what the player to move sees: observation, legal actions, who moves.
      state: the `pyspiel.State`, to look at and not to change; None where the environment is no OpenSpiel game.
      seed: what is random about the move follows from it, whatever other games there are.
      memory: of the player's last move in this game (`Move.memory`); None before its first one.
    """

    now: TimeStep
    state: Any
    seed: tuple[int, ...]
    memory: Any = None

    def random(self) -> np.random.Generator:
        """Random numbers of this move's own."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Move:
    """An action.

    Attributes:
      comment: what was thought at it, for the game's record.
      memory: handed back to the player at its next move of the same game, and to nobody else.
    """

    action: int
    comment: dict[str, Any] = field(default_factory=dict)
    memory: Any = field(default=None, repr=False, compare=False)


class Player(Protocol):
    """Anything that moves.

    Attributes:
      name: what tables and records call it.
      batch: positions that it is best asked for at once; 1 if it makes no difference.
    """

    name: str
    batch: int

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        """One legal move for each position, in all of which it is this player's turn."""
        ...


class AgentPlayer:
    """An agent as a player: greedy, one search for `batch` positions, which goes on from its last one in each game
    where the agent reuses trees.

    Args:
      agent: whose search decides.
      name: see `Player`.
      batch: searches are filled up to this size, so that one program serves all.
      seed: of the search; with another, ties may fall otherwise.
    """

    def __init__(self, agent: Agent, name: str = "agent", *, batch: int = LANES, seed: int = 0):
        self.agent, self.name, self.batch = agent, name, batch
        self._key = jax.random.key(seed)

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        return [
            move
            for start in range(0, len(positions), self.batch)
            for move in self._search(positions[start : start + self.batch])
        ]

    def _search(self, positions: Sequence[Position]) -> list[Move]:
        agent = self.agent
        padded = [*positions, *[positions[0]] * (self.batch - len(positions))]
        plan = agent.planner.plan(
            agent.model,
            np.stack([position.now.observation for position in padded]),
            np.stack([position.now.legal for position in padded]),
            np.array([position.now.to_play for position in padded], np.int32),
            self._key,
            states=[position.state for position in padded],
            previous=joined([position.memory for position in padded]),
        )
        values = [float(plan.value[i, position.now.to_play]) for i, position in enumerate(positions)]
        return [
            Move(
                int(action),
                {"value": round(value, 4)} if math.isfinite(value) else {},
                None if plan.tree is None else (plan.tree, i),
            )
            for i, (action, value) in enumerate(zip(plan.action[: len(positions)], values, strict=True))
        ]


class Random:
    """Moves uniformly at random among what is legal."""

    name, batch = "random", 1

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        return [Move(int(p.random().choice(np.flatnonzero(p.now.legal)))) for p in positions]
