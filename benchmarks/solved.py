"""How well is Connect Four judged? Positions of games between mcts:100 and itself, against an exact solver.

    pip install -e ".[games,bench]"
    python benchmarks/solved.py runs/openspiel-connect_four-seed0 [more run folders] [--simulations 32,100]
    python benchmarks/solved.py --perfect mcts:100,minimax:5

BitBully (AGPL-3.0) says how every move of a position ends under perfect play: won, drawn or lost. In positions where
that differs from move to move, `policy` is how often the network's likeliest move is one of the best, `learned` and
`rules` how often the greedy search's is, planning in the learned model and with the game's own rules, by the same
weights; a run that planned with the rules has learned no model, so that its `learned` means nothing. `value` is the
correlation of the network's value with the outcome under perfect play, over all positions. Some four minutes a run.

`--perfect` says what there is to reach: the scores of two players who never give away an outcome, in 200 games from the
openings of `muzen arena --seed 5`. One wins as soon, and loses as late, as can be, the other takes any best move.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from bitbully import BitBully, Board
from exhaustive import moves_of

import muzen
from muzen.agent import Agent, Planner
from muzen.envs import OpenSpielEnvironment, OpenSpielSimulator
from muzen.matches import Game, play
from muzen.opponents import opponent, opponents
from muzen.players import Move, Position
from muzen.tournament import Pairing, openings, tournament

GAME = "openspiel:connect_four"
# Games that the positions are of, and their seed.
GAMES, SEED = 200, 7
# Games and seed of the matches that the README shows.
ARENA = 200, 5
# Positions before this ply are those of few openings.
FIRST_PLY = 8


def lines(games: int, seed: int) -> list[tuple[int, ...]]:
    """Moves that lead to every position of these games from ply FIRST_PLY on, each line once, none of them over."""
    player = opponent("mcts:100", GAME)
    env = OpenSpielEnvironment(GAME)
    chosen = [Game(one.seed, (player, player), one.actions) for one in openings(env, games, seed)]
    env.close()
    played = play(lambda: OpenSpielEnvironment(GAME), chosen, max_steps=100, keep=True)
    records = [one.record.actions for one in played if one.record is not None]
    return sorted({tuple(actions[:n]) for actions in records for n in range(FIRST_PLY, len(actions))})


def scored(moves: Sequence[int], solver: BitBully) -> dict[int, int]:
    """What each legal move is worth to the player to move: above 0 it wins, below 0 it loses, the larger the sooner won
    or the later lost."""
    return {int(action): score for action, score in solver.score_all_moves(Board(list(moves))).items()}


def exact(moves: Sequence[int], solver: BitBully) -> np.ndarray:
    """[7] how each move ends for the player to move under perfect play: 1, 0 or -1; -2 where it is illegal."""
    found = np.full(7, -2)
    for action, score in scored(moves, solver).items():
        found[action] = np.sign(score)
    return found


class Perfect:
    """A player who never gives away an outcome.

    Args:
      solver: says what moves are worth.
      soonest: win as soon and lose as late as can be; otherwise any of the moves that keep the outcome.
    """

    batch = 1

    def __init__(self, solver: BitBully, *, soonest: bool):
        self.solver, self.soonest = solver, soonest
        self.name = "perfect" if soonest else "perfect, any best move"

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        return [Move(self._move(position)) for position in positions]

    def _move(self, position: Position) -> int:
        scores = scored(position.state.history(), self.solver)
        worth = scores if self.soonest else {action: np.sign(score) for action, score in scores.items()}
        best = max(worth.values())
        return int(position.random().choice([action for action in worth if worth[action] == best]))


def perfect(names: str, games: int, seed: int) -> list[dict[str, Any]]:
    """What `Perfect` players score against the opponents named, from the arena's openings."""
    players = [Perfect(BitBully(), soonest=soonest) for soonest in (True, False)]
    pairs = [Pairing(player, other) for other in opponents(names, GAME) for player in players]
    found = tournament(pairs, lambda: OpenSpielEnvironment(GAME), games=games, seed=seed)
    return found["matches"]


def judged(agent: Agent, states: Sequence[Any], outcome: np.ndarray, simulations: Sequence[int]) -> dict[str, Any]:
    """The figures that the top of this file explains, of [N] states and [N, 7] outcomes of their moves."""
    now = agent.simulator.look(states)
    seen = agent.model.initial(now.observation, now.to_play)
    value = np.asarray(seen.value)[np.arange(len(states)), now.to_play]
    likeliest = np.where(now.legal, np.asarray(seen.policy_logits), -np.inf).argmax(1)
    best = outcome.max(1)
    critical = np.flatnonzero((np.where(outcome == -2, best[:, None], outcome) < best[:, None]).any(1))

    def share(moves: Sequence[int] | np.ndarray) -> float:
        return round(float((outcome[critical, moves] == best[critical]).mean()), 3)

    found: dict[str, Any] = {"positions": len(states), "critical": len(critical)}
    found |= {"value": round(float(np.corrcoef(value, best)[0, 1]), 3), "policy": share(likeliest[critical])}
    asked = [states[i] for i in critical]
    for name, simulator in (("learned", None), ("rules", agent.simulator)):
        for count in simulations:
            planner = Planner(agent.planner.rule, count, agent.planner.root_value, simulator=simulator)
            found[f"{name}, {count} simulations"] = share(moves_of(Agent(agent.model, planner, agent.spec), asked))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="DIR", help="a run folder")
    parser.add_argument("--perfect", default="", metavar="NAME,NAME", help="opponents of the perfect players")
    parser.add_argument("--simulations", default="32,100", metavar="N,N", help="simulations of the searches")
    given = parser.parse_args()
    if not given.folders and not given.perfect:
        parser.error("name a run folder, or opponents with --perfect")
    if given.perfect:
        for one in perfect(given.perfect, *ARENA):
            shown = ("player", "opponent", "games", "win", "draw", "loss", "score", "score_ci95")
            print(json.dumps({name: one[name] for name in shown}), flush=True)
    if not given.folders:
        return
    counts, solver = [int(count) for count in given.simulations.split(",")], BitBully()
    found = lines(GAMES, SEED)
    outcome = np.array([exact(moves, solver) for moves in found])
    states = OpenSpielSimulator(GAME).replay(found)
    for folder in given.folders:
        agent = muzen.load(folder)
        about = {"run": folder, "env_steps": agent.env_steps}
        print(json.dumps(about | judged(agent, states, outcome, counts)), flush=True)


if __name__ == "__main__":
    main()
