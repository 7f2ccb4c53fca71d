"""Fresh targets for stored positions: search them again with the latest weights and write the result back.

A sweep walks the replay, least recently refreshed first, so one search serves every later sample of the
position. (MuZero Reanalyse, arXiv:1911.08265 appendix H, searches at sampling time instead.)

It keeps targets fresh only where it is faster than self-play, at more than one position for each environment step.
At one, as boards have it, it follows self-play at a constant distance: every position is searched once more, soon
after it was played, and never again. Below one it refreshes what is about to be evicted (docs/log.md, "A sweep that
never comes round").

Values can be refreshed more often than policies: the network alone says what positions are worth, a thousand at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from muzen.actors import Plan
from muzen.replay import Replay
from muzen.types import Simulator

VALUES_AT_ONCE = 2048  # positions


class Reanalyse:
    """A fixed number of positions per environment step, in batches of a fixed size.

    Args:
      replay: the positions, rewritten in place.
      positions_per_step: stored positions searched again per environment step.
      batch_size: positions per search.
      simulator: plays the stored actions again up to each position, where searches begin at a game's own state.
      values_per_step: stored values rewritten per environment step without a search.
    """

    def __init__(
        self,
        replay: Replay,
        positions_per_step: float,
        batch_size: int,
        simulator: Simulator | None = None,
        values_per_step: float = 0.0,
    ):
        self.replay, self.rate, self.batch_size = replay, positions_per_step, batch_size
        self.values_rate, self.simulator = values_per_step, simulator
        self.owed = self.owed_values = 0.0

    def step(self, env_steps: int, plan: Callable[..., Plan]) -> int:
        """Owe for `env_steps` more steps and search as many whole batches as are owed.

        Args:
          plan: (observation [B, ...], legal [B, A], to_play [B], states) -> Plan, without exploration; `states` are
            [B] of the game, or None without a simulator.

        Returns:
          Positions refreshed. With a simulator, those whose episode has lost its beginning are left as they are, and
          others take their place in the batch.
        """
        self.owed += env_steps * self.rate
        refreshed = 0
        while self.owed >= self.batch_size and self.rate > 0:
            self.owed -= self.batch_size
            index = self.replay.positions(self.batch_size)
            states = None
            if self.simulator is not None:
                index, states = self._states(index, self.simulator)
                if not len(index):
                    continue
            fresh = plan(self.replay.observations(index), self.replay.legal(index), self.replay.to_play(index), states)
            refreshed += self.replay.write_targets(index, fresh.policy, fresh.value)
        return refreshed

    def refresh_values(
        self, env_steps: int, judge: Callable[[np.ndarray, np.ndarray], np.ndarray], rng: np.random.Generator
    ) -> int:
        """Owe for `env_steps` more steps, and have as many whole batches of stored values rewritten as are owed.

        Positions are drawn at random, each as likely; those without a search value keep having none.

        Args:
          judge: (observation [B, ...], to_play [B]) -> [B, P] value of each player, environment units.
          rng: draws them.

        Returns:
          Values rewritten.
        """
        self.owed_values += env_steps * self.values_rate
        refreshed = 0
        while self.owed_values >= VALUES_AT_ONCE and self.values_rate > 0:
            self.owed_values -= VALUES_AT_ONCE
            index = self.replay.random_positions(VALUES_AT_ONCE, rng)
            if not len(index):
                continue
            value = judge(self.replay.observations(index), self.replay.to_play(index))
            refreshed += self.replay.write_values(index, value)
        return refreshed

    def _states(self, index: np.ndarray, simulator: Simulator) -> tuple[np.ndarray, np.ndarray]:
        """As many ids as before, of rows whose episode is whole, and the game's states there; none where none is."""
        moves = self.replay.histories(index)
        known = [i for i, line in enumerate(moves) if line is not None]
        known = np.resize(known, len(index) if known else 0).astype(int)
        return index[known], simulator.replay([moves[i] for i in known])
