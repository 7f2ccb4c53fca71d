"""Settings for a whole run, from an environment's id and its spaces.

A named preset states only what is a matter of scale: how long to train, how far to look ahead.
How to learn is the same everywhere and stands as the defaults of `config.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from muzen.config import Config, override

if TYPE_CHECKING:  # types.py loads jax, which `muzen train --help` has no use for
    from muzen.types import EnvSpec

PRESETS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"env_steps": 10_000},
    "Acrobot-v1": {"env_steps": 25_000},
    "MountainCar-v0": {"env_steps": 120_000},
    "LunarLander-v3": {"env_steps": 200_000, "learn.samples_per_step": 32.0, "reanalyse.positions_per_step": 8.0},
}
"""Dotted overrides of `config.py`'s defaults, by environment id."""

_LONG_EPISODE = 1_000  # environment steps


def preset(env_id: str, spec: EnvSpec | None = None) -> Config:
    """Where a run on this environment starts from.

    Args:
      env_id: as `muzen train` takes it.
      spec: what the environment declares; None where only a named preset or the defaults are wanted.

    Returns:
      The named preset of `env_id`, or the defaults adapted to `spec`.
    """
    named = PRESETS.get(env_id)
    if named is None:
        named = {} if spec is None else _derived(spec)
    return override(Config(env_id), named)


def _derived(spec: EnvSpec) -> dict[str, Any]:
    """Scale, as far as the spaces tell it."""
    settings: dict[str, Any] = {}
    if spec.players > 1:
        settings["learn.discount"] = 1.0  # a game pays at its end, however late
        settings |= {"act.temperature_last": 1.0, "act.hold_steps": 1.0}  # an opponent explores already
    elif spec.max_episode_steps is not None and spec.max_episode_steps >= _LONG_EPISODE:
        settings["learn.discount"] = 0.997  # the paper's, where episodes are long
    settings["search.max_considered"] = max(2, min(16, spec.num_actions))
    return settings
