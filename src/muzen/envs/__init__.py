"""Other people's environments, made to look alike: one interface, one seed rule, clear errors."""

from muzen.envs.gymnasium import GymnasiumEnvironment
from muzen.envs.make import EnvLike, env_name, make, named_again, nearest_names, open_env, spec_of
from muzen.envs.openspiel import OpenSpielEnvironment
from muzen.envs.seeding import episode_seed
from muzen.envs.simulator import OpenSpielSimulator

__all__ = [
    "EnvLike",
    "GymnasiumEnvironment",
    "OpenSpielEnvironment",
    "OpenSpielSimulator",
    "env_name",
    "episode_seed",
    "make",
    "named_again",
    "nearest_names",
    "open_env",
    "spec_of",
]
