"""docs/custom_network.md is true: its blocks run one after the other, and what it builds learns and searches."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.maths.losses import cross_entropy
from muzen.types import EnvSpec, Model

PAGE = Path(__file__).parents[2] / "docs" / "custom_network.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
# The same code with budgets that a test can afford.
SMALLER = "env_steps=300, evaluate__episodes=2, act__random_steps=100, learn__samples_per_step=16.0"


def run(blocks):
    names = {"__name__": "custom_network"}
    for number, block in blocks:
        code = re.sub(r"env_steps=[\d_]+", SMALLER, block)
        exec(compile(code, f"{PAGE.name}, Python block {number}", "exec"), names)
    return names


@pytest.fixture(scope="module")
def names():
    """What the page defines, without training anything."""
    return run((i, block) for i, block in enumerate(BLOCKS, 1) if "muzen.train" not in block)


@pytest.mark.slow
def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    defined = run(enumerate(BLOCKS, 1))
    assert isinstance(defined["agent"].act(np.zeros(4, np.float32)), int)


def test_the_pages_model_is_one_that_search_asks(names):
    assert isinstance(names["model"], Model)


def test_the_pages_network_can_be_trained_through_its_encoding(names):
    model, target = names["model"], jnp.linspace(-50.0, 50.0, 16)
    observation = jax.random.normal(jax.random.key(0), (16, 4))

    @eqx.filter_jit
    def step(network):
        def loss(network):
            state = network.representation(observation)
            return cross_entropy(model.value_encoding.encode(target), network.value(state)).mean()

        value, gradient = eqx.filter_value_and_grad(loss)(network)
        return eqx.apply_updates(network, jax.tree.map(lambda g: -0.3 * g, gradient)), value

    network, first = step(model.network)
    for _ in range(300):
        network, last = step(network)
    assert last < 0.5 * first


def test_the_pages_encoding_is_clipped_and_sums_to_one(names):
    probabilities = names["Signs"]().encode(jnp.array([-9.0, -1.0, 0.25, 1.0, 9.0]))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0)
    np.testing.assert_allclose(probabilities[2], [0, 0.75, 0.25])


def test_the_refusal_that_the_page_quotes_is_the_one_given(names):
    from muzen.errors import ConfigError
    from muzen.maths import CategoricalEncoding
    from muzen.networks import NetworkModel, check_network

    spec = EnvSpec("mine", (4,), "float32", 2)
    network = names["TwoStreams"](spec, jax.random.key(0), bins=100)
    encoding = CategoricalEncoding(limit=1.0, bins=41)
    model = NetworkModel(network, encoding, encoding, gamma=0.99, num_actions=2)
    with pytest.raises(ConfigError) as refusal:
        check_network(model, (4,))
    assert f"`ConfigError: {refusal.value}`" in PAGE.read_text(encoding="utf-8").replace("\n", " ")
