"""The learner's whole loss against a slow reference, its gradient against finite differences of that reference."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import learner_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_reference import ACTIONS, TERMS, Sequence, Tiny, as_jax, random_weights
from replay_reference import episode, filled, random_lanes, spec_of, starts_of

from muzen.config import LearnConfig
from muzen.learner import loss, sample
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import NetworkModel

LIMIT, BINS, LANES = 6.0, 7, 3
BASE = LearnConfig(
    batch_size=8,
    unroll_steps=3,
    n_step=4,
    discount=0.9,
    td_lambda=0.8,
    policy_weight=0.7,
    value_weight=0.3,
    reward_weight=1.1,
    discount_weight=0.9,
    consistency_weight=2.0,
    reconstruction_weight=0.6,
)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def model_of(weights, players, config=BASE):
    encoding = CategoricalEncoding(limit=LIMIT, bins=BINS)
    return NetworkModel(
        Tiny(as_jax(weights), views=1 if players < 3 else players),
        encoding,
        encoding,
        gamma=config.discount,
        num_actions=ACTIONS,
        players=players,
        learn_discount=config.learn_discount,
    )


def sampled(lanes, players, config, capacity=1000, **replay):
    """A batch, and the same sequences for the reference."""
    stored = filled(lanes, spec_of(players, ACTIONS), capacity * len(lanes), **replay)
    starts = np.array(starts_of(lanes, capacity))
    stored.update_priorities(starts, 0.1 + starts % 5)
    batch = jax.tree.map(lambda x: x[0], sample(stored, 1, config))
    named = zip(batch.index, batch.action, batch.weight, strict=True)
    return batch, [Sequence(lanes[i % len(lanes)], i // len(lanes), a, w) for i, a, w in named]


@eqx.filter_jit
def found(model, target, batch, config):
    return loss(model, target, batch, config)


CASES = {
    "one player": (1, BASE),
    "one player, short unroll, no ends, nothing reconstructed": (
        1,
        dataclasses.replace(BASE, unroll_steps=1, learn_discount=False, reconstruction_weight=0.0),
    ),
    "two players, nothing unrolled": (2, dataclasses.replace(BASE, unroll_steps=0)),
    "two players": (2, dataclasses.replace(BASE, unroll_steps=5)),
    "two players, target network": (2, dataclasses.replace(BASE, bootstrap="target")),
    "three players, no consistency": (3, dataclasses.replace(BASE, unroll_steps=2, consistency_weight=0.0)),
}


FIRST = ("one player", "three players, no consistency")
cases = pytest.mark.parametrize(
    "case", [case if case in FIRST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)


@cases
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 8),
    lam=st.sampled_from([0.0, 0.5, 1.0]),
    correct=st.booleans(),
    end=st.sampled_from([0.1, 0.5]),
    capacity=st.sampled_from([7, 1000]),
    alpha=st.sampled_from([0.0, 1.0]),
)
def test_the_loss_of_random_episodes_is_the_references(case, seed, n, lam, correct, end, capacity, alpha):
    players, config = CASES[case]
    data = dataclasses.replace(config, n_step=n, td_lambda=lam, correct_off_policy=correct)
    lanes = random_lanes(np.random.default_rng(seed), LANES, 25, players, ACTIONS, end=end)
    if not starts_of(lanes, capacity):
        return
    batch, sequences = sampled(lanes, players, data, capacity, priority_alpha=alpha)
    weights, target = (random_weights(seed + i, 1 if players < 3 else players, BINS) for i in (0, 1))
    total, facts = found(model_of(weights, players, config), model_of(target, players, config), batch, config)
    expected = reference.loss(weights, target, sequences, data, LIMIT, BINS)
    for name, value in expected.items():
        np.testing.assert_allclose(facts[f"{name}_loss"], value, rtol=1e-5, atol=1e-6, err_msg=name)
    weighted = sum(getattr(config, f"{name}_weight") * value for name, value in expected.items())
    np.testing.assert_allclose(total, weighted, rtol=1e-5, atol=1e-6)
    for name, value in reference.facts(weights, target, sequences, data, LIMIT).items():
        if value is not None:
            np.testing.assert_allclose(facts[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_random_episodes_hold_every_case_that_the_reference_is_there_for():
    """Terminated, truncated and open windows, episodes shorter than K, last steps, windows at the oldest row kept."""
    seen = set()
    for seed in range(10):
        lanes = random_lanes(np.random.default_rng(seed), LANES, 25, 2, ACTIONS, end=0.3)
        if not starts_of(lanes, 7):
            continue
        _, sequences = sampled(lanes, 2, BASE, capacity=7)
        for s in sequences:
            first = next((i for i in range(s.start, 0, -1) if s.lane[i - 1].final), 0)
            ended = s.lane[s.last].final
            seen.add("terminated" if s.terminated else "truncated" if ended else "open")
            seen.add("shorter than K" if ended and s.last - first < BASE.unroll_steps else "longer")
            seen.add("last step" if s.last == s.start + 1 else "earlier step")
            seen.add("begins before what is kept" if first < len(s.lane) - 7 else "all kept")
            players = [s.row(k).to_play for k in range(2)]
            seen.add("same player again" if players[0] == players[1] else "other player next")
    assert len(seen) == 11, seen


@cases
def test_every_gradient_is_that_of_finite_differences_with_each_entering_state_counted_half(case):
    players, config = CASES[case]
    lanes = random_lanes(np.random.default_rng(4), LANES, 25, players, ACTIONS, end=0.3)
    batch, sequences = sampled(lanes, players, config)
    weights, target = (random_weights(seed, 1 if players < 3 else players, BINS) for seed in (0, 1))

    def by_term(p):
        facts = loss(model_of(p, players, config), model_of(target, players, config), batch, config)[1]
        return jnp.stack([facts[f"{name}_loss"] for name in TERMS])

    gradients = jax.jit(jax.jacrev(by_term))(as_jax(weights))
    step = 1e-5
    for name, x in weights.items():
        slopes = np.zeros((len(TERMS), *x.shape))
        for place in np.ndindex(x.shape):
            sides = []
            for sign in (1, -1):
                moved = {**weights, name: x.copy()}
                moved[name][place] += sign * step
                sides.append(reference.loss(moved, target, sequences, config, LIMIT, BINS, fixed=weights))
            slopes[(slice(None), *place)] = [(sides[0][term] - sides[1][term]) / (2 * step) for term in TERMS]
        for i, term in enumerate(TERMS):
            np.testing.assert_allclose(gradients[name][i], slopes[i], atol=1e-6, err_msg=f"{term} by {name}")
            later = config.unroll_steps > 0 and (term == "reward" or getattr(config, f"{term}_weight") > 0)
            trained = term in ("policy", "value") or later
            assert not trained or term == "discount" or np.abs(gradients["represent"][i]).max() > 1e-3


def only(mask, k):
    """The mask with nothing but entry k left."""
    out = np.zeros_like(mask)
    out[:, k] = mask[:, k]
    return out


def isolated(batch, term, k):
    """A batch in which only step k is trained, and only on this term; its scale is then 1."""
    steps = only(batch.step_mask, k - 1) if k else np.zeros_like(batch.step_mask)
    masks = {
        "policy": "policy_mask",
        "value": "value_mask",
        "consistency": "observation_mask",
        "reconstruction": "observation_mask",
    }
    batch = batch._replace(step_mask=steps)
    if term in masks:
        batch = batch._replace(**{masks[term]: only(getattr(batch, masks[term]), k)})
    return batch


@pytest.mark.parametrize("term", TERMS)
def test_each_dynamics_step_halves_the_gradient_that_reaches_the_root(term):
    lanes = random_lanes(np.random.default_rng(4), LANES, 25, 1, ACTIONS, end=0.1)
    batch, _ = sampled(lanes, 1, BASE)
    # Observations are float32 to the network: these numbers, and these plus a step, are exact in it.
    step = 2.0**-14
    batch = batch._replace(observation=np.round(batch.observation / step) * step)
    direction = np.random.default_rng(1).choice([-1.0, 1.0], batch.observation[:, 0].shape).astype(np.float32)
    model = model_of(random_weights(0, 1, BINS), 1)

    @jax.jit
    def at(moved, batch):
        seen = batch.observation.at[:, 0].add(moved * direction)
        return loss(model, model, batch._replace(observation=seen), BASE)[1][f"{term}_loss"]

    slope = jax.jit(jax.grad(at))
    for k in range(0 if term in ("policy", "value") else 1, 4):
        alone = jax.tree.map(jnp.asarray, isolated(batch, term, k))
        measured = float(at(step, alone) - at(-step, alone)) / (2 * step)
        assert abs(measured) > 1e-3
        assert float(slope(0.0, alone)) / measured == pytest.approx(0.5**k, rel=1e-4)


def one_with_another_target(batch, term, k):
    """The batch with another target at step k of its only sequence, and by how much the encoded target moved."""
    encode = CategoricalEncoding(limit=LIMIT, bins=BINS).encode
    name = {"policy": "policy_target", "value": "partial_return", "reward": "reward", "discount": "continues"}[term]
    at = k if term in ("policy", "value") else k - 1
    target = getattr(batch, name).copy()
    target[0, at] = [0.2, 0.3, 0.5] if term == "policy" else 1.0 - target[0, at]
    changed = batch._replace(**{name: target})
    before, after = (x.value_target if term == "value" else getattr(x, name) for x in (batch, changed))
    moved = after[0, at] - before[0, at]
    if term in ("value", "reward"):
        moved = np.asarray(encode(after[0, at]) - encode(before[0, at]))[0]
    return changed, moved


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("term", ["policy", "value", "reward", "discount"])
def test_the_root_counts_once_and_each_unrolled_step_as_one_over_their_real_number(term, terminated):
    """Measured: how far the gradient of a head's bias moves when the target of one step does."""
    model = model_of(random_weights(0, 1, BINS), 1)
    bias = {"policy": "policy_bias", "value": "value_bias", "reward": "reward_bias", "discount": "continues_bias"}[term]

    @jax.jit
    def gradient(batch):
        def total(network):
            return loss(eqx.tree_at(lambda m: m.network, model, network), model, batch, BASE)[1][f"{term}_loss"]

        return jax.grad(total)(model.network).weights[bias]

    for length in (1, 2, 3, 9):
        lane = episode(length, terminated=terminated)
        for t, row in enumerate(lane[:-1]):
            row.policy, row.reward = np.array([0.5, 0.3, 0.2]), np.array([0.1 * t])
        config = dataclasses.replace(BASE, batch_size=1)
        batch, (sequence,) = sampled([lane], 1, config)
        happened = length - sequence.start
        real = BASE.unroll_steps if terminated else min(BASE.unroll_steps, happened)
        for k in range(0 if term in ("policy", "value") else 1, BASE.unroll_steps + 1):
            changed, moved = one_with_another_target(batch, term, k)
            answer = np.asarray(gradient(batch) - gradient(changed))
            trains = k <= happened if term in ("reward", "discount") else k < happened
            trains = trains or (terminated and term != "policy")
            scale = (1.0 if k == 0 else 1.0 / real) if trains else 0.0
            np.testing.assert_allclose(answer, scale * moved, atol=1e-6)
            assert np.abs(moved).max() > 0.05
