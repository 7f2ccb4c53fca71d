"""Batch in, gradient step, report out: the losses of MuZero composed from `maths`, and Optax around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from muzen import devices
from muzen.config import LearnConfig
from muzen.maths.losses import (
    binary_cross_entropy,
    cross_entropy,
    negative_cosine,
    scale_gradient,
    unrolled_loss_weights,
)
from muzen.maths.schedules import learning_rate
from muzen.networks import NetworkModel
from muzen.replay import Batch, Replay
from muzen.static import Static, split
from muzen.types import Array

# The gradient that enters the dynamics from the next step is halved, MuZero (arXiv:1911.08265) appendix G.
DYNAMICS_GRADIENT_SCALE = 0.5
# Keeps the logarithm and the quotient of reports finite.
_LOG_FLOOR = 1e-12


class LearnerState(NamedTuple):
    """Everything that a gradient step changes."""

    model: NetworkModel  # the weights that gradients move
    target: NetworkModel  # copied every `target_update` steps; value targets bootstrap from it
    average: NetworkModel  # averaged weights: they act, reanalyse and are evaluated
    optimizer: optax.OptState
    updates: Array  # [] int32 gradient steps so far


class Report(NamedTuple):
    """What one gradient step says of itself; every entry a scalar, or [B] for `priority`."""

    loss: Array
    value_loss: Array
    reward_loss: Array
    policy_loss: Array
    discount_loss: Array
    consistency_loss: Array
    reconstruction_loss: Array
    legal_loss: Array
    to_play_loss: Array
    gradient_norm: Array
    clipped: Array  # 1 where the gradient norm exceeded the limit
    policy_entropy: Array  # of the network at the root, as a share of log A
    target_entropy: Array  # of the policy target at the root, as a share of log A
    value_mean: Array  # of the network at the root, environment units
    value_target_mean: Array
    value_spread: Array  # of value targets at the root: 95th less 5th percentile, environment units
    value_saturation: Array  # share of value targets on the support's edge
    value_explained: Array  # 1 - Var(z - v) / Var(z) at the root
    priority: Array  # [B] |v - z| at the root, summed over players


def trainable(model: NetworkModel) -> Any:
    """A pytree of booleans: true on the network's own floating arrays (not on normaliser and supports)."""
    nothing = jax.tree.map(lambda _: False, model)
    network = jax.tree.map(eqx.is_inexact_array, model.network)
    return eqx.tree_at(lambda m: m.network, nothing, network)


def init_learner(model: NetworkModel, optimizer: optax.GradientTransformation) -> LearnerState:
    """State before the first gradient step: target and average are copies of the model."""
    parameters, _ = eqx.partition(model, trainable(model))
    model, target, average = (jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, model) for _ in range(3))
    return LearnerState(model, target, average, optimizer.init(parameters), jnp.zeros((), jnp.int32))


def sample(replay: Replay, count: int, config: LearnConfig) -> Batch:
    """`count` batches of windows as the settings ask for them; leading axes [count, B]."""
    return replay.sample(
        count,
        config.batch_size,
        unroll_steps=config.unroll_steps,
        n_step=config.n_step,
        discount=config.discount,
        td_lambda=config.td_lambda,
        correct_off_policy=config.correct_off_policy,
        bootstrap_observation=config.bootstrap == "target",
        ends=config.ends,
    )


def blank(replay: Replay, count: int, config: LearnConfig) -> Batch:
    """Batches with the shapes and types of `sample`'s, before there is anything to be sampled."""
    return replay.blank(
        count,
        config.batch_size,
        unroll_steps=config.unroll_steps,
        bootstrap_observation=config.bootstrap == "target",
    )


def value_target(batch: Any, target: NetworkModel, config: LearnConfig) -> Array:
    """z of every unrolled row: the n-step sum from replay plus the discounted bootstrap.

    z = Σ γ^i r + γ^n ν, ν the target network's value of the bootstrap row's observation, or the
    search value stored with that row (`config.bootstrap`).

    Returns: [B, K+1, P], environment units.
    """
    if config.bootstrap == "search":
        bootstrap = batch.bootstrap_value
    else:
        observation = batch.bootstrap_observation
        flat, to_play = observation.reshape((-1, *observation.shape[2:])), batch.bootstrap_to_play.reshape(-1)
        bootstrap = target.initial(flat, to_play).value.reshape(batch.partial_return.shape)
    return jax.lax.stop_gradient(batch.partial_return + batch.bootstrap_discount[..., None] * bootstrap)


