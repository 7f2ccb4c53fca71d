"""A trained run in a user's hands: load it, act with it, look into its search."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from muzen import devices, profile
from muzen.actors import Plan
from muzen.config import check_count
from muzen.envs import OpenSpielSimulator, one_hot_past
from muzen.errors import EnvError, SearchError
from muzen.known_rules import KnownRules, kept_tree
from muzen.search import search, xla
from muzen.search.tree import Tree
from muzen.static import Static, split
from muzen.types import Array, EnvSpec, Model, Prediction, SearchResult, Simulator

SearchPath = Literal["auto", "xla", "host"]


@partial(jax.jit, static_argnums=0)
def _initial(static: Static, arrays: list[Any], observation: Array, to_play: Array) -> Prediction:
    """The roots of searches in a learned model."""
    return static.join(arrays).initial(observation, to_play)


class Planner:
    """One search, compiled once per batch size: observations in, `SearchResult` out.

    Args:
      rule: `Gumbel(...)` or `Puct(...)`.
      simulations: per move.
      root_value: what the search value of a root is: "mean" is the visit mean with the network's own value; "policy"
        the mean of q under the improved policy, which unlike the visit mean does not count what sequential halving
        visited only to rule out. Only the mover has a q: with more players it is the mean, unless one's gain is the
        other's loss.
      path: "xla", "host", or "auto" for whichever the machine supports.
      simulator: a game's own rules to plan with, the network only judging; None plans in the learned model.
      reuse_tree: with a simulator, go on from the tree that a search is given as `previous`.
      mesh: devices that a search in the learned model is divided over, where it has roots enough.
    """

    def __init__(
        self,
        rule: Any,
        simulations: int,
        root_value: str = "mean",
        path: SearchPath = "auto",
        simulator: Simulator | None = None,
        reuse_tree: bool = False,
        mesh: Mesh | None = None,
    ):
        self.rule, self.simulations, self.root_value = rule, simulations, root_value
        self.path: SearchPath = path
        self.simulator, self.reuse_tree, self.mesh = simulator, reuse_tree, mesh
        # The last model asked for and its copy, on one device (False) and on all (True).
        self._copies: dict[bool, tuple[Any, Any]] = {}

    def divides(self, roots: int) -> bool:
        """Whether a search of so many roots is divided over the devices."""
        if self.mesh is None or self.simulator is not None or self.path == "host" or xla.unavailable():
            return False
        return roots % self.mesh.size == 0 and roots >= devices.LEAST_ROOTS * self.mesh.size

    def _copied(self, model: Any, everywhere: bool) -> Any:
        """The model where a search needs it; copied once, for as long as the same one is asked for."""
        if self.mesh is None:
            return model
        if self._copies.get(everywhere, (None, None))[0] is not model:
            copy = devices.everywhere(model, self.mesh) if everywhere else devices.here(model)
            self._copies[everywhere] = model, copy
        return self._copies[everywhere][1]

    def search(
        self,
        model: Model,
        observation: Array,
        legal: Array,
        to_play: Array,
        key: Array,
        *,
        states: Sequence[Any] | np.ndarray | None = None,
        previous: Tree | None = None,
        explore: bool | Array = False,
        temperature: float | Array = 1.0,
        span_floor: float | Array | None = None,
    ) -> SearchResult:
        """Search B roots; `value` of the result is the search value that `root_value` names.

        Args:
          model: whose weights to plan with.
          observation: [B, ...].
          legal: [B, A] true where legal, by the environment.
          to_play: [B] who moves, by the environment.
          key: one key gives one result.
          states: [B] the game's own states (`TimeStep.state`), which a planner with a simulator searches from; others
            do not look at them.
          previous: `tree` of the last search of these B games, whatever was moved in them since; used where the planner
            reuses trees. A game that it says nothing of begins afresh.
          explore: root noise on, or its scale, one for all roots or [B]; self-play only.
          temperature: of visit counts, where the rule samples from them.
          span_floor: in place of the rule's own, environment units of value.

        Raises:
          SearchError: states are missing where the game's own rules are searched.
        """
        legal, to_play = np.asarray(legal), np.asarray(to_play, np.int32)
        mesh = self.mesh if self.divides(len(to_play)) else None
        searched: Any = self._copied(model, mesh is not None)
        tree = None
        if self.simulator is None:
            observation, legal, to_play = devices.divided((np.asarray(observation), legal, to_play), mesh)
            root = _initial(*split(searched), observation, to_play)
        else:
            if states is None or any(state is None for state in states):
                raise SearchError("states: missing; a search with the game's own rules begins at TimeStep.state")
            searched = KnownRules(self.simulator, searched, getattr(model, "gamma", 1.0))
            root = searched.initial(states)
            tree = kept_tree(previous, states, self.simulator) if self.reuse_tree else None
        rule = self.rule if span_floor is None else dataclasses.replace(self.rule, span_floor=np.float32(span_floor))
        root = root._replace(legal=legal, to_play=to_play)
        found = search(
            searched,
            root,
            key,
            simulations=self.simulations,
            rule=rule,
            explore=explore,
            temperature=temperature,
            path=self.path,
            tree=tree,
            mesh=mesh,
        )
        return self._policys_value(found, model, to_play) if self.root_value == "policy" else found

    @staticmethod
    def _policys_value(found: SearchResult, model: Any, to_play: Array) -> SearchResult:
        """`found` with the mean of q under the improved policy for its value, where the mover's q says it of all."""
        players = np.shape(found.value)[1]
        if players > 1 and not getattr(model, "zero_sum", False):
            return found
        value = (np.asarray(found.policy) * np.asarray(found.q)).sum(1, keepdims=True)
        if players > 1:
            value = np.asarray(model.every_view(value, np.asarray(to_play)))
        return found._replace(value=value)

    def judge(self, model: Any, observation: Array, to_play: Array) -> np.ndarray:
        """[B, P] values of the network alone, without a search, environment units."""
        return np.asarray(_initial(*split(self._copied(model, False)), observation, to_play).value)

    def network_alone(self, model: Any, observation: Array) -> Callable[[], None]:
        """A function that makes a search's inferences for [B, ...] observations, and nothing else; see `profile`."""
        if self.simulator is None:
            return partial(profile.inferences, self._copied(model, False), jnp.asarray(observation), self.simulations)
        rules, to_play = KnownRules(self.simulator, self._copied(model, False)), np.zeros(len(observation), np.int32)

        def judge() -> None:
            for _ in range(self.simulations):
                rules.judge(np.asarray(observation), to_play)

        return judge

    def plan(self, model: Any, observation: Array, legal: Array, to_play: Array, key: Array, **options: Any) -> Plan:
        """`search`, as the numpy arrays that a rollout and replay want."""
        found = self.search(model, observation, legal, to_play, key, **options)
        tree = found.tree if self.reuse_tree else None
        return Plan(np.asarray(found.action), np.asarray(found.policy), np.asarray(found.value), tree)


