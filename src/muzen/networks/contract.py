"""What Muzen asks of a user's own network and encoding, and the checks that say what is wrong with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp

from muzen.errors import ConfigError
from muzen.maths.supports import Encoding
from muzen.types import Array, State

if TYPE_CHECKING:
    from muzen.networks.model import NetworkModel

FUNCTIONS = ("representation", "dynamics", "reward", "policy", "value")


@runtime_checkable
class Network(Protocol):
    """A user's own network: five functions on batches. A state is any pytree with leading axis B.

    Optional methods, used where they exist and are not None:
      continues(state) -> [B] logit that the step that led here did not terminate the episode.
      project(state) -> [B, D], predict(projected) -> [B, D]: for the consistency loss.
      to_play(state) -> [B, P] logits of who moves; otherwise players alternate.
      legal(state) -> [B, A] logits, above 0 where an action is legal; otherwise all are.
      reconstruct(state) -> [B, ...] logits of the observation's entries: for the reconstruction loss, a sum
        over axis 1 (planes) and a mean over the others (cells).
      prediction(state) -> what policy and value return, as a pair: faster where they share layers.
      transition(state) -> what reward and continues return, as a pair: faster where they share layers.
    """

    def representation(self, observation: Array) -> State:
        """h: [B, ...] observations -> states."""
        ...

    def dynamics(self, state: State, action: Array) -> State:
        """g: states and [B] int32 actions -> next states."""
        ...

    def reward(self, state: State) -> Array:
        """[B, bins], or [B, P, bins]: logits of the reward of the step that led to the state."""
        ...

    def policy(self, state: State) -> Array:
        """[B, A] logits."""
        ...

    def value(self, state: State) -> Array:
        """[B, bins], or [B, P, bins] logits."""
        ...


def has(network: Any, name: str) -> bool:
    """True if the network has this optional method; None says that it has not."""
    return getattr(network, name, None) is not None


def require_network(network: Any) -> None:
    """Refuse what is not a network that can be trained.

    Raises:
      ConfigError: a function is missing, or JAX can see no weights.
    """
    name = type(network).__name__
    if lacking := [function for function in FUNCTIONS if not hasattr(network, function)]:
        raise ConfigError(
            f"network: {name} lacks {', '.join(lacking)}; a network has the five functions {', '.join(FUNCTIONS)} "
            "(docs/custom_network.md)"
        )
    if not any(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(network)):
        raise ConfigError(
            f"network: {name} has no weights that JAX can see; make it an equinox.Module (docs/custom_network.md)"
        )


def require_encoding(field: str, encoding: Any) -> None:
    """Refuse what has not `encode`, `decode` and `bins`.

    Raises:
      ConfigError: one of them is missing.
    """
    if lacking := [name for name in ("encode", "decode", "bins") if not hasattr(encoding, name)]:
        raise ConfigError(
            f"{field}: {type(encoding).__name__} lacks {', '.join(lacking)}; an encoding has encode(x), "
            "decode(logits) and bins (docs/custom_network.md)"
        )


def check_encoding(field: str, encoding: Encoding) -> None:
    """Ask an encoding for its shapes, without computing anything.

    Raises:
      ConfigError: `encode` or `decode` fails, or returns another shape than its contract.
    """
    size = 3

    def ask(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        try:
            got = eqx.filter_eval_shape(getattr(encoding, name), x).shape
        except Exception as error:
            raise ConfigError(f"{field}.{name}: fails on shape {shape}: {error}") from error
        if got != wanted:
            raise ConfigError(f"{field}.{name}: shape {got} for shape {shape}; must be {wanted}")

    ask("encode", (size, 1), (size, 1, encoding.bins))
    ask("decode", (size, 1, encoding.bins), (size, 1))


def check_network(model: NetworkModel, observation_shape: tuple[int, ...]) -> None:
    """Ask every function of a network and its encodings for shapes, without computing anything.

    Args:
      model: the model that holds the network and its encodings.
      observation_shape: shape of one observation.

    Raises:
      ConfigError: a function fails on a batch, or returns another shape than its contract.
    """
    size = 3
    network = model.network
    check_encoding("value_encoding", model.value_encoding)
    check_encoding("reward_encoding", model.reward_encoding)

    def ask(name: str, *args: Any) -> Any:
        try:
            return eqx.filter_eval_shape(getattr(network, name), *args)
        except Exception as error:
            shapes = jax.tree.map(lambda x: x.shape, args)
            raise ConfigError(f"network.{name}: fails on a batch of shapes {shapes}: {error}") from error

    def expect(name: str, got: Any, *allowed: tuple[int, ...]) -> None:
        if getattr(got, "shape", None) not in allowed:
            rule = " or ".join(str(shape) for shape in allowed)
            shape = getattr(got, "shape", jax.tree.map(lambda x: x.shape, got))
            raise ConfigError(f"network.{name}: shape {shape} for a batch of {size}; must be {rule}")

    def numbers(bins: int) -> tuple[tuple[int, ...], ...]:
        per_player = (size, model.players, bins)
        one = model.players == 1 or model.zero_sum
        return ((size, bins), (size, 1, bins)) if one else (per_player,)

    observation = jax.ShapeDtypeStruct((size, *observation_shape), jnp.float32)
    action = jax.ShapeDtypeStruct((size,), jnp.int32)
    state = ask("representation", observation)
    following = ask("dynamics", state, action)
    if jax.tree.map(lambda x: (x.shape, x.dtype), state) != jax.tree.map(lambda x: (x.shape, x.dtype), following):
        raise ConfigError(f"network.dynamics: returns {following}; must be like the state it takes, {state}")
    expect("policy", ask("policy", state), (size, model.num_actions))
    expect("value", ask("value", state), *numbers(model.value_encoding.bins))
    expect("reward", ask("reward", state), *numbers(model.reward_encoding.bins))
    for name, shape in (
        ("continues", (size,)),
        ("to_play", (size, model.players)),
        ("legal", (size, model.num_actions)),
    ):
        if has(network, name) and (name != "to_play" or model.players > 1):
            expect(name, ask(name, state), shape)
    for name, parts in (("prediction", ("policy", "value")), ("transition", ("reward", "continues"))):
        if has(network, name):
            got, wanted = ask(name, state), tuple(ask(part, state) for part in parts)
            if jax.tree.map(lambda x: x.shape, got) != jax.tree.map(lambda x: x.shape, wanted):
                raise ConfigError(f"network.{name}: returns {got}; must be what {' and '.join(parts)} return, {wanted}")
    if model.learns_reconstruction:
        expect("reconstruct", ask("reconstruct", state), (size, *observation_shape))
    if model.learns_consistency:
        projected = ask("project", state)
        expect("predict", ask("predict", projected), projected.shape)


class _ById:
    """Hashable by identity, whatever the object's own equality."""

    def __init__(self, object: Any):
        self.object = object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.object is self.object

    def __hash__(self) -> int:
        return id(self.object)


class _Opaque(eqx.Module):
    """A user's plain object or function in a pytree: no leaves, and the object's own attributes."""

    hidden: _ById = eqx.field(static=True)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.hidden.object(*args, **keywords)

    def __getattr__(self, name: str) -> Any:
        # Only reached for what the module lacks; `hidden` itself is missing while a copy is being made.
        if name.startswith("__") or name == "hidden":
            raise AttributeError(name)
        return getattr(self.hidden.object, name)


def traceable(tree: Any) -> Any:
    """`tree` with its callables and plain objects hidden from JAX, so that it passes through `jax.jit` as it is."""

    def hide(leaf: Any) -> Any:
        return leaf if eqx.is_array_like(leaf) else _Opaque(_ById(leaf))

    return jax.tree.map(hide, tree)