def unroll(model: NetworkModel, observation: Array, action: Array) -> Array:
    """Hidden states of the root and K steps after it, stacked in axis 1: [B, K+1, ...].

    Only the copy of a state that enters the next dynamics call has its gradient halved; the copy that
    the heads read has not.
    """
    state = model.represent(observation)
    states = [state]
    for k in range(action.shape[1]):
        entering = jax.tree.map(lambda s: scale_gradient(s, DYNAMICS_GRADIENT_SCALE), state)
        state = model.network.dynamics(entering, action[:, k])
        states.append(state)
    return jax.tree.map(lambda *s: jnp.stack(s, axis=1), *states)


def _rows(tree: Any) -> Any:
    """[B, K, ...] -> [B K, ...] in every leaf."""
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), tree)


def loss(
    model: NetworkModel, target: NetworkModel, batch: Any, config: LearnConfig, mesh: Mesh | None = None
) -> tuple[Array, dict]:
    """l = Σ_k scale_k (l^policy + l^value + l^reward + l^end + l^consistency + ...), mean over the batch.

    scale is 1 at the root and 1/K after it; each sequence carries its importance weight.

    Args:
      batch: a `replay.Batch` without its leading count axis.
      mesh: of the program that this is part of, where `batch` is one device's.

    Returns:
      The loss [] and the entries of `Report` that it knows; losses and entropies of this batch alone, values and
      priorities of all devices'.

    Source: MuZero, arXiv:1911.08265, section 3 and appendix G; consistency: EfficientZero, arXiv:2111.00210.
    """
    size, unrolled = batch.action.shape
    states = unroll(model, batch.observation[:, 0], batch.action)
    flat = _rows(states)

    def per_row(x: Array) -> Array:
        return x.reshape((size, unrolled + 1, *x.shape[1:]))

    policy_logits, value_logits = map(per_row, model.prediction_logits(flat))
    z = value_target(batch, target, config)
    z_own = model.own_view(z, batch.to_play)
    scale = unrolled_loss_weights(jnp.concatenate([jnp.ones_like(batch.step_mask[:, :1]), batch.step_mask], axis=1))

    policy_loss = cross_entropy(batch.policy_target, policy_logits) * batch.policy_mask
    value_mask = batch.value_mask & (batch.bootstrap_mask | (config.bootstrap == "target"))
    value_loss = cross_entropy(model.value_encoding.encode(z_own), value_logits).sum(-1) * value_mask

    legal_loss, to_play_loss = jnp.zeros_like(policy_loss), jnp.zeros_like(policy_loss)
    if model.learns_legal:
        legal_logits = per_row(model.network.legal(flat))
        legal_loss = binary_cross_entropy(legal_logits, batch.legal).mean(-1) * batch.policy_mask
    if model.learns_to_play:
        mover = jax.nn.one_hot(batch.to_play, model.players)
        to_play_loss = cross_entropy(mover, per_row(model.network.to_play(flat))) * batch.policy_mask

    root = {"policy": policy_loss, "value": value_loss, "legal": legal_loss, "to_play": to_play_loss}
    later = _transition_losses(model, states, batch, config)
    terms = {name: ((x * scale).sum(1) * batch.weight).mean() for name, x in root.items()}
    terms |= {name: ((x * scale[:, 1:]).sum(1) * batch.weight).mean() for name, x in later.items()}
    weights = {
        "policy": config.policy_weight,
        "value": config.value_weight,
        "reward": config.reward_weight,
        "discount": config.discount_weight,
        "consistency": config.consistency_weight,
        "reconstruction": config.reconstruction_weight,
        "legal": config.legal_weight,
        "to_play": config.to_play_weight,
    }
    total = sum((weights[name] * term for name, term in terms.items()), jnp.zeros(()))

    roots = model.value_encoding.decode(value_logits)[:, 0], z_own[:, 0], value_mask[:, :1]
    value, z_root, known = devices.whole(roots, mesh)
    z_root = jnp.where(known, z_root, jnp.nan)  # what nobody knows yet is no target, and nothing is far from it
    error = jnp.abs(value - z_root)
    facts = {f"{name}_loss": term for name, term in terms.items()}
    facts["policy_entropy"] = _entropy_share(jax.nn.softmax(policy_logits[:, 0]))
    facts["target_entropy"] = _entropy_share(batch.policy_target[:, 0])
    facts["value_mean"] = value.mean()
    facts["value_target_mean"] = _of_known(jnp.nanmean, z_root)
    facts["value_spread"] = _of_known(_spread, z_root)
    facts["value_saturation"] = model.value_saturation(jnp.where(value_mask[..., None], z_own, 0))
    facts["value_explained"] = _of_known(
        lambda z: 1 - jnp.nanvar(value - z) / jnp.maximum(jnp.nanvar(z), _LOG_FLOOR), z_root
    )
    # Of an unknown target: as much as of the others on average, so that it is neither chased nor forgotten.
    priority = error.sum(-1)
    facts["priority"] = jnp.where(known[:, 0], priority, _of_known(jnp.nanmean, priority))
    return total, facts


