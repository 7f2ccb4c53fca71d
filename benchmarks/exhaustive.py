"""Every line of play against a greedy agent: does it lose a game that it need not lose, and are its moves the best?

    python benchmarks/exhaustive.py runs/openspiel-tic_tac_toe-seed0 [more run folders] [--simulations N]

For deterministic games of two players small enough to walk through, such as tic_tac_toe. One line of JSON for each
seat, and one for the moves: how many of them OpenSpiel's minimax solver calls best, in all positions and in those that
the agent's own play can lead to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

import muzen
from muzen.agent import Agent
from muzen.envs import OpenSpielSimulator

# Positions searched in one batch: a fixed size, so that nothing compiles twice.
BATCH = 64
# Values that differ by less are equal.
EQUAL = 1e-6


def moves_of(agent: Agent, states: Sequence[Any]) -> list[int]:
    """What the agent plays in each of these states of its game; none of them over."""
    chosen: list[int] = []
    for start in range(0, len(states), BATCH):
        part = list(states[start : start + BATCH])
        action = agent.search_states(part + part[:1] * (BATCH - len(part))).action
        chosen += np.asarray(action)[: len(part)].tolist()
    return chosen


def outcomes(agent: Agent, seat: int) -> dict[str, Any]:
    """Play the greedy agent in one seat against every possible sequence of its opponent's moves.

    Args:
      agent: of an OpenSpiel game of two players without chance.
      seat: 0 moves first.

    Returns:
      games, win, draw, loss: how many lines of play end so for the agent; lost: the actions of every lost line;
      asked: every position that the agent had to move in, as (state, its move).
    """
    counts: dict[str, Any] = {"games": 0, "win": 0, "draw": 0, "loss": 0, "lost": [], "asked": []}
    states = [OpenSpielSimulator(agent.spec.id).game.new_initial_state()]
    while states:
        own = [state for state in states if not state.is_terminal() and state.current_player() == seat]
        chosen = list(zip(own, moves_of(agent, own), strict=True))
        counts["asked"] += chosen
        following = [state.child(action) for state, action in chosen]
        for state in states:
            if state.is_terminal():
                total = state.returns()[seat]
                counts["games"] += 1
                counts["win" if total > 0 else "draw" if total == 0 else "loss"] += 1
                if total < 0:
                    counts["lost"].append(state.history())
            elif state.current_player() != seat:
                following += [state.child(action) for action in state.legal_actions()]
        states = following
    return counts


def optimal(agent: Agent, asked: Sequence[tuple[Any, int]]) -> dict[str, int]:
    """How many of the agent's moves are minimax moves: in all positions, and in those that its own play can lead to.

    Args:
      agent: of an OpenSpiel game of two players without chance.
      asked: what `outcomes` found it asked in both seats.

    Returns:
      positions, optimal, own_positions, own_optimal.
    """
    from open_spiel.python.algorithms.get_all_states import get_all_states
    from open_spiel.python.algorithms.minimax_solver import MinimaxSolver

    game = OpenSpielSimulator(agent.spec.id).game
    solved = MinimaxSolver(str(game)).solve()

    def best(state: Any, action: int) -> bool:
        position = solved[str(state)]
        return bool(position.action_values[action] > position.value - EQUAL)

    states = [state for state in get_all_states(game, to_string=str).values() if not state.is_terminal()]
    every = [best(*pair) for pair in zip(states, moves_of(agent, states), strict=True)]
    own = {str(state): best(state, action) for state, action in asked}
    return {
        "positions": len(every),
        "optimal": sum(every),
        "own_positions": len(own),
        "own_optimal": sum(own.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="DIR", help="a run folder")
    parser.add_argument("--simulations", type=int, default=None, help="simulations per move; as in the run if left out")
    given = parser.parse_args()
    for folder in given.folders:
        agent = muzen.load(folder, simulations=given.simulations)
        about = {"run": folder, "env_steps": agent.env_steps, "simulations": agent.planner.simulations}
        asked: list[tuple[Any, int]] = []
        for seat in range(agent.spec.players):
            found = outcomes(agent, seat)
            asked += found.pop("asked")
            print(json.dumps(about | {"seat": seat} | found), flush=True)
        print(json.dumps(about | optimal(agent, asked)), flush=True)


if __name__ == "__main__":
    main()
