"""What a search says of a position of a game, in people's words: chances to win, moves by name, the line it expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from muzen.search import children
from muzen.types import EnvSpec, SearchResult


@dataclass(frozen=True)
class Thought:
    """What the search thinks of one legal move.

    Attributes:
      visits: of its simulations.
      policy: share of the improved policy.
      q: what is still to come after it for the player to move, in the game's units; None where it was not visited.
      chance: the same as a chance to win, 0 to 1; None where there is none to speak of.
    """

    action: int
    name: str
    visits: int
    policy: float
    q: float | None
    chance: float | None


@dataclass(frozen=True)
class Analysis:
    """What the search thinks of one position.

    Attributes:
      to_play: who moves.
      simulations: that it took.
      action: what the agent would play.
      moves: every legal move, the most visited first.
      value: [P] what is still to come for each player, in the game's units.
      chance: [P] chances to win, or None where the game pays more than winning and losing.
      line: the moves that it expects, its own first, as far as they are legal and no chance comes in between.
    """

    to_play: int
    simulations: int
    action: int
    moves: tuple[Thought, ...]
    value: tuple[float, ...]
    chance: tuple[float, ...] | None
    line: tuple[str, ...]


def analysis(spec: EnvSpec, state: Any, simulations: int, found: SearchResult) -> Analysis:
    """The search of one position, in people's words.

    Args:
      spec: of the game.
      state: the `pyspiel.State` that was searched.
      simulations: that it took.
      found: of one root.
    """
    visits, policy, q = (np.asarray(x)[0] for x in (found.visits, found.policy, found.q))
    value, action, player = np.asarray(found.value)[0], int(np.asarray(found.action)[0]), state.current_player()
    so_far = np.array(state.returns())
    thoughts = [
        Thought(
            a,
            state.action_to_string(player, a),
            int(visits[a]),
            float(policy[a]),
            float(q[a]) if visits[a] else None,
            win_chance(spec, so_far[player] + q[a]) if visits[a] else None,
        )
        for a in state.legal_actions()
    ]
    thoughts.sort(key=lambda thought: (-thought.visits, -thought.policy, thought.action))
    return Analysis(
        player,
        simulations,
        action,
        tuple(thoughts),
        tuple(map(float, value)),
        win_chances(spec, so_far + value),
        _line(state, found.tree, action),
    )


def win_chances(spec: EnvSpec, returns: Any) -> tuple[float, ...] | None:
    """[P] chances to win from [P] expected returns; None where a game pays more than winning and losing."""
    chances = [win_chance(spec, x) for x in returns]
    return None if None in chances else tuple(float(x) for x in chances if x is not None)


def win_chance(spec: EnvSpec, expected: float) -> float | None:
    """The chance to win, 0 to 1, that one player's expected return stands for; a draw is half a win.

    A game that pays 1 for winning has its losers share -1, and of two players a draw is 0: what is expected is linear
    in the chance. None where a game pays otherwise. An agent that discounts (`learn.discount`) expects less of an
    outcome that is far off: the chance then lies nearer to an even one.
    """
    if spec.players == 1 or not spec.zero_sum or spec.largest_return != 1:
        return None
    return float(np.clip(((spec.players - 1) * expected + 1) / spec.players, 0, 1))


def _line(state: Any, tree: Any, action: int) -> tuple[str, ...]:
    """The principal variation below `action`, along the most visited children, while it is legal in the real game."""
    names, state, node = [], state.clone(), 0
    chosen = next((child for child in children(tree) if child.action == action), None)
    while chosen is not None and not state.is_terminal() and not state.is_chance_node():
        if chosen.action not in state.legal_actions():
            break
        names.append(state.action_to_string(state.current_player(), chosen.action))
        state.apply_action(chosen.action)
        node = chosen.node
        chosen = next(iter(children(tree, 0, node)), None)
    return tuple(names)