def _spread(z: Array) -> Array:
    """From the 5th to the 95th percentile of [B, P], of the player for whom that is most."""
    return jnp.diff(jnp.nanquantile(z, jnp.array([0.05, 0.95]), axis=0), axis=0).max()


def _of_known(fact: Callable[[Array], Array], z: Array) -> Array:
    """A fact of the entries that are not NaN; 0 where all are."""
    return jnp.where(jnp.isnan(z).all(), 0.0, fact(z))


def _transition_losses(model: NetworkModel, states: Any, batch: Any, config: LearnConfig) -> dict[str, Array]:
    """[B, K] losses of what led to each unrolled state: reward, end, and two of the real observation: that its own
    state is alike, and what it is, each cell's cross entropy summed over its planes."""
    size, unrolled = batch.action.shape
    nothing: Array = jnp.zeros((size, unrolled))
    losses: dict[str, Array] = {
        "reward": nothing,
        "discount": nothing,
        "consistency": nothing,
        "reconstruction": nothing,
    }
    if unrolled == 0:
        return losses
    after = _rows(jax.tree.map(lambda s: s[:, 1:], states))
    reward_logits, continues = model.transition_logits(after)
    reward_logits = reward_logits.reshape((size, unrolled, *reward_logits.shape[1:]))
    reward_own = model.own_view(batch.reward, batch.to_play[:, :-1])
    of_reward = cross_entropy(model.reward_encoding.encode(reward_own), reward_logits).sum(-1)
    losses["reward"] = of_reward * batch.step_mask
    if continues is not None:
        of_end = binary_cross_entropy(continues.reshape(size, unrolled), batch.continues)
        losses["discount"] = of_end * batch.step_mask
    if config.consistency_weight > 0 and model.learns_consistency:
        real = jax.lax.stop_gradient(model.network.project(model.represent(_rows(batch.observation[:, 1:]))))
        predicted = model.network.predict(model.network.project(after))
        difference = negative_cosine(predicted, real).reshape(size, unrolled)
        losses["consistency"] = difference * batch.observation_mask[:, 1:]
    if config.reconstruction_weight > 0 and model.learns_reconstruction:
        seen = jnp.clip(_rows(batch.observation[:, 1:]).astype(jnp.float32), 0.0, 1.0)
        each = binary_cross_entropy(model.network.reconstruct(after), seen).sum(1)
        of_cells = each.reshape(size, unrolled, -1).mean(-1)
        losses["reconstruction"] = of_cells * batch.observation_mask[:, 1:]
    return losses


def _entropy_share(policy: Array) -> Array:
    """Mean entropy of [B, A] distributions as a share of log A."""
    entropy = -(policy * jnp.log(jnp.maximum(policy, _LOG_FLOOR))).sum(-1)
    return entropy.mean() / jnp.log(max(policy.shape[-1], 2))


# Mean and deviation of observations, float32 of their shape.
Scale = tuple[Any, Any]


