"""From networks to predictions: decoding, defaults, views of the players, and refusals of a user's own network."""

import copy
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.config import NetworkConfig
from muzen.errors import ConfigError
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import NetworkModel, check_network, make_network
from muzen.types import Model

KEY = jax.random.key(0)
VALUE = CategoricalEncoding(limit=100.0, bins=21)
REWARD = CategoricalEncoding(limit=3.0, bins=11)
OBSERVATION = jax.random.normal(KEY, (3, 4))
ACTION = jnp.array([0, 1, 1])


class Five(eqx.Module):
    """The five functions and nothing else: a state is what it was given, plus the action."""

    weight: jax.Array
    value_of: float = 0.0
    reward_of: float = 0.0

    def representation(self, observation):
        return observation[:, 0] * self.weight

    def dynamics(self, state, action):
        return state + action

    def reward(self, state):
        return jnp.log(REWARD.encode(jnp.full(state.shape, self.reward_of)) + 1e-20)

    def policy(self, state):
        return jnp.stack([state, -state], -1)

    def value(self, state):
        return jnp.log(VALUE.encode(jnp.full(state.shape, self.value_of)) + 1e-20)


class Facts(Five):
    """Every optional function."""

    def continues(self, state):
        return jnp.full(state.shape, jnp.log(3.0))

    def to_play(self, state):
        return jnp.stack([jnp.ones_like(state), jnp.zeros_like(state)], -1)

    def legal(self, state):
        return jnp.stack([jnp.where(state > 5, 1.0, -1.0), jnp.full(state.shape, -1.0)], -1)


def model(network=None, **keywords):
    defaults = {"gamma": 0.9, "num_actions": 2}
    return NetworkModel(Five(jnp.float32(1)) if network is None else network, VALUE, REWARD, **(defaults | keywords))


def built_in(players):
    net = make_network(NetworkConfig(width=8), (4,), 2, 21, 11, players, KEY)
    return model(net, players=players)


@pytest.mark.parametrize("players", [1, 2, 3])
def test_predictions_have_the_shapes_that_search_asks_for(players):
    m = built_in(players)
    assert isinstance(m, Model)
    root = m.initial(OBSERVATION)
    for prediction in (root, m.recurrent(root.state, ACTION)):
        assert prediction.reward.shape == prediction.value.shape == (3, players)
        assert prediction.discount.shape == prediction.to_play.shape == (3,)
        assert prediction.legal.shape == prediction.policy_logits.shape == (3, 2)
        assert prediction.to_play.dtype == jnp.int32
        assert prediction.legal.dtype == bool
    np.testing.assert_array_equal(root.reward, 0)


def test_defaults_fill_what_a_network_does_not_give():
    m = model()
    prediction = m.recurrent(m.initial(OBSERVATION).state, ACTION)
    np.testing.assert_allclose(prediction.discount, 0.9)
    assert prediction.legal.all()
    np.testing.assert_array_equal(prediction.to_play, 0)
    assert not m.learns_discount
    assert not m.learns_consistency


def test_value_and_reward_are_decoded_to_environment_units():
    m = model(Five(jnp.float32(1), value_of=-40.0, reward_of=2.5))
    prediction = m.recurrent(m.initial(OBSERVATION).state, ACTION)
    np.testing.assert_allclose(prediction.value, -40.0, rtol=1e-3)
    np.testing.assert_allclose(prediction.reward, 2.5, rtol=1e-3)


def test_a_predicted_end_scales_gamma():
    m = model(Facts(jnp.float32(1)))
    state = m.initial(OBSERVATION).state
    np.testing.assert_allclose(m.recurrent(state, ACTION).discount, 0.9 * 0.75)
    constant = model(Facts(jnp.float32(1)), learn_discount=False)
    np.testing.assert_allclose(constant.recurrent(state, ACTION).discount, 0.9)


def test_a_predicted_mask_never_denies_every_action():
    m = model(Facts(jnp.float32(1)))
    legal = m.initial(jnp.array([[9.0], [0.0]])).legal
    np.testing.assert_array_equal(legal, [[True, False], [True, True]])


