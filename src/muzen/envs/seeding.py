"""The seed of every episode."""

from __future__ import annotations

import numpy as np


def episode_seed(run_seed: int, worker: int, environment: int, episode: int) -> int:
    """Seed for one reset, unrelated to that of any other episode of this or another run.

    Args:
      run_seed: the run's seed, at least 0.
      worker: number of the acting process, from 0.
      environment: number of the environment within its worker, from 0.
      episode: number of the episode within its environment, from 0.

    Returns:
      An integer in 0..2^31-1, which every seeding interface accepts.

    Raises:
      ValueError: an argument is negative.
    """
    sequence = np.random.SeedSequence(run_seed, spawn_key=(worker, environment, episode))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)