class Learn:
    """What `make_learn` makes: `learn(state, batches, scale) -> (state, Report)`."""

    def __init__(self, program: Any, total_updates: int, mesh: Mesh | None):
        self._program, self._mesh = program, mesh
        self._compiled: Any = None
        self._last: tuple[Any, Any] = None, None  # the state that the last call gave, and it split
        self._planned = devices.everywhere(jnp.int32(total_updates), mesh)

    def __call__(self, state: LearnerState, batches: Any, scale: Scale | None = None) -> tuple[LearnerState, Report]:
        static, arrays = self._last[1] if self._last[0] is state else split(state)
        program = self._compiled or partial(self._program, static)
        arrays, report = program(arrays, *self._placed(batches, scale), self._planned)
        state = static.join(arrays)
        self._last = state, (static, arrays)
        return state, report

    def compile(self, state: LearnerState, batches: Any, scale: Scale | None = None) -> None:
        """Compile it for arguments of these shapes, which every later call must have; in any thread."""
        static, arrays = split(devices.everywhere(state, self._mesh))
        lowered = self._program.lower(static, arrays, *self._placed(batches, scale), self._planned)
        self._compiled = lowered.compile()

    def _placed(self, batches: Any, scale: Scale | None) -> tuple[Any, Any]:
        return devices.divided(batches, self._mesh, axis=1), devices.everywhere(scale, self._mesh)


def make_learn(
    config: LearnConfig, optimizer: optax.GradientTransformation, total_updates: int, mesh: Mesh | None = None
) -> Learn:
    """`learn(state, batches, scale) -> (state, Report)`: one gradient step per entry of the batches' leading axis, in
    one XLA program, the same for every `total_updates`. Every entry of the report keeps that leading axis. Where there
    is a `scale`, the state's three models see observations by it from then on.

    Args:
      config: losses, learning rate, averages.
      optimizer: of `make_optimizer`.
      total_updates: gradient steps of the whole run, which the learning rate is spread over.
      mesh: devices that each batch is divided over; every one takes the whole step with the mean gradient.
    """

    def step(state: LearnerState, batch: Any, planned: Array) -> tuple[LearnerState, Report]:
        parameters, rest = eqx.partition(state.model, trainable(state.model))

        def objective(p: Any) -> tuple[Array, dict]:
            return loss(eqx.combine(p, rest), state.target, batch, config, mesh)

        answer = jax.value_and_grad(objective, has_aux=True)(parameters)
        priority = answer[0][1].pop("priority")
        (total, facts), gradient = devices.mean(answer, mesh)
        norm = optax.tree.norm(gradient)
        change, optimizer_state = optimizer.update(gradient, state.optimizer, parameters)
        rate = learning_rate(config, state.updates, planned)
        change = jax.tree.map(lambda c: rate * c, change)
        model = eqx.combine(optax.apply_updates(parameters, change), rest)
        updates = state.updates + 1
        copy = updates % config.target_update == 0
        target = _where(copy, model, state.target)
        average = _average(model, state.average, updates, config.average_decay)
        clipped = (norm > config.clip_norm).astype(jnp.float32)
        report = Report(loss=total, gradient_norm=norm, clipped=clipped, priority=priority, **facts)
        return LearnerState(cast(NetworkModel, model), target, average, optimizer_state, updates), report

    @partial(jax.jit, static_argnums=0)
    def learn(static: Static, arrays: Any, batches: Any, scale: Scale | None, planned: Array) -> tuple[Any, Report]:
        if scale is not None:
            arrays = split(_seen_by(static.join(arrays), scale))[1]

        def body(carry: Any, batch: Any) -> tuple[Any, Report]:
            new, report = step(static.join(carry), batch, planned)
            return split(new)[1], report

        steps = partial(jax.lax.scan, body)
        if mesh is not None:
            alike, parts = PartitionSpec(), PartitionSpec(None, devices.AXIS)
            steps = jax.shard_map(steps, mesh=mesh, in_specs=(alike, parts), out_specs=alike, check_vma=False)
        return steps(arrays, batches)

    return Learn(learn, total_updates, mesh)


def _seen_by(state: LearnerState, scale: Scale) -> LearnerState:
    """The state with observations normalised by this mean and deviation in all of its models."""

    def into(model: NetworkModel) -> NetworkModel:
        return eqx.tree_at(lambda m: (m.observation_mean, m.observation_std), model, scale)

    return state._replace(model=into(state.model), target=into(state.target), average=into(state.average))


def _where(condition: Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b) if eqx.is_array(a) else a, chosen, other)


def _average(model: Any, average: Any, updates: Array, decay: float) -> Any:
    """Exponential average of the weights; the first steps weigh as a plain mean, so that the start is forgotten."""
    if decay == 0.0:
        return model
    d = jnp.minimum(decay, updates / (updates + 10.0))
    return jax.tree.map(lambda a, b: (1 - d) * a + d * b if eqx.is_inexact_array(a) else a, model, average)
