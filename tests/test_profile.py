"""The breakdown of a run's time adds up to its wall-clock, and tells the network from the tree."""

from __future__ import annotations

import json
import time
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from small_runs import small

import muzen
from muzen import profile
from muzen.experiment import Experiment
from muzen.profile import COMPILING, NETWORK, REST, SEARCH, TREE, Clock, breakdown
from muzen.search import search
from muzen.types import Prediction


def test_parts_add_up_to_the_wall_clock():
    clock = Clock()
    clock.seconds = {SEARCH: 5.0, profile.LEARNING: 3.0, profile.EVALUATION: 1.0}
    clock.longest = {SEARCH: 1.0, profile.LEARNING: 2.0, profile.EVALUATION: 1.0}
    parts = breakdown(clock, wall=12.0, network_share=0.75)
    assert sum(parts.values()) == pytest.approx(12.0)
    assert parts[NETWORK] == 3.0 and parts[TREE] == 1.0
    assert parts[profile.LEARNING] == 1.0 and parts[profile.EVALUATION] == 1.0
    assert parts[COMPILING] == 3.0 and parts[REST] == 3.0


def test_the_clock_books_every_call_even_one_that_fails():
    clock = Clock()
    for seconds in (0.0, 0.02):
        with pytest.raises(ZeroDivisionError), clock("part"):
            time.sleep(seconds)
            _ = 1 / 0
    assert 0.02 <= clock.longest["part"] <= clock.seconds["part"] < clock.elapsed()


class Wide:
    """A model whose network costs what its width says; nothing that it does is thrown away."""

    def __init__(self, width: int):
        self.width = width

    def initial(self, observation):
        return self.recurrent(jnp.asarray(observation), jnp.zeros(len(observation), jnp.int32))

    def recurrent(self, state, action):
        batch = len(action)
        matrix = jnp.ones((self.width, self.width)) / self.width
        state = jnp.tanh((state + action[:, None]) @ matrix)
        value = state.mean(1, keepdims=True)
        ones, zeros = jnp.ones(batch), jnp.zeros(batch, jnp.int32)
        return Prediction(value, ones, zeros, jnp.ones((batch, 2), bool), value, state[:, :2], state)


def share(width: int) -> float:
    model = Wide(width)
    observation = jnp.ones((8, width))
    root, key = model.initial(observation), jax.random.key(0)

    def whole() -> None:
        jax.block_until_ready(search(model, root, key, simulations=16))

    return profile.network_share(whole, partial(profile.inferences, model, observation, 16))


def test_a_costly_network_takes_a_larger_share_of_the_search_than_a_cheap_one():
    small, large = share(2), share(1000)
    assert 0 < small < large <= 1
    assert large > 0.5


@pytest.mark.slow
def test_a_run_keeps_its_profile(tmp_path, monkeypatch):
    measured = []

    def share(run):  # takes seconds of its own, which are not the run's
        began = time.perf_counter()
        measured.append((network_share(run), time.perf_counter() - began))
        return measured[0][0]

    network_share = Experiment.network_share
    monkeypatch.setattr(Experiment, "network_share", share)
    began = time.perf_counter()
    run = muzen.train("CartPole-v1", config=small(env_steps=400), out=tmp_path / "run", profile=True)
    took = time.perf_counter() - began - measured[0][1]
    assert 0.8 * took < sum(run.profile.values()) <= took
    kept = json.loads((tmp_path / "run" / profile.FILE).read_text())
    assert kept == {"env_steps": run.evaluation["env_steps_trained"], "seconds": run.profile}
    assert all(seconds >= 0 for seconds in run.profile.values())
    wanted = {NETWORK, TREE, COMPILING, REST, profile.ENVIRONMENT, profile.STORING, profile.BATCH, profile.LEARNING}
    assert wanted <= set(run.profile)
    table = profile.lines(run.profile, env_steps=400)
    assert len(table) == 1 + len(run.profile) + 1
    assert table[-1].split()[0] == "wall-clock" and "100.0%" in table[-1]