def test_a_zero_sum_value_is_written_for_both_players():
    m = model(Five(jnp.float32(1), value_of=5.0), players=2)
    root = m.initial(OBSERVATION, to_play=jnp.array([0, 1, 1]))
    np.testing.assert_allclose(root.value, [[5, -5], [-5, 5], [-5, 5]], rtol=1e-3)


def test_a_zero_sum_reward_is_the_actors():
    m = model(Five(jnp.float32(1), reward_of=1.0), players=2)
    root = m.initial(OBSERVATION, to_play=jnp.array([0, 1, 1]))
    prediction = m.recurrent(root.state, ACTION)
    np.testing.assert_allclose(prediction.reward, [[1, -1], [-1, 1], [-1, 1]], rtol=1e-3)
    np.testing.assert_array_equal(prediction.to_play, [1, 0, 0])


def test_logits_asked_together_are_those_asked_alone():
    for m in (built_in(1), built_in(2), built_in(3), model(Facts(jnp.float32(1)))):
        state = m.represent(OBSERVATION)
        policy, value = m.prediction_logits(state)
        reward, continues = m.transition_logits(state)
        np.testing.assert_array_equal(policy, m.network.policy(state))
        np.testing.assert_array_equal(value, m.value_logits(state))
        np.testing.assert_array_equal(reward, m.reward_logits(state))
        np.testing.assert_array_equal(continues, m.network.continues(state))
    assert model().transition_logits(model().represent(OBSERVATION))[1] is None


def test_own_view_is_undone_by_every_view():
    value, player = jnp.array([[2.0, -2.0], [3.0, -3.0]]), jnp.array([0, 1])
    m = model(players=2)
    np.testing.assert_allclose(m.own_view(value, player), [[2.0], [-3.0]])
    np.testing.assert_allclose(m.every_view(m.own_view(value, player), player), value)
    unrolled = jnp.stack([value, -value], axis=1)
    assert m.own_view(unrolled, jnp.zeros((2, 2), int)).shape == (2, 2, 1)


@pytest.mark.parametrize("players", [1, 3])
def test_other_games_are_seen_as_they_are(players):
    x, m = jnp.ones((2, players)), built_in(players)
    assert m.own_view(x, jnp.zeros(2, int)) is x
    assert m.every_view(x, jnp.zeros(2, int)) is x


def test_three_players_take_turns():
    m = built_in(3)
    prediction = m.initial(OBSERVATION)
    turns = [0]
    for _ in range(4):
        prediction = m.recurrent(prediction.state, ACTION)
        turns.append(int(prediction.to_play[0]))
    assert turns == [0, 1, 2, 0, 1]


def test_a_network_may_say_who_moves():
    m = model(Facts(jnp.float32(1)), players=2)
    root = m.initial(OBSERVATION)
    np.testing.assert_array_equal(m.recurrent(root.state, ACTION).to_play, 0)


def test_observations_are_normalised_from_any_dtype():
    m = model(observation_mean=jnp.array([10.0, 0.0]), observation_std=jnp.array([2.0, 4.0]))
    np.testing.assert_allclose(m.normalise(np.array([[14, 8]], np.uint8)), [[2.0, 2.0]])


def test_gradients_of_the_normaliser_and_the_encodings_are_not_the_networks():
    assert jax.tree.leaves(eqx.filter(built_in(1).network, eqx.is_inexact_array))
    names = {p[0].name for p, _ in jax.tree_util.tree_leaves_with_path(built_in(1))}
    assert names >= {"network", "gamma", "observation_mean", "value_encoding"}


def test_a_model_passes_through_plain_jit_and_scan():
    m = built_in(1)
    root = jax.jit(lambda m, o: m.initial(o))(m, OBSERVATION)

    def body(state, action):
        return m.recurrent(state, action).state, action

    final, _ = jax.lax.scan(body, root.state, jnp.zeros((5, 3), jnp.int32))
    assert np.isfinite(final).all()


@dataclass
class Plain:
    """An encoding that is no pytree, and not even hashable."""

    bins: int = 5

    def encode(self, x):
        return jax.nn.one_hot(jnp.clip(jnp.round(x) + 2, 0, 4).astype(int), 5)

    def decode(self, logits):
        return (jax.nn.softmax(logits) * jnp.arange(-2.0, 3.0)).sum(-1)


