"""The agent and its planner: greedy, within what the environment allows, search values and not the network's."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from muzen import agent as agent_module
from muzen.agent import Agent, Planner
from muzen.errors import ConfigError, EnvError
from muzen.search import Gumbel
from muzen.types import EnvSpec, Prediction, SearchResult

SPEC = EnvSpec("test", (2,), "float32", 3, always_legal=False)
LEGAL = np.array([True, False, True])


class Hundred:
    """A model to which every state is worth 100 and every action the same."""

    def initial(self, observation, to_play=None):
        size = len(observation)
        zeros = np.zeros((size, 3), np.float32)
        return Prediction(
            reward=zeros[:, :1],
            discount=zeros[:, 0],
            to_play=zeros[:, 0].astype(np.int32),
            legal=zeros == 0,
            value=zeros[:, :1] + 100,
            policy_logits=zeros,
            state=observation,
        )


class Asked:
    """In the place of `search`: remembers what it was asked, and always answers the same."""

    def __call__(self, model, root, key, **options):
        self.root, self.options = root, options
        policy, q = np.array([[0.25, 0.0, 0.75]], np.float32), np.array([[4.0, 9.0, 8.0]], np.float32)
        return SearchResult(np.array([2], np.int32), policy, np.array([[5.0]], np.float32), policy > 0, q, None)


@pytest.fixture
def asked(monkeypatch):
    search = Asked()
    monkeypatch.setattr(agent_module, "search", search)
    return search


def test_an_agent_acts_without_noise(asked):
    assert Agent(Hundred(), Planner(Gumbel(), 4), SPEC).act([0.0, 1.0], LEGAL) == 2
    assert asked.options["explore"] is False


def test_numbers_of_legal_actions_are_not_taken_for_a_mask(asked):
    agent = Agent(Hundred(), Planner(Gumbel(), 4), SPEC)
    with pytest.raises(EnvError, match="legal: holds 2; give true or false for each of the 3 actions"):
        agent.act([0.0, 1.0], [0, 1, 2])
    assert agent.act([0.0, 1.0], [1, 0, 1]) == 2
    np.testing.assert_array_equal(asked.root.legal, [[True, False, True]])


def test_search_is_given_the_legal_actions_and_the_player_that_the_environment_names(asked):
    two = dataclasses.replace(SPEC, players=2)
    Agent(Hundred(), Planner(Gumbel(), 4), two).act([0.0, 1.0], LEGAL, to_play=1)
    np.testing.assert_array_equal(asked.root.legal, [LEGAL])
    np.testing.assert_array_equal(asked.root.to_play, [1])


@pytest.mark.parametrize(("root_value", "value"), [("mean", 5.0), ("policy", 0.25 * 4 + 0.75 * 8)])
def test_a_plan_holds_the_search_value_and_not_the_networks(asked, root_value, value):
    planner = Planner(Gumbel(), 4, root_value)
    plan = planner.plan(Hundred(), np.zeros((1, 2)), LEGAL[None], np.zeros(1, np.int32), jax.random.key(0))
    np.testing.assert_allclose(plan.value, [[value]])
    # What people are shown is what is learned from.
    np.testing.assert_allclose(Agent(Hundred(), planner, SPEC).search([0.0, 1.0], LEGAL).value, [[value]])


@pytest.mark.parametrize(
    ("observation", "options", "message"),
    [
        ([np.nan, 1.0], {}, r"observation: \[nan\s+1\.\] is not all finite numbers"),
        ([0.0, -np.inf], {}, "observation: .* is not all finite numbers"),
        (["a", "b"], {}, "observation: .* is not all finite numbers"),
        ([0.0, 1.0, 2.0], {}, r"observation: shape \(3,\) does not fit test"),
        ([0.0, 1.0], {"to_play": 1}, r"to_play: 1 is none of the players 0\.\.0 of test"),
        ([0.0, 1.0], {"to_play": -1}, "to_play: -1 is none"),
    ],
)
def test_what_an_agent_cannot_see_is_refused(asked, observation, options, message):
    with pytest.raises(EnvError, match=message):
        Agent(Hundred(), Planner(Gumbel(), 4), SPEC).act(observation, LEGAL, **options)


def test_the_same_agent_may_think_longer(asked):
    agent = Agent(Hundred(), Planner(Gumbel(), 4), SPEC, env_steps=7, max_steps=9)
    longer = agent.with_simulations(50)
    longer.act([0.0, 1.0], LEGAL)
    assert asked.options["simulations"] == 50 and (longer.env_steps, longer.max_steps) == (7, 9)
    assert agent.planner.simulations == 4
    for wrong in (0, 2.5, True):
        with pytest.raises(ConfigError, match=f"simulations: {wrong}"):
            agent.with_simulations(wrong)
