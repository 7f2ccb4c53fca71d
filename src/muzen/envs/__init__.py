"""Other people's environments, made to look alike: one interface, one seed rule, clear errors."""

from muzen.envs.boards import Board, BoardReader, Touch, board_reader
from muzen.envs.gymnasium import GymnasiumEnvironment, one_hot_past
from muzen.envs.make import (
    EnvLike,
    code_named,
    env_name,
    is_code,
    make,
    named_again,
    nearest_names,
    open_env,
    past_actions_refused,
    raised,
    require_alike,
    spec_of,
)
from muzen.envs.openspiel import PREFIX, OpenSpielEnvironment, load_game
from muzen.envs.seeding import episode_seed
from muzen.envs.simulator import OpenSpielSimulator

__all__ = [
    "PREFIX",
    "Board",
    "BoardReader",
    "EnvLike",
    "GymnasiumEnvironment",
    "OpenSpielEnvironment",
    "OpenSpielSimulator",
    "Touch",
    "board_reader",
    "code_named",
    "env_name",
    "episode_seed",
    "is_code",
    "load_game",
    "make",
    "named_again",
    "nearest_names",
    "one_hot_past",
    "open_env",
    "past_actions_refused",
    "raised",
    "require_alike",
    "spec_of",
]
