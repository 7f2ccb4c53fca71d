"""The agent and its planner: greedy, within what the environment allows, search values and not the network's."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from muzen import agent as agent_module
from muzen.agent import Agent, Planner
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


def test_search_is_given_the_legal_actions_and_the_player_that_the_environment_names(asked):
    Agent(Hundred(), Planner(Gumbel(), 4), SPEC).act([0.0, 1.0], LEGAL, to_play=1)
    np.testing.assert_array_equal(asked.root.legal, [LEGAL])
    np.testing.assert_array_equal(asked.root.to_play, [1])


@pytest.mark.parametrize(("root_value", "value"), [("mean", 5.0), ("policy", 0.25 * 4 + 0.75 * 8)])
def test_a_plan_holds_the_search_value_and_not_the_networks(asked, root_value, value):
    planner = Planner(Gumbel(), 4, root_value)
    plan = planner.plan(Hundred(), np.zeros((1, 2)), LEGAL[None], np.zeros(1, np.int32), jax.random.key(0))
    np.testing.assert_allclose(plan.value, [[value]])
    # What people are shown is what is learned from.
    np.testing.assert_allclose(Agent(Hundred(), planner, SPEC).search([0.0, 1.0], LEGAL).value, [[value]])