class WithFunction(Five):
    """A network that holds a function, as eqx.nn.MLP does."""

    mlp: eqx.nn.MLP | None = None

    def value(self, state):
        return jax.vmap(self.mlp)(state[:, None])


def test_plain_encodings_and_functions_in_networks_pass_through_plain_jit():
    network = WithFunction(jnp.float32(1), mlp=eqx.nn.MLP(1, 5, 8, 1, key=KEY))
    m = NetworkModel(network, Plain(), REWARD, gamma=0.9, num_actions=2)
    check_network(m, (4,))
    root = jax.jit(lambda m, o: m.initial(o))(m, OBSERVATION)
    assert root.value.shape == (3, 1)
    assert m.value_encoding.bins == 5
    assert float(m.value_saturation(jnp.ones(3))) == 0.0
    assert copy.deepcopy(m).value_encoding.bins == 5


def test_value_saturation_is_the_encodings():
    assert float(model().value_saturation(jnp.array([0.0, 100.0]))) == 0.5


def test_check_network_accepts_the_built_in_and_the_smallest_network():
    for m in (built_in(1), built_in(2), built_in(3), model(), model(Facts(jnp.float32(1)), players=2)):
        check_network(m, (4,))


def wrong(**functions):
    """`Facts` with some functions replaced."""
    return type("Wrong", (Facts,), functions)(jnp.float32(1))


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"policy": lambda self, s: jnp.zeros((3, 5))}, r"network\.policy: shape \(3, 5\) .* must be \(3, 2\)"),
        ({"value": lambda self, s: jnp.zeros((3, 20))}, r"network\.value: shape \(3, 20\) .*\(3, 21\) or \(3, 1, 21\)"),
        ({"reward": lambda self, s: jnp.zeros(3)}, r"network\.reward: shape \(3,\)"),
        ({"continues": lambda self, s: jnp.zeros((3, 1))}, r"network\.continues: shape \(3, 1\) .* must be \(3,\)"),
        ({"dynamics": lambda self, s, a: s[:, None]}, r"network\.dynamics: .* must be like the state"),
        ({"representation": lambda self, o: o @ jnp.ones((9, 9))}, r"network\.representation: fails on a batch"),
        ({"prediction": lambda self, s: (s, s)}, r"network\.prediction: .* must be what policy and value return"),
        (
            {"reconstruct": lambda self, s: jnp.zeros((3, 5))},
            r"network\.reconstruct: shape \(3, 5\) .* must be \(3, 4\)",
        ),
        ({"project": lambda self, s: s, "predict": lambda self, s: s[:1]}, r"network\.predict: shape \(1,\)"),
    ],
)
def test_a_wrong_function_is_named_before_anything_runs(functions, message):
    with pytest.raises(ConfigError, match=message):
        check_network(model(wrong(**functions), players=2), (4,))


def test_a_missing_function_is_named():
    class Half(eqx.Module):
        def representation(self, observation):
            return observation

    with pytest.raises(ConfigError, match="Half lacks dynamics, reward, policy, value"):
        model(Half())


def test_a_network_without_visible_weights_is_refused():
    class NoPytree:
        representation = dynamics = reward = policy = value = None

    with pytest.raises(ConfigError, match=r"NoPytree has no weights .* equinox\.Module"):
        model(NoPytree())


def test_an_object_that_is_no_encoding_is_refused():
    with pytest.raises(ConfigError, match="reward_encoding: int lacks encode, decode, bins"):
        NetworkModel(Five(jnp.float32(1)), VALUE, 3, gamma=0.9, num_actions=2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ({"encode": lambda self, x: x}, r"value_encoding\.encode: shape \(3, 1\) .* must be \(3, 1, 5\)"),
        ({"decode": lambda self, x: x.nothing}, r"value_encoding\.decode: fails on shape \(3, 1, 5\)"),
    ],
)
def test_a_wrong_encoding_is_named_before_anything_runs(function, message):
    encoding = type("Wrong", (Plain,), function)()
    m = NetworkModel(Five(jnp.float32(1)), encoding, REWARD, gamma=0.9, num_actions=2)
    with pytest.raises(ConfigError, match=message):
        check_network(m, (4,))
