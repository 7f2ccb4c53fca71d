"""Settings for a whole run, from an environment's id and its spaces.

A preset of Gymnasium's tasks states only what is a matter of scale (how long to train, how far to look ahead) or of
what the environment hides; how to learn is the same everywhere, but for Acrobot's optimiser and two numbers that make
more of CartPole's few steps, and stands as the defaults of `config.py`. Games also change how they learn, and each such
line says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from muzen.config import Config, override

if TYPE_CHECKING:  # types.py loads jax, which `muzen train --help` has no use for
    from muzen.types import EnvSpec

# What long episodes ask for: the paper's discount, and time to keep up what pays only after many steps.
_LONG: dict[str, Any] = {"learn.discount": 0.997, "act.noise_steps": 40.0}

# And with such a discount a value is wrong for a long time: searched again every 25,000 steps, and each time by 3 %
# nearer to what is true, a lander's were off by 50 to 80 points at the end of a run. Cheap for an MLP.
_FRESH_VALUES: dict[str, Any] = {"reanalyse.values_per_step": 256.0}

# Each step costs 1, and an end, which random play does not find, pays no more.
_NO_MORE = 0.0

PRESETS: dict[str, dict[str, Any]] = {
    # Half the work of the defaults for each step, for steps are what is short: more of it learns no sooner.
    "CartPole-v1": {
        "env_steps": 10_000,
        "learn.samples_per_step": 64.0,
        "learn.batch_size": 64,
        "learn.unroll_steps": 3,
        "learn.ends": 0.1,  # the track's ends are seen a few times only
        # Actions are worth the same nearly everywhere, and so little data tells values apart by no less.
        "search.span_floor": 0.08,
    },
    # By Adam it comes to its end some fifteen steps later; by Muon a gradient step takes up to half as long again.
    "Acrobot-v1": {"env_steps": 25_000, "learn.optimizer": "muon", "learn.unseen_end": _NO_MORE},
    "MountainCar-v0": {"env_steps": 120_000, "learn.unseen_end": _NO_MORE},
    "LunarLander-v3": {
        "env_steps": 200_000,
        "learn.samples_per_step": 32.0,
        "reanalyse.positions_per_step": 8.0,
        # A landing pays after a hundred steps and more, and what it takes to begin one costs at once. Standing still is
        # paid after twenty-five steps of it, which noise at every step would never allow.
        **_LONG,
        **_FRESH_VALUES,
        # Finer bins than a leg's touch, paid at every step, would ask for: values spread over a tenth of that.
        "value.limit": 300.0,
        "value.bins": 61,
        # A crash costs 60 times a typical reward, and no random step has shown one before learning begins.
        "reward.limit": 100.0,
        "reward.bins": 101,
        # How long the lander has been at rest, which pays in the end, shows only in what was done.
        "network.past_actions": 8,
    },
}
"""Dotted overrides of `config.py`'s defaults, by environment id."""

GAMES: dict[str, dict[str, Any]] = {
    "openspiel:tic_tac_toe": {
        "env_steps": 400_000,
        "learn.samples_per_step": 8.0,
        # A 3x3 convolution sees all of this board at once: an MLP does the same, faster.
        "network.kind": "mlp",
        "network.width": 128,
        # What no good opponent lets happen must be met all the same, to be played well.
        "act.random_openings": 0.7,
        "act.opening_moves": 6,
    },
    "openspiel:connect_four": {
        "env_steps": 900_000,
        "network.channels": 24,
        "network.state_scaling": "tanh",  # which moves win is learned sooner than with min-max
        # A look at each of seven moves, and enough beyond it to see the answers.
        "search.simulations": 32,
        "search.c_scale": 0.5,  # with 0.2 policies kept a third of uniform entropy to the end
        "act.random_openings": 0.7,
        "act.opening_moves": 12,
        # Outcomes then tell who plays better, and not whose noise did less harm.
        "act.sample_moves": 10,
        "replay.max_steps": 200_000,
        # Values then tell a quick win from a slow one, and a long defence from a short one.
        "learn.discount": 0.98,
    },
    "openspiel:mancala": {
        "env_steps": 500_000,
        "learn.samples_per_step": 8.0,
        "network.width": 128,
        "learn.optimizer": "muon",  # as strong as by Adam with three times the games
        # Both as in Connect Four.
        "search.simulations": 32,
        "search.c_scale": 0.5,
        # Outcomes then tell who plays better, as there.
        "act.sample_moves": 12,
        # What weaker players did teaches little: outcomes are the targets, and no search makes them fresh.
        "replay.max_steps": 150_000,
    },
    # Whether to roll is a matter of a few hundredths.
    "openspiel:pig": {"env_steps": 3_000_000, "learn.samples_per_step": 4.0},
    "openspiel:2048": {
        "env_steps": 500_000,
        "learn.samples_per_step": 8.0,
        "learn.discount": 0.999,
        "network.blocks": 2,  # a tile slides over three others
        # Values of hundreds of moves, and tiles a hundred times those of random play.
        "value.limit": 3000.0,
        "value.bins": 101,
        "reward.limit": 500.0,
        "reward.bins": 61,
        # A new tile at each step explores enough; what noise spoils is most of what a game can bring.
        "act.environments": 32,
        "act.temperature": 0.1,
        "act.temperature_last": 0.3,
        "act.noise_steps": 0.0,
        "learn.correct_off_policy": False,  # as in other games of chance, see _DICE
        # Two states that chance alone tells apart have little to agree on.
        "learn.consistency_weight": 0.0,
        # How tiles slide is learned too slowly from what it pays.
        "learn.reconstruction_weight": 3.0,
        "replay.max_steps": 200_000,
        "reanalyse.positions_per_step": 4.0,
    },
}
"""The same by game, whatever its parameters, on top of what the game itself tells."""

