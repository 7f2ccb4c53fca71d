"""Returns of a greedy agent with their interval. No noise, final weights, every episode counted."""

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
    """Play greedy episodes and sum their rewards.

    Episode i's seed derives from (seed, i) alone, so the same seed gives the same episodes whatever else runs.

    Args:
      agent: whose search decides.
      make: makes one environment.
      episodes: how many, at least 1.
      seed: of the episodes.
      max_steps: environment steps after which an episode is cut off, and `cut` counts those; None: the agent's own.
      progress: called with (episodes done, episodes) after each one.

    Returns:
      env_id, episodes, mean_return, std_return, ci95 (low, high), env_steps_trained, returns, lengths, seed,
      simulations, and cut, the episodes that `max_steps` ended.
    """
    max_steps = agent.max_steps if max_steps is None else max_steps
    lanes = min(LANES, episodes)
    envs = [make() for _ in range(lanes)]
    returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
    number = list(range(lanes))  # the episode in each lane
    now = [env.reset(episode_seed(seed, EVALUATION_WORKER, 0, i)) for i, env in enumerate(envs)]
    key, following, done, cut = jax.random.key(seed), lanes, 0, 0
    try:
        while done < episodes:
            plan = agent.planner.plan(
                agent.model,
                np.stack([t.observation for t in now]),
                np.stack([t.legal | (t.terminated or t.truncated) for t in now]),
                np.array([t.to_play for t in now], np.int32),
                key,
            )
            for lane, env in enumerate(envs):
                i = number[lane]
                if i >= episodes:
                    continue
                now[lane] = step = env.step(int(plan.action[lane]))
                returns[i] += step.reward[0]
                lengths[i] += 1
                over = step.terminated or step.truncated
                if over or lengths[i] >= max_steps:
                    done += 1
                    cut += not over
                    if progress is not None:
                        progress(done, episodes)
                    number[lane], following = following, following + 1
                    if number[lane] < episodes:
                        now[lane] = env.reset(episode_seed(seed, EVALUATION_WORKER, 0, number[lane]))
    finally:
        for env in envs:
            env.close()
    return {
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
