"""Returns of a greedy agent with their interval. No noise, final weights, every episode counted.

In a game the agent sits in every seat in turn, and the others move at random.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from muzen.agent import Agent
from muzen.envs import episode_seed
from muzen.types import Environment

# Episodes searched in one batch: a fixed size, so that a result does not depend on who finished first.
LANES = 32
# Worker number in the seeds of evaluation episodes; self-play's workers count up from 0 and never meet it.
EVALUATION_WORKER = 2**31 - 1
# Tells the random numbers of an episode's opponents from those of its environment, which have the same seed.
_OPPONENT = 1


def confidence_interval(
    returns: np.ndarray, *, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of [N] returns; a single return is its own interval."""
    rng = np.random.default_rng(0)
    means = rng.choice(returns, (resamples, len(returns))).mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def evaluate(
    agent: Agent,
    make: Callable[[], Environment],
    *,
    episodes: int = 100,
    seed: int = 0,
    max_steps: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Play greedy episodes and sum their rewards; in a game, against uniformly random opponents.

    Episode i's seed derives from (seed, i) alone, so the same seed gives the same episodes whatever else runs. In a
    game of P players the agent has seat i mod P in episode i: greedy play of the agent against itself would say
    nothing of how well it plays.

    Args:
      agent: whose search decides.
      make: makes one environment.
      episodes: how many, at least 1.
      seed: of the episodes, and of what random opponents do in them.
      max_steps: environment steps after which an episode is cut off, and `cut` counts those; None: the agent's own.
      progress: called with (episodes done, episodes) after each one.

    Returns:
      env_id, episodes, mean_return, std_return, ci95 (low, high), env_steps_trained, returns, lengths, seed,
      simulations, and cut, the episodes that `max_steps` ended; returns are the agent's. Of a game, also
      `opponent`, and `seats`: seat, episodes, win, draw, loss and mean_return for each.
    """
    max_steps = agent.max_steps if max_steps is None else max_steps
    lanes = [_Lane(make(), agent.spec.players, seed) for _ in range(min(LANES, episodes))]
    totals, lengths = np.zeros((episodes, agent.spec.players)), np.zeros(episodes, int)
    key, following, done, cut = jax.random.key(seed), len(lanes), 0, 0
    tree = None
    try:
        for i, lane in enumerate(lanes):
            lane.begin(i)
        while done < episodes:
            plan = agent.planner.plan(
                agent.model,
                np.stack([lane.now.observation for lane in lanes]),
                np.stack([lane.now.legal | lane.over for lane in lanes]),
                np.array([lane.now.to_play for lane in lanes], np.int32),
                key,
                states=[lane.now.state for lane in lanes],
                previous=tree,
            )
            tree = plan.tree
            for lane, action in zip(lanes, plan.action, strict=True):
                if lane.episode >= episodes:
                    continue
                if not lane.over:  # opponents may end a game before the agent's first turn
                    lane.play(int(action), max_steps)
                while lane.episode < episodes and (lane.over or lane.length >= max_steps):
                    totals[lane.episode], lengths[lane.episode] = lane.total, lane.length
                    done += 1
                    cut += not lane.over
                    if progress is not None:
                        progress(done, episodes)
                    lane.episode, following = following, following + 1
                    if lane.episode < episodes:
                        lane.begin(lane.episode)
    finally:
        for lane in lanes:
            lane.env.close()
    seats = np.arange(episodes) % agent.spec.players
    returns = totals[np.arange(episodes), seats]
    result = {
        "env_id": agent.spec.id,
        "episodes": episodes,
        "mean_return": float(returns.mean()),
        "std_return": float(returns.std(ddof=1)) if episodes > 1 else 0.0,
        "ci95": confidence_interval(returns),
        "env_steps_trained": agent.env_steps,
        "returns": returns.tolist(),
        "lengths": lengths.tolist(),
        "seed": seed,
        "simulations": agent.planner.simulations,
        "cut": cut,
    }
    if agent.spec.players > 1:
        result |= {"opponent": "uniformly random", "seats": _by_seat(totals, seats)}
    return result


class _Lane:
    """One of the environments that are searched together, and the episode in it."""

    def __init__(self, env: Environment, players: int, seed: int):
        self.env, self.players, self.seed = env, players, seed
        self.episode = 0

    @property
    def over(self) -> bool:
        """Whether the episode has ended by itself."""
        return self.now.terminated or self.now.truncated

    def begin(self, episode: int) -> None:
        """Reset to an episode, and wait for the agent's first turn in it."""
        self.episode, self.seat = episode, episode % self.players
        own = episode_seed(self.seed, EVALUATION_WORKER, 0, episode)
        self.random = np.random.default_rng([own, _OPPONENT])
        self.total, self.length = np.zeros(self.players), 0
        self.now = self.env.reset(own)
        self._wait()

    def play(self, action: int, max_steps: int) -> None:
        """The agent's action, then the opponents' until its next turn or the end."""
        self._step(action)
        self._wait(max_steps)

    def _wait(self, max_steps: float = float("inf")) -> None:
        while self.now.to_play != self.seat and not self.over and self.length < max_steps:
            self._step(int(self.random.choice(np.flatnonzero(self.now.legal))))

    def _step(self, action: int) -> None:
        self.now = self.env.step(action)
        self.total += self.now.reward
        self.length += 1


def _by_seat(totals: np.ndarray, seats: np.ndarray) -> list[dict[str, Any]]:
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
