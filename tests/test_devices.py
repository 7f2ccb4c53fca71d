"""Runs divided over devices: the same bits from one run to the next, and the same learning as on one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import equinox as eqx
import jax
import numpy as np
import pytest
from small_runs import StopAt, assert_same_end, small, table

import muzen
from muzen.agent import Planner
from muzen.config import Config, override
from muzen.devices import LEAST_ROOTS, everywhere, here, mesh_of, worth_dividing
from muzen.envs import make
from muzen.errors import ConfigError
from muzen.experiment import Experiment, choose_devices
from muzen.machine import usable_cores
from muzen.runs import RunFolder
from muzen.search import Gumbel

slow = pytest.mark.slow  # a run or more
SHORT = {"env_steps": 320, "devices": 2, "replay__priority_alpha": 0.6, "learn__unroll_steps": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, frequent_reports) -> muzen.Run:
    return muzen.train("CartPole-v1", config=small(**SHORT), out=tmp_path_factory.mktemp("run") / "a")


@slow
def test_a_divided_run_cut_in_two_ends_with_the_same_bytes(finished, frequent_reports, tmp_path):
    stopped = muzen.train("CartPole-v1", config=small(**SHORT), out=tmp_path / "b", callbacks=[StopAt(200)])
    assert stopped.stopped == "test"
    assert_same_end(muzen.resume(tmp_path / "b").folder, finished)


@slow
def test_a_divided_run_of_a_board_game_learns_as_one_on_a_single_device_does(frequent_reports, tmp_path):
    """Up to the order of sums, which changes no move in the first steps."""
    rows, board = [], {"network__kind": "resnet", "network__channels": 8, "evaluate__curve_points": 0}
    for count in (1, 2):
        config = small("openspiel:tic_tac_toe", **SHORT | board | {"devices": count, "env_steps": 128})
        rows.append(table(muzen.train("openspiel:tic_tac_toe", config=config, out=tmp_path / str(count)).folder))
    assert len(rows[0]) == len(rows[1]) > 0
    for one, two in zip(*rows, strict=True):
        assert one.keys() == two.keys() and one["updates"] > 0
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=0.02, abs=1e-3), name


def test_a_divided_run_is_not_overlapped():
    with pytest.raises(
        ConfigError, match=r"devices: 2 with schedule overlapped.*use schedule interleaved, or devices 1"
    ):
        small(devices=2, schedule="overlapped")


@slow
def test_a_divided_run_is_played_divided_and_on_one_device_alike(finished, monkeypatch):
    config = finished.config.evaluate
    again = muzen.evaluate(finished.folder, episodes=config.episodes, seed=config.seed)
    assert again["returns"] == finished.evaluation["returns"]
    states = np.random.default_rng(0).normal(size=(2 * LEAST_ROOTS, 4)).astype(np.float32)
    found = []
    for there in (2, 1):
        monkeypatch.setattr("muzen.api.available", lambda count, there=there: there)
        agent = muzen.load(finished.folder)
        assert agent.planner.divides(len(states)) == (there == 2)
        legal, to_play = np.ones((len(states), 2), bool), np.zeros(len(states), np.int32)
        found.append(agent.planner.plan(agent.model, states, legal, to_play, jax.random.key(0)))
    np.testing.assert_allclose(found[0].value, found[1].value, rtol=1e-3, atol=1e-3)
    assert (found[0].action == found[1].action).mean() > 0.95


@slow
def test_resumed_weights_lie_where_gradient_steps_leave_them(finished):
    """Or else the gradient step is compiled for both places."""
    run = Experiment(finished.config, RunFolder.open(finished.folder), lambda: make("CartPole-v1"))
    run.restore()
    run.close()
    assert all(len(x.devices()) == 2 for x in jax.tree.leaves(eqx.filter(run.learner, eqx.is_array)))


def test_only_searches_with_many_roots_are_divided():
    planner = Planner(Gumbel(), 4, mesh=mesh_of(2))
    assert planner.divides(2 * LEAST_ROOTS)
    assert not planner.divides(2 * LEAST_ROOTS - 2)
    assert not planner.divides(2 * LEAST_ROOTS + 1)
    assert not Planner(Gumbel(), 4).divides(2 * LEAST_ROOTS)
    assert not Planner(Gumbel(), 4, path="host", mesh=mesh_of(2)).divides(2 * LEAST_ROOTS)


def test_weights_everywhere_are_the_same_weights_here():
    there = everywhere({"a": np.arange(3.0, dtype=np.float32), "name": "b"}, mesh_of(2))
    assert len(there["a"].devices()) == 2
    assert here(there)["a"].devices() == {jax.devices()[0]}
    np.testing.assert_array_equal(here(there)["a"], np.arange(3.0))


def test_a_batch_that_cannot_be_divided_evenly_is_refused_with_one_that_can():
    with pytest.raises(ConfigError, match=r"devices: 3 cannot divide learn\.batch_size 32 evenly.*a batch of 33"):
        small(devices=3)


def test_more_devices_than_there_are_is_refused_and_leaves_no_folder(tmp_path):
    jax.devices()  # it has started
    with pytest.raises(ConfigError, match=r"devices: 4, but JAX has 2 here; train in a process of its own.*use 1"):
        muzen.train("CartPole-v1", config=small(devices=4), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("settings", "network", "cores", "expected"),
    [
        ({}, None, 2, 2),
        ({}, None, 8, 2),
        ({}, None, 1, 1),
        ({}, object(), 2, 1),
        ({"network.kind": "mlp"}, None, 2, 1),
        ({"learn.batch_size": 33}, None, 2, 1),
        ({"devices": 4}, None, 2, 4),
        ({"env_id": "CartPole-v1"}, None, 2, 1),
        ({"schedule": "overlapped"}, None, 2, 1),
    ],
)
def test_what_is_left_open_divides_convolutions_over_two_cores(settings, network, cores, expected, monkeypatch):
    monkeypatch.setattr("muzen.devices.usable_cores", lambda: cores)
    config = override(Config("openspiel:connect_four"), settings)
    shape = (3, 6, 7) if config.env_id.startswith("openspiel") else (4,)
    assert choose_devices(config, shape, network) == expected


@slow
def test_a_run_resumed_with_fewer_devices_says_so_and_goes_on_with_one(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished.folder, tmp_path / "a")
    monkeypatch.setattr("muzen.api.available", lambda count: 1)
    with pytest.warns(UserWarning, match="devices: 2 when the run began, JAX has 1 now, so one is used"):
        assert muzen.resume(folder, env_steps=400).config.devices == 1
    assert RunFolder.open(folder).config.devices == 2, "it would go on with one for good"


START = """
import warnings, jax, muzen
from muzen.devices import available, mesh_of, worth_dividing
warnings.simplefilter("ignore")
{before}
assert mesh_of(1) is None and available(1) == 1
print(worth_dividing(128), available(3), len(jax.devices()))
"""


@slow
@pytest.mark.skipif(usable_cores() < 2, reason="there is one core")
@pytest.mark.parametrize(
    ("before", "variables", "expected"),
    [
        ("", {}, "2 2 2"),
        ("jax.devices()", {}, "1 1 1"),
        ("", {"JAX_NUM_CPU_DEVICES": "1"}, "1 1 1"),
        ("", {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}, "2 3 8"),
    ],
)
def test_jax_is_asked_for_devices_before_it_starts_and_only_where_nobody_has_said_how_many(before, variables, expected):
    environment = {name: x for name, x in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    command = [sys.executable, "-c", START.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | variables, check=False)
    assert done.stdout.strip() == expected, done.stderr


def test_a_default_that_comes_too_late_to_use_two_cores_says_so(monkeypatch):
    monkeypatch.setattr("muzen.devices.usable_cores", lambda: 2)
    monkeypatch.setattr("muzen.devices.available", lambda count: 1)
    with pytest.warns(UserWarning, match="JAX has started with one device.*JAX_NUM_CPU_DEVICES=2"):
        assert worth_dividing(128) == 1