class Agent:
    """A model, the search it plans with, and the environment's facts. Greedy: no noise, no sampling.

    Attributes:
      model: the networks, an Equinox module.
      planner: the search.
      spec: the environment that it was trained for.
      env_steps: environment steps that it was trained for.
      max_steps: environment steps after which an evaluation cuts its episodes off.
    """

    def __init__(self, model: Model, planner: Planner, spec: EnvSpec, env_steps: int = 0, max_steps: int = 27_000):
        self.model, self.planner, self.spec, self.env_steps = model, planner, spec, env_steps
        self.max_steps = max_steps
        self._key = jax.random.key(0)

    def with_simulations(self, simulations: int) -> Agent:
        """The same agent with another number of simulations for each move.

        Raises:
          ConfigError: not a whole number of at least 1.
        """
        check_count("simulations", simulations)
        agent, planner = copy.copy(self), copy.copy(self.planner)
        planner.simulations, agent.planner = int(simulations), planner
        return agent

    @cached_property
    def simulator(self) -> Simulator:
        """The rules of the agent's game, whether it plans with them or not.

        Raises:
          EnvError: its environment is no game of OpenSpiel.
        """
        return self.planner.simulator or OpenSpielSimulator(self.spec.id)

    def search_states(self, states: Sequence[Any] | np.ndarray, previous: Tree | None = None) -> SearchResult:
        """The greedy search of many positions of a game at once, whichever model the agent plans with.

        Every other number of states compiles another program: fill a batch up with any unfinished state.

        Args:
          states: [B] states of the game, `pyspiel.State` of an OpenSpiel game; none of them over, none changed.
          previous: `tree` of the last search of these B games, for an agent that reuses trees.

        Returns:
          The search, leading axes B: `result.action` [B] are the moves.

        Raises:
          SearchError: a game is over.
        """
        now = self.simulator.look(states)
        return self.planner.search(
            self.model, now.observation, now.legal, now.to_play, self._key, states=now.state, previous=previous
        )

    def search(
        self,
        observation: Any,
        legal: Any = None,
        to_play: int = 0,
        state: Any = None,
        past: Sequence[int] | None = None,
        previous: Tree | None = None,
    ) -> SearchResult:
        """The greedy search at one observation; every array of the result has leading axis 1.

        Args:
          observation: as the environment gives it: an array of `spec.observation_shape`, or the index of a
            `Discrete` observation counted from 0.
          legal: [A] true where legal; all legal if left out.
          to_play: who moves.
          state: the game's own state, `TimeStep.state`; only an agent that plans with the game's rules needs it.
          past: all actions of the episode so far, 0..A-1, the oldest first; only an agent that was trained with
            network.past_actions needs them, beside an observation that does not hold them yet.
          previous: `tree` of the last search of this game, for an agent that reuses trees.

        Raises:
          EnvError: the observation has another shape or is no numbers, nobody has this number, `legal` is no mask, or
            past actions are missing.
          SearchError: the agent plans with the game's rules and `state` is missing.
        """
        batch = self._seen(observation, past)[None]
        if not 0 <= to_play < self.spec.players:
            raise EnvError(f"to_play: {to_play} is none of the players 0..{self.spec.players - 1} of {self.spec.id}")
        legal = np.ones(self.spec.num_actions, bool) if legal is None else np.asarray(legal)
        if not np.isin(legal, (0, 1)).all():
            raise EnvError(
                f"legal: holds {legal.max()}; give true or false for each of the {self.spec.num_actions} actions, not "
                "the numbers of those that are legal"
            )
        legal = legal.astype(bool)
        seats = np.array([to_play], np.int32)
        return self.planner.search(self.model, batch, legal[None], seats, self._key, states=[state], previous=previous)

    def act(
        self,
        observation: Any,
        legal: Any = None,
        to_play: int = 0,
        state: Any = None,
        past: Sequence[int] | None = None,
    ) -> int:
        """The greedy action, 0..A-1 (add the action space's `start` where it has one); arguments and errors as
        `search`."""
        return int(np.asarray(self.search(observation, legal, to_play, state, past).action)[0])

    def _seen(self, observation: Any, past: Sequence[int] | None) -> np.ndarray:
        """One observation as the network sees it."""
        spec, array = self.spec, np.asarray(observation)
        if spec.past_actions == 0 or array.size == np.prod(spec.observation_shape):
            return self._shown(array, spec.observation_shape)
        if past is None:
            raise EnvError(
                f"past: missing; this agent also sees its last {spec.past_actions} actions: "
                "pass past=actions, a list of all actions of the episode so far"
            )
        if not isinstance(past, Sequence | np.ndarray) or np.ndim(past) == 0:
            raise EnvError(
                f"past: {past!r} is no list of actions; pass all actions of the episode so far, [] at its start"
            )
        for i, action in enumerate(past):
            if not (isinstance(action, int | np.integer) and 0 <= action < spec.num_actions):
                raise EnvError(f"past: entry {i}, {action!r}, is no action; actions are 0..{spec.num_actions - 1}")
        last = one_hot_past(past, spec.past_actions, spec.num_actions)
        return np.concatenate([self._shown(array, (spec.observation_shape[0] - len(last),)), last])

    def _shown(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """What the environment itself shows, of this shape."""
        spec = self.spec
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise EnvError(f"observation: {str(array)[:60]} is not all finite numbers; {spec.id} shows nothing else")
        if spec.discrete_observation and array.ndim == 0:
            if not 0 <= int(array) < shape[0]:
                raise EnvError(f"observation: {array} is outside 0..{shape[0] - 1}, the states of {spec.id}")
            return np.eye(shape[0], dtype=np.float32)[int(array)]
        if array.size != np.prod(shape):
            raise EnvError(
                f"observation: shape {array.shape} does not fit {spec.id}, whose observations have shape {shape}"
            )
        return array.reshape(shape).astype(spec.observation_dtype)
