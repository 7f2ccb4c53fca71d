"""The parts of a run, made from its settings. Every choice between algorithms is made here, and nowhere else."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from muzen.agent import Agent, Planner
from muzen.config import ActConfig, Config, LearnConfig, SearchConfig
from muzen.devices import worth_dividing
from muzen.envs import OpenSpielSimulator, raised
from muzen.errors import ConfigError, EnvError, MuzenError
from muzen.maths.supports import CategoricalEncoding, make_encoding
from muzen.networks import Network, NetworkModel, check_network, is_convolutional, make_network, require_encoding
from muzen.replay import Statistics
from muzen.search import Gumbel, Puct
from muzen.types import EnvSpec, Simulator

# Limit of the encodings of a game whose largest return is known, in units of that: one of 23 bins beyond it.
OUTCOME_LIMIT = 1.1
# γ above this counts as this in the range of values: an undiscounted task has no bound of its own.
LONGEST_DISCOUNT = 0.999


def make_simulator(config: SearchConfig, env_id: str) -> Simulator | None:
    """The rules of the game of this name, where the settings plan with them; None where they plan in the learned model.

    Raises:
      ConfigError: the environment's rules are not known, or cannot be searched.
    """
    if config.model == "learned":
        return None
    try:
        simulator = OpenSpielSimulator(env_id)
        simulator.require_no_chance()
    except EnvError as error:
        raise ConfigError(f"search.model: rules cannot be searched: {error}; use learned") from error
    return simulator


def require_resignation(config: ActConfig, spec: EnvSpec, bootstrap: str) -> None:
    """Refuse resigning where nothing says who has won then.

    Raises:
      ConfigError: not a zero-sum game of two players with a known largest return, or values bootstrap from a network,
        which does not know who resigned.
    """
    if config.resign_below < 0 and bootstrap != "search":
        raise ConfigError(
            f"act.resign_below: {config.resign_below:g}, with learn.bootstrap {bootstrap}: only the stored value "
            "tells that a game was resigned; use learn.bootstrap search, or 0"
        )
    if config.resign_below < 0 and not (spec.players == 2 and spec.zero_sum and spec.largest_return is not None):
        raise ConfigError(
            f"act.resign_below: {config.resign_below:g}, but {spec.id} is no zero-sum game of two players; use 0"
        )


def choose_devices(config: Config, observation_shape: tuple[int, ...], network: Any) -> int:
    """How many devices a new run is divided over.

    Args:
      config: its settings.
      observation_shape: shape of one observation.
      network: the user's own, or None.
    """
    if config.devices:
        return config.devices
    convolutions = network is None and is_convolutional(config.network, observation_shape)
    return worth_dividing(config.learn.batch_size) if convolutions and config.schedule != "overlapped" else 1


def learning(config: Config) -> LearnConfig:
    """How to learn: with the game's own rules nothing is unrolled, for there is no model of them to train.

    Policy and value are then those of the sequence's first position, its only one.
    """
    return config.learn if config.search.model == "learned" else dataclasses.replace(config.learn, unroll_steps=0)


def make_rule(config: SearchConfig) -> Any:
    """The search rule that the settings ask for, but for its span floor, which follows the values learned."""
    if config.rule == "gumbel":
        return Gumbel(
            max_considered=config.max_considered,
            c_visit=config.c_visit,
            c_scale=config.c_scale,
            normalise=config.normalise,
        )
    return Puct(
        c1=config.c1,
        c2=config.c2,
        dirichlet_fraction=config.dirichlet_fraction,
        dirichlet_alpha=config.dirichlet_alpha,
        normalise=config.normalise,
    )


def make_model(config: Config, spec: EnvSpec, network: Any, value_encoding: Any, reward_encoding: Any) -> NetworkModel:
    """The model of the run: the built-in network, or the user's own, with its encodings.

    Args:
      network: a `Network`, a function (spec, key) -> `Network`, or None for the built-in one.

    Raises:
      ConfigError: a network or an encoding lacks something, or a setting does not go with it.
    """
    for field, own in (("value_encoding", value_encoding), ("reward_encoding", reward_encoding)):
        if own is not None:
            require_encoding(field, own)
    value = make_encoding(config.value, limit=1.0) if value_encoding is None else value_encoding
    reward = make_encoding(config.reward, limit=1.0) if reward_encoding is None else reward_encoding
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    learned = config.search.model == "learned"
    # Seen by the player to move, a number means something only where a position says for certain who that is: after a
    # roll of dice that may pass the turn, the mean of one player's gain and the other's is nobody's.
    shared = spec.zero_sum and spec.alternating
    built_in = network is None
    if built_in:
        network = make_network(
            config.network,
            spec.observation_shape,
            spec.num_actions,
            value.bins,
            reward.bins,
            spec.players,
            key,
            zero_sum=shared,
            learn_legal=learned and config.network.learn_legal and not spec.always_legal,
            learn_to_play=learned and not spec.alternating,
            directions=spec.directions,
            reconstruct=learned and config.learn.reconstruction_weight > 0,
        )
    elif isinstance(network, type) or (callable(network) and not hasattr(network, "dynamics")):
        try:
            network = network(spec, key)
        except MuzenError:
            raise
        except Exception as error:  # the user's code: anything may come out of it
            raise ConfigError(f"network: making it failed: {raised(error)}") from error
    model = NetworkModel(
        cast(Network, network),
        value,
        reward,
        gamma=config.learn.discount,
        num_actions=spec.num_actions,
        players=spec.players,
        learn_discount=config.learn.learn_discount,
        zero_sum=shared,
        observation_mean=jnp.zeros(spec.observation_shape),
        observation_std=jnp.ones(spec.observation_shape),
    )
    if learned and (weight := config.learn.reconstruction_weight) > 0:
        if built_in and not model.learns_reconstruction:
            raise ConfigError(
                f"learn.reconstruction_weight: {weight:g}, and an MLP does not say what the observation of a state is; "
                "use 0, network.kind resnet, or a network of your own with `reconstruct`"
            )
        if model.learns_reconstruction and spec.observation_dtype == "uint8":
            raise ConfigError(
                f"learn.reconstruction_weight: {weight:g}, and observations are uint8; only numbers from 0 to 1 can be "
                "reconstructed: use 0, or an environment that divides by 255"
            )
    check_network(model, spec.observation_shape)
    if learned and not spec.alternating and not model.learns_to_play:
        raise ConfigError(
            f"network: says not who moves next, and players of {spec.id} don't take turns; give it "
            "`to_play(state) -> [B, P] logits`"
        )
    return model


def make_planner(
    config: SearchConfig, spec: EnvSpec, simulations: int, span_floor: float = 0.0, mesh: Mesh | None = None
) -> Planner:
    """The search as the settings ask for it; the span floor is in environment units of value, see `Experiment`."""
    rule = dataclasses.replace(make_rule(config), span_floor=span_floor)
    simulator = make_simulator(config, spec.id)
    return Planner(rule, simulations, config.root_value, simulator=simulator, reuse_tree=config.reuse_tree, mesh=mesh)


def make_agent(
    config: Config, spec: EnvSpec, model: NetworkModel, env_steps: int, span_floor: float, mesh: Mesh | None
) -> Agent:
    """A greedy agent from weights and settings."""
    simulations = config.evaluate.simulations or config.search.simulations
    planner = make_planner(config.search, spec, simulations, span_floor, mesh)
    return Agent(model, planner, spec, env_steps, config.evaluate.max_steps)


class Units(NamedTuple):
    """What a network counts values and rewards in, from what was seen before learning begins.

    One unit is the root mean square reward. Values reach the returns seen, or 1/(1-γ) times the largest reward that may
    be had at every step, if that is more: one that ends its episode is had once, however large it is. Where no end was
    seen, it may pay `learn.unseen_end`: a crash, or a goal after many small costs.
    In a game that says how much it pays at most, that is the unit, and no value or reward is larger.
    """

    scale: float  # one unit, in the environment's own
    value_limit: float  # largest |value| that the bins cover, in units
    reward_limit: float  # largest |reward|
    least_spread: float  # the spread of values counts as at least this, in the environment's units

    @classmethod
    def of(
        cls, config: Config, spec: EnvSpec, rms_reward: float, lasting_reward: float, seen: Statistics, ends: int
    ) -> Units:
        """From the settings, the environment, and the rewards and returns of the first steps.

        Args:
          rms_reward: root mean square.
          lasting_reward: largest |reward| of a step that did not end its episode.
          seen: ranges of rewards and returns.
          ends: episodes that ended by the task's rule; before the first one nobody knows what an end pays.
        """
        scale = rms_reward or 1.0
        horizon = 1 / (1 - min(config.learn.discount, LONGEST_DISCOUNT))
        returns = [abs(x) for x in (seen.min_return, seen.max_return) if math.isfinite(x)]
        largest = max(seen.max_abs_reward, 0.0 if ends or config.reward.limit else config.learn.unseen_end * scale)
        value_limit = max(scale * horizon, lasting_reward * horizon, 3 * largest, *returns) / scale
        reward_limit = max(2.0, largest / scale)
        if spec.largest_return is not None:
            # A game's own bound is the unit; it lies within the bins, for outcomes on the edge count as saturated.
            scale, horizon = spec.largest_return, 1.0
            value_limit = reward_limit = OUTCOME_LIMIT
        return cls(
            scale,
            config.value.limit or value_limit,
            config.reward.limit or reward_limit,
            config.search.least_spread * scale * horizon,
        )

    def into(self, model: NetworkModel) -> NetworkModel:
        """The model with these units; encodings of the user's own stay as they are."""
        for name, limit in (("value_encoding", self.value_limit), ("reward_encoding", self.reward_limit)):
            encoding = getattr(model, name)
            if isinstance(encoding, CategoricalEncoding):
                arrays = jnp.float32(limit), jnp.float32(self.scale)
                encoding = eqx.tree_at(lambda e: (e.limit, e.scale), encoding, arrays)
                model = eqx.tree_at(lambda m, name=name: getattr(m, name), model, encoding)
        return model
