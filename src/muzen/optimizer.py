"""The optimiser: which way a gradient moves the weights. How far is the schedule's, in `learner.make_learn`."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from muzen.config import LearnConfig
from muzen.types import Array

# Larger than Adam's usual 1e-8: weights whose gradients are rare and small, such as those of episodes' ends, move less
# by chance.
ADAM_EPSILON = 1e-5


def make_optimizer(config: LearnConfig) -> optax.GradientTransformation:
    """Clipping, then Adam or Muon with decoupled weight decay, or SGD with momentum 0.9 and L2; on matrices only.

    All at a learning rate of 1: `make_learn` scales what comes out.

    Muon (Jordan 2024; scaled by shape as in Liu et al., arXiv:2502.16982) moves a matrix along its gradient's
    orthogonal factor; a convolution's is [size size inputs, outputs]. What has one axis is Adam's. Both have Nesterov's
    momentum. A matrix's step has the learning rate as its root mean square, whatever its gradient's size: some four
    times what Adam's has where gradients are noise.

    Departures: weight decay leaves biases and norms alone, as AdamW recipes do; MuZero's paper does not say. Heads
    and embeddings are Muon's too, which its authors leave to Adam.
    """

    def matrices(parameters: Any) -> Any:
        return jax.tree.map(lambda x: x.ndim >= 2, parameters)

    if config.optimizer == "muon":
        rule = _together(
            muon(
                1.0,
                eps=ADAM_EPSILON,
                weight_decay=config.weight_decay,
                adam_learning_rate=1.0,
                muon_weight_dimension_numbers=_as_matrices,
                consistent_rms=1.0,
            )
        )
    elif config.optimizer == "adam":
        rule = optax.adamw(1.0, eps=ADAM_EPSILON, weight_decay=config.weight_decay, mask=matrices)
    else:
        decay = optax.add_decayed_weights(config.weight_decay, mask=matrices)
        rule = optax.chain(decay, optax.sgd(1.0, momentum=0.9))
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)


def _shape(x: Array) -> str:
    """Name of a matrix's shape; empty for what is none."""
    return "x".join(map(str, x.shape)) if x.ndim >= 2 else ""


def _by_shape(tree: Any) -> dict[str, Array]:
    """All arrays of one shape as one, in a new first axis: [n, ...]; what has one axis or none end to end, [n]."""
    groups: dict[str, list[Array]] = {}
    for x in jax.tree.leaves(tree):
        groups.setdefault(_shape(x), []).append(x)
    return {
        shape: jnp.stack(group) if shape else jnp.concatenate([jnp.ravel(x) for x in group])
        for shape, group in groups.items()
    }


def _apart(groups: dict[str, Array], like: Any) -> Any:
    """The tree that `_by_shape` made these groups of, its arrays shaped like those of `like`."""
    taken = dict.fromkeys(groups, 0)

    def take(x: Array) -> Array:
        shape = _shape(x)
        begin, size = taken[shape], 1 if shape else x.size
        taken[shape] += size
        return groups[shape][begin : begin + size].reshape(x.shape)

    return jax.tree.map(take, like)


def _as_matrices(groups: Any) -> Any:
    """All axes between the first, which counts matrices, and the last are a matrix's inputs; None: there are none."""
    return {
        shape: MuonDimensionNumbers(tuple(range(1, x.ndim - 1)), x.ndim - 1) if shape else None
        for shape, x in groups.items()
    }


def _together(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """`rule` on `_by_shape` of what it is given, the same in fewer and larger operations."""

    def init(params: Any) -> optax.OptState:
        return rule.init(_by_shape(params))

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        grouped = None if params is None else _by_shape(params)
        changes, state = rule.update(_by_shape(updates), state, grouped)
        return _apart(cast(dict[str, Array], changes), updates), state

    return optax.GradientTransformation(init, update)
