"""Every line of play against a greedy agent: does it ever lose a game that it need not lose?

    python benchmarks/exhaustive.py runs/openspiel-tic_tac_toe-seed0 [more run folders]

For deterministic games small enough to walk through, of two players, such as tic_tac_toe.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import numpy as np

import muzen
from muzen.agent import Agent
from muzen.envs import OpenSpielEnvironment, make

# Positions searched in one batch: a fixed size, so that nothing compiles twice.
BATCH = 64


def outcomes(agent: Agent, seat: int) -> dict[str, Any]:
    """Play the greedy agent in one seat against every possible sequence of its opponent's moves.

    Args:
      agent: of an OpenSpiel game of two players without chance.
      seat: 0 moves first.

    Returns:
      games, win, draw, loss: how many lines of play end so for the agent; lost: the actions of every lost line.
    """
    env = make(agent.spec.id)
    assert isinstance(env, OpenSpielEnvironment)
    counts: dict[str, Any] = {"games": 0, "win": 0, "draw": 0, "loss": 0, "lost": []}
    lines: list[tuple[int, ...]] = [()]
    key = jax.random.key(0)
    while lines:
        asked: list[tuple[tuple[int, ...], Any]] = []
        following: list[tuple[int, ...]] = []
        for line in lines:
            now, total = env.reset(0), np.zeros(agent.spec.players)
            for action in line:
                now = env.step(action)
                total += now.reward
            if now.terminated:
                result = "win" if total[seat] > 0 else "draw" if total[seat] == 0 else "loss"
                counts["games"] += 1
                counts[result] += 1
                if result == "loss":
                    counts["lost"].append(line)
            elif now.to_play == seat:
                asked.append((line, now))
            else:
                following += [(*line, int(action)) for action in np.flatnonzero(now.legal)]
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            padded = [now for _, now in part] + [part[0][1]] * (BATCH - len(part))
            plan = agent.planner.plan(
                agent.model,
                np.stack([now.observation for now in padded]),
                np.stack([now.legal for now in padded]),
                np.array([now.to_play for now in padded], np.int32),
                key,
                states=[now.state for now in padded],
            )
            following += [(*line, int(action)) for (line, _), action in zip(part, plan.action, strict=False)]
        lines = following
    env.close()
    return counts


def main(folders: list[str]) -> None:
    for folder in folders:
        agent = muzen.load(folder)
        for seat in range(agent.spec.players):
            print(json.dumps({"run": folder, "seat": seat} | outcomes(agent, seat)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
