"""Turn sampled sequences round by symmetries of the game, so that one position teaches all its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from muzen.replay.windows import Batch
from muzen.types import Symmetry


def augment(batch: Batch, symmetries: Sequence[Symmetry], random: np.random.Generator) -> Batch:
    """Each sequence under a symmetry drawn for it: observations, actions, policy targets, what is legal, whose is what.

    Args:
      batch: arrays with leading axes [count, batch].
      symmetries: to draw from, each as likely; the identity is one of them.
      random: draws one number for each sequence.
    """
    which = random.integers(len(symmetries), size=batch.index.shape)
    cells = np.stack([s.observation for s in symmetries])[which][..., None, :]
    action = np.stack([s.action for s in symmetries])[which]
    # Entry b of a turned row over actions is that of the action which became b.
    back = np.argsort(action, axis=-1)[..., None, :]

    def turn(observation: np.ndarray) -> np.ndarray:
        flat = observation.reshape(*which.shape, observation.shape[which.ndim], -1)
        return np.take_along_axis(flat, cells, -1).reshape(observation.shape)

    if any((s.player != np.arange(s.player.size)).any() for s in symmetries):
        batch = _change_places(batch, np.stack([s.player for s in symmetries])[which])
    seen = batch.bootstrap_observation
    return batch._replace(
        observation=turn(batch.observation),
        action=np.take_along_axis(action, batch.action, -1).astype(batch.action.dtype),
        policy_target=np.take_along_axis(batch.policy_target, back, -1),
        legal=np.take_along_axis(batch.legal, back, -1),
        bootstrap_observation=None if seen is None else turn(seen),
    )


def _change_places(batch: Batch, player: np.ndarray) -> Batch:
    """What is told for each player, with player p of a sequence become `player[..., p]`."""
    back = np.argsort(player, axis=-1)[..., None, :]

    def become(mover: np.ndarray) -> np.ndarray:
        return np.take_along_axis(player, mover, -1).astype(mover.dtype)

    return batch._replace(
        reward=np.take_along_axis(batch.reward, back, -1),
        partial_return=np.take_along_axis(batch.partial_return, back, -1),
        bootstrap_value=np.take_along_axis(batch.bootstrap_value, back, -1),
        bootstrap_to_play=become(batch.bootstrap_to_play),
        to_play=become(batch.to_play),
    )
