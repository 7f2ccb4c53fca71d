"""Fresh targets for stored positions: search them again with the latest weights and write the result back.

A sweep walks the replay, least recently refreshed first, so one search serves every later sample of the
position. (MuZero Reanalyse, arXiv:1911.08265 appendix H, searches at sampling time instead.)
"""

from __future__ import annotations

from collections.abc import Callable

from muzen.actors import Plan
from muzen.replay import Replay


class Reanalyse:
    """A fixed number of positions per environment step, in batches of a fixed size.

    Args:
      replay: the positions, rewritten in place.
      positions_per_step: stored positions searched again per environment step.
      batch_size: positions per search.
    """

    def __init__(self, replay: Replay, positions_per_step: float, batch_size: int):
        self.replay, self.rate, self.batch_size = replay, positions_per_step, batch_size
        self.owed = 0.0

    def step(self, env_steps: int, plan: Callable[..., Plan]) -> int:
        """Owe for `env_steps` more steps and search as many whole batches as are owed.

        Args:
          plan: (observation [B, ...], legal [B, A], to_play [B]) -> Plan, without exploration.

        Returns:
          Positions refreshed.
        """
        self.owed += env_steps * self.rate
        refreshed = 0
        while self.owed >= self.batch_size and self.rate > 0:
            self.owed -= self.batch_size
            index = self.replay.positions(self.batch_size)
            fresh = plan(self.replay.observations(index), self.replay.legal(index), self.replay.to_play(index))
            self.replay.write_targets(index, fresh.policy, fresh.value)
            refreshed += len(index)
        return refreshed
