"""The optimiser: what decays, what Muon does to a matrix, and that matrices computed together stay apart."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers, muon

from muzen.config import LearnConfig
from muzen.optimizer import ADAM_EPSILON, make_optimizer

RANDOM = np.random.default_rng(0)
SHAPES = {"convolution": (3, 3, 4, 8), "linear": (5, 16), "another": (5, 16), "bias": (2,), "scale": (3,), "one": ()}
TREES = {
    "all kinds": {name: jnp.asarray(RANDOM.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()},
    "no matrices": [jnp.ones(3), jnp.ones(())],
    "no vectors": (jnp.eye(4), None, jnp.ones((4, 4))),
}


@pytest.mark.parametrize("name", ["muon", "adam", "sgd"])
def test_weight_decay_moves_matrices_and_nothing_else(name):
    parameters, moved = TREES["all kinds"], []
    for decay in (0.0, 0.5):
        rule = make_optimizer(LearnConfig(optimizer=name, weight_decay=decay))
        change, _ = rule.update(jax.tree.map(jnp.zeros_like, parameters), rule.init(parameters), parameters)
        moved.append(change)
    for name, x in parameters.items():
        assert not np.any(moved[0][name])
        assert np.any(moved[1][name]) == (x.ndim >= 2), name


def test_muon_moves_a_matrix_along_its_gradients_orthogonal_factor_and_what_is_none_as_adam_does():
    random = np.random.default_rng(0)
    gradient = {"convolution": random.normal(size=(3, 3, 4, 8)), "linear": random.normal(size=(5, 16))}
    # Of one shape, and no two like each other: what is computed together stays apart.
    gradient |= {"another": random.normal(size=(5, 16)), "bias": np.array([0.3, -2.0]), "scale": np.array([-0.1, 1, 2])}
    gradient = {name: x.astype(np.float32) for name, x in gradient.items()}
    parameters = jax.tree.map(np.zeros_like, gradient)
    rule = make_optimizer(LearnConfig(optimizer="muon", clip_norm=1e6, weight_decay=0.0))
    change, _ = jax.jit(lambda p, g: rule.update(g, rule.init(p), p))(parameters, gradient)
    first = 1 + 0.9 * (1 - 0.9) / (1 - 0.9**2)  # Adam's first step, the momentum after it already counted in
    np.testing.assert_allclose(change["bias"], [-first, first], rtol=1e-3)
    np.testing.assert_allclose(change["scale"], [first, -first, -first], rtol=1e-3)
    for name, inputs, outputs in (("convolution", 36, 8), ("linear", 5, 16), ("another", 5, 16)):
        left, _, right = np.linalg.svd(gradient[name].reshape(inputs, outputs), full_matrices=False)
        along = left.T @ -np.asarray(change[name]).reshape(inputs, outputs) @ right.T / math.sqrt(max(inputs, outputs))
        factors = np.diag(along)
        assert factors.min() > 0.6 and factors.max() < 1.25  # Newton–Schulz stops near 1
        np.testing.assert_allclose(along - np.diag(factors), 0, atol=1e-3)
        assert np.sqrt(np.mean(np.square(change[name]))) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("tree", TREES)
def test_what_muon_computes_together_is_what_it_computes_one_by_one(tree):
    def dimensions(x):
        return MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1) if x.ndim >= 2 else None

    config = LearnConfig(optimizer="muon", weight_decay=0.1)
    alone = muon(
        1.0,
        eps=ADAM_EPSILON,
        weight_decay=0.1,
        adam_learning_rate=1.0,
        muon_weight_dimension_numbers=lambda parameters: jax.tree.map(dimensions, parameters),
        consistent_rms=1.0,
    )
    rules = make_optimizer(config), optax.chain(optax.clip_by_global_norm(config.clip_norm), alone)
    ends, random = [], np.random.default_rng(1)
    gradients = [jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), x.dtype), TREES[tree]) for _ in "123"]
    for rule in rules:
        parameters, state = TREES[tree], rule.init(TREES[tree])
        for gradient in gradients:
            change, state = rule.update(gradient, state, parameters)
            parameters = optax.apply_updates(parameters, jax.tree.map(lambda x: 0.1 * x, change))
        ends.append(parameters)
    assert jax.tree.structure(ends[0]) == jax.tree.structure(ends[1])
    for x, y in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