# Games of several with chance, on top of those without: an outcome says little of one move.
_DICE: dict[str, Any] = {
    "learn.td_lambda": 0.9,
    "learn.correct_off_policy": False,
    "learn.samples_per_step": 2.0,
    "act.environments": 64,
    "act.random_openings": 0.0,
    "reanalyse.positions_per_step": 0.5,
    "replay.max_steps": 200_000,
    "search.c_scale": 1.0,
}

# Boards of several without chance, by convolutions (an MLP was not compared, and reconstructs nothing): what a move
# leads to, and which moves end a game, is learned too slowly from outcomes alone (docs/log.md, "A win soon is worth
# more than one late").
_BOARD: dict[str, Any] = {
    "learn.reconstruction_weight": 3.0,
    "learn.consistency_weight": 0.0,
    "learn.ends": 0.25,
    # Six sequences of three moves take the time of four of five.
    "learn.unroll_steps": 3,
    "learn.samples_per_step": 6.0,
    # Search values along the way count too.
    "learn.td_lambda": 0.95,
}

_LONG_EPISODE = 1_000  # environment steps
_LONGEST_RETURN = 512  # plies that a game's outcome is carried back over; beyond, search values stand in
_OUTCOME_BINS = 23  # spaced by a tenth of the largest return, one beyond it on each side
_OPENING_MOVES = 30
_SAMPLED_MOVES = 30  # the paper's, for board games


def preset(env_id: str, spec: EnvSpec | None = None) -> Config:
    """Where a run on this environment starts from.

    Args:
      env_id: as `muzen train` takes it.
      spec: what the environment declares; None where only a named preset or the defaults are wanted.

    Returns:
      The named preset of `env_id`, or the defaults adapted to `spec`, and for a named game its scale on top.
    """
    named = PRESETS.get(env_id)
    if named is None:
        game = GAMES.get(_game(env_id), {})
        named = ({} if spec is None else _derived(spec, game.get("network.kind", "auto"))) | game
    return override(Config(env_id), named)


def has_preset(env_id: str) -> bool:
    """Whether something is set for this environment by name."""
    return env_id in PRESETS or _game(env_id) in GAMES


def _game(env_id: str) -> str:
    """'openspiel:pig' of 'openspiel:pig(players=3)'."""
    return env_id.partition("(")[0].strip()


def _derived(spec: EnvSpec, kind: str) -> dict[str, Any]:
    """Scale, as far as the spaces tell it, and what learns best with the `kind` of network that they get."""
    settings: dict[str, Any] = {}
    planes = len(spec.observation_shape) == 3
    convolutions = planes and kind != "mlp"
    if spec.players > 1:
        settings["learn.discount"] = 1.0  # a game pays at its end, however late
        # The outcome is the value target, as in the paper.
        longest = min(spec.max_episode_steps or _LONGEST_RETURN, _LONGEST_RETURN)
        settings |= {"learn.td_lambda": 1.0, "learn.n_step": longest}
        # Every position of a game has the same target, its outcome: many games are needed, not many looks at each.
        settings |= {"act.environments": 32, "learn.samples_per_step": 4.0, "reanalyse.positions_per_step": 1.0}
        # Good players meet few positions; an opponent who is none leads to the others.
        settings |= {"act.random_openings": 0.8, "act.opening_moves": _OPENING_MOVES}
        # An opponent explores already.
        settings |= {"act.temperature_last": 1.0, "act.blind_temperature": 1.0, "act.blind_hold_steps": 1.0}
        settings |= {"act.sample_moves": _SAMPLED_MOVES, "search.temperature_end": 1.0}
        # Q is rescaled by the spread of outcomes, whatever one tree has seen: a small gain is then a small reason.
        settings |= {"search.span_floor": 1.0, "search.c_scale": 0.2}
        if spec.largest_return is not None:  # outcomes are few and bounded
            settings |= {f"{name}.transform": False for name in ("value", "reward")}
            settings |= {f"{name}.bins": _OUTCOME_BINS for name in ("value", "reward")}
        if spec.chance:
            settings |= _DICE
        elif convolutions and spec.observation_dtype != "uint8":
            settings |= _BOARD
    elif spec.max_episode_steps is not None and spec.max_episode_steps >= _LONG_EPISODE:
        settings |= _LONG if convolutions else _LONG | _FRESH_VALUES
    if planes:  # a mean for each cell would hide what cells have in common
        settings["network.normalise_observations"] = False
    if convolutions:
        # Convolutions learn in half of the gradient steps by it, each at hardly more time. Of four tasks with MLPs
        # two gained by it (docs/log.md, "Muon in place of Adam").
        settings["learn.optimizer"] = "muon"
    settings["search.max_considered"] = considered = max(2, min(16, spec.num_actions))
    if spec.chance:
        # One look at what each action leads to on average, and none beyond it. The model has no chance nodes: which
        # actions follow tells it what the dice showed, so that a deeper search would take the lucky throws for granted.
        settings |= {"search.simulations": considered, "learn.unroll_steps": 1}
    return settings
