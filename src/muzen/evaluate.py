"""Returns of a greedy agent with their interval. No noise, final weights, every episode counted.

In a game the agent sits in every seat in turn, against opponents that move at random or as asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from muzen.agent import Agent
from muzen.envs import episode_seed
from muzen.matches import Game, play
from muzen.players import LANES, AgentPlayer, Player, Random
from muzen.runs import GameRecord
from muzen.types import Environment

# Worker number in the seeds of evaluation episodes; self-play's workers count up from 0 and never meet it.
EVALUATION_WORKER = 2**31 - 1


# Numbers that the bootstrap holds at a time.
_MOST_RESAMPLED = 2**24


def confidence_interval(
    returns: np.ndarray, *, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of [N] returns; a single return is its own interval."""
    rng = np.random.default_rng(0)
    at_a_time = max(1, _MOST_RESAMPLED // len(returns))
    parts = (min(at_a_time, resamples - done) for done in range(0, resamples, at_a_time))
    means = np.concatenate([rng.choice(returns, (part, len(returns))).mean(1) for part in parts])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def evaluate(
    agent: Agent,
    make: Callable[[], Environment],
    *,
    episodes: int = 100,
    seed: int = 0,
    max_steps: int | None = None,
    opponent: Player | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_games: Callable[[list[GameRecord]], Any] | None = None,
) -> dict[str, Any]:
    """Play greedy episodes and sum their rewards; in a game, against opponents.

    Episode i's seed derives from (seed, i) alone, so the same seed gives the same episodes whatever else runs. In a
    game of P players the agent has seat i mod P in episode i: greedy play of the agent against itself would say
    nothing of how well it plays.

    Args:
      agent: whose search decides.
      make: makes one environment.
      episodes: how many, at least 1.
      seed: of the episodes, and of what random opponents do in them.
      max_steps: environment steps after which an episode is cut off, and `cut` counts those; None: the agent's own.
      opponent: who has the other seats of a game; None: uniformly random moves.
      progress: called with (episodes done, episodes) after each one.
      on_games: called at the end with the records of all episodes; there are some of OpenSpiel's games only.

    Returns:
      env_id, episodes, mean_return, std_return, ci95 (low, high), env_steps_trained, returns, lengths, seed,
      simulations, and cut, the episodes that `max_steps` ended; returns are the agent's. Of a game, also
      `opponent`, and `seats`: seat, episodes, win, draw, loss and mean_return for each.
    """
    max_steps = agent.max_steps if max_steps is None else max_steps
    opponent, players, lanes = opponent or Random(), agent.spec.players, min(LANES, episodes)
    own = AgentPlayer(agent, batch=lanes, seed=seed)
    games = [
        Game(
            episode_seed(seed, EVALUATION_WORKER, 0, episode),
            tuple(own if seat == episode % players else opponent for seat in range(players)),
        )
        for episode in range(episodes)
    ]
    keep = on_games is not None
    played = play(make, games, max_steps=max_steps, lanes=lanes, keep=keep, progress=progress)
    if on_games is not None:
        on_games([game.record for game in played if game.record is not None])
    totals = np.stack([game.returns for game in played])
    seats = np.arange(episodes) % players
    returns = totals[np.arange(episodes), seats]
    result = {
        "env_id": agent.spec.id,
        "episodes": episodes,
        "mean_return": float(returns.mean()),
        "std_return": float(returns.std(ddof=1)) if episodes > 1 else 0.0,
        "ci95": confidence_interval(returns),
        "env_steps_trained": agent.env_steps,
        "returns": returns.tolist(),
        "lengths": [game.length for game in played],
        "seed": seed,
        "simulations": agent.planner.simulations,
        "cut": sum(game.cut for game in played),
    }
    if players > 1:
        result |= {"opponent": opponent.name, "seats": by_seat(totals, seats)}
    return result


def by_seat(totals: np.ndarray, seats: np.ndarray) -> list[dict[str, Any]]:
    """What the agent made of each seat: [N, P] returns of N episodes and [N] its seats in them.

    Won is a return above every opponent's, lost one below the best opponent's.
    """
    found = []
    for seat in range(totals.shape[1]):
        own = totals[seats == seat]
        margin = own[:, seat] - np.delete(own, seat, axis=1).max(1)
        counts = {"win": margin > 0, "draw": margin == 0, "loss": margin < 0}
        found.append(
            {"seat": seat, "episodes": len(own)}
            | {name: int(held.sum()) for name, held in counts.items()}
            | {"mean_return": float(own[:, seat].mean()) if len(own) else None}
        )
    return found
