"""Whole runs on games: trained, measured in every seat, resumed, and in a user's hands."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from benchmark_modules import benchmark
from small_runs import StopAt, assert_same_end, small, undocumented

import muzen
from muzen.config import Config
from muzen.envs import make, spec_of
from muzen.experiment import Experiment
from muzen.experiment.parts import make_model
from muzen.presets import preset
from muzen.runs import RunFolder, Weights, read_metrics

pyspiel = pytest.importorskip("pyspiel")

from open_spiel.python.algorithms.minimax_solver import MinimaxSolver  # noqa: E402

GAME = "openspiel:pig(players=3,winscore=8,horizon=40)"
SETTINGS = {
    "env_steps": 700,
    "learn.optimizer": "muon",  # Adam's runs are interrupted elsewhere
    "act.random_steps": 100,
    "act.random_openings": 0.5,
    "act.opening_moves": 3,
    "evaluate.episodes": 6,
    "evaluate.curve_points": 3,
    "evaluate.curve_games": 3,
    "evaluate.opponents": "hold:4,random",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return muzen.train(GAME, config=small(GAME, SETTINGS), out=tmp_path_factory.mktemp("runs") / "pig")


@pytest.mark.slow
def test_three_players_with_chance_and_no_fixed_turns_are_learned_and_measured_in_every_seat(run):
    assert [seat["episodes"] for seat in run.evaluation["seats"]] == [2, 2, 2]
    last = run.metrics[-1]
    assert last["to_play_loss"] > 0 and last["legal_loss"] > 0 and np.isfinite(last["loss"])
    assert last["value_saturation"] == 0
    assert abs(sum(last[f"self_play_return_{player}"] for player in range(3))) < 1e-5


def test_each_opponent_of_the_learning_curve_is_played_and_the_first_is_the_running_return(tmp_path, monkeypatch):
    config, worth = small(GAME, SETTINGS), {"hold:4": 0.25, "random": -0.5}
    run = Experiment(config, RunFolder.create(tmp_path / "run", config), lambda: make(GAME))
    monkeypatch.setattr(
        "muzen.experiment.run.evaluate", lambda *_, opponent, **options: {"mean_return": worth[opponent.name]}
    )
    run.measure()
    for name, value in worth.items():
        assert run.window[f"return_against_{name}"] == [value]
    assert list(run.recent) == [0.25]
    run.close()


@pytest.mark.slow
def test_the_learning_curve_of_a_game_is_against_fixed_opponents_and_the_running_return_against_the_first(run):
    rows = read_metrics(run.folder)
    for name in ("return_against_hold:4", "return_against_random"):
        assert all(-1 <= row[name] <= 1 for row in rows if name in row) and any(name in row for row in rows)
    last = [row for row in rows if "return_against_hold:4" in row][-1]
    assert -1 <= last["recent_return"] <= 1
    assert not any("episode_return" in row for row in rows) and not undocumented(rows)


@pytest.mark.slow
def test_weights_are_kept_at_every_point_of_the_learning_curve(run):
    steps = Weights(run.folder).steps()
    assert len(steps) == 3 and steps == sorted(steps) and steps[-1] <= SETTINGS["env_steps"] + 4
    first, last = muzen.load(run.folder, step=steps[0]), muzen.load(run.folder)
    assert first.env_steps == steps[0] < last.env_steps
    pairs = zip(*(jax.tree.leaves(agent.model.network) for agent in (first, last)), strict=True)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
    with pytest.raises(muzen.MuzenError, match=f"no weights of environment step 1; it kept those of {steps[0]}, "):
        muzen.load(run.folder, step=1)


def test_an_opponent_that_there_is_not_stops_a_run_before_it_begins(tmp_path):
    with pytest.raises(muzen.MuzenError, match="no opponent 'mtcs:3'; did you mean mcts:3"):
        muzen.train(GAME, evaluate__opponents="random,mtcs:3", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_loaded_agent_plays_for_whoever_moves(run):
    agent, env = muzen.load(run.folder), make(GAME)
    now = env.reset(3)
    for _ in range(6):
        found = agent.search(now.observation, now.legal, now.to_play)
        assert np.asarray(found.value).shape == (1, 3)
        action = agent.act(now.observation, now.legal, now.to_play)
        assert now.legal[action]
        now = env.step(action)
    assert muzen.diagnose(run.folder, episodes=1).lines()


@pytest.mark.slow
def test_an_interrupted_game_run_ends_with_the_same_weights(run, tmp_path):
    muzen.train(GAME, config=small(GAME, SETTINGS), out=tmp_path / "cut", callbacks=[StopAt(400)])
    assert_same_end(muzen.resume(tmp_path / "cut").folder, run)


def test_boards_of_convolutions_and_mancala_learn_by_muon_and_other_games_by_adam():
    games = ("connect_four", "othello", "tic_tac_toe", "2048", "pig", "mancala")
    named = [preset(f"openspiel:{game}", spec_of(f"openspiel:{game}")).learn.optimizer for game in games]
    assert named == ["muon", "muon", "adam", "muon", "adam", "muon"]
    assert Config("CartPole-v1").learn.optimizer == "adam"


def test_boards_without_chance_and_2048_learn_what_the_next_board_is_and_an_mlp_is_not_asked_to():
    games = ("connect_four", "mnk", "chess", "2048", "tic_tac_toe", "pig", "mancala")
    learns = []
    for game in games:
        spec = spec_of(f"openspiel:{game}")
        config = preset(spec.id, spec)
        learns.append(make_model(config, spec, None, None, None).learns_reconstruction)
        # Whoever says what the next board is has no need of states that are alike.
        assert learns[-1] == (config.learn.consistency_weight == 0) == (config.learn.reconstruction_weight > 0)
    assert learns == [True, True, True, True, False, False, False]
    numbers = dataclasses.replace(spec_of("openspiel:mnk"), observation_dtype="uint8")
    assert preset("Mine-v0", numbers).learn.reconstruction_weight == 0


def test_presets_of_games_follow_from_the_game():
    tic_tac_toe = preset("openspiel:tic_tac_toe", spec_of("openspiel:tic_tac_toe"))
    assert (tic_tac_toe.learn.discount, tic_tac_toe.learn.td_lambda, tic_tac_toe.learn.n_step) == (1.0, 1.0, 9)
    assert not tic_tac_toe.network.normalise_observations and tic_tac_toe.act.random_openings > 0
    assert preset("openspiel:chess", spec_of("openspiel:chess")).learn.n_step == 512
    solitary = preset("openspiel:2048", spec_of("openspiel:2048"))
    assert solitary.learn.discount == 0.999 and solitary.value.transform


def test_the_preset_of_a_game_holds_whatever_its_parameters():
    named, other = (f"openspiel:{game}" for game in ("pig", "pig(players=3,winscore=30)"))
    steps = preset(named, spec_of(named)).env_steps
    assert preset(other, spec_of(other)).env_steps == steps != Config(named).env_steps
    assert any(f"the preset {other}" in line for line in muzen.check(other, steps=50).uses)


def exhaustive():
    return benchmark("exhaustive")


class FirstLegal:
    """An agent that takes the first legal action."""

    spec = spec_of("openspiel:tic_tac_toe")

    def search_states(self, states):
        return SimpleNamespace(action=np.array([state.legal_actions()[0] for state in states]))


def walk(state, seat):
    """(wins, draws, losses) of taking the first legal action in this seat, by OpenSpiel's own recursion."""
    if state.is_terminal():
        own = state.returns()[seat]
        return np.array([own > 0, own == 0, own < 0], int)
    actions = state.legal_actions()
    return sum(walk(state.child(a), seat) for a in (actions[:1] if state.current_player() == seat else actions))


@pytest.mark.parametrize("seat", [0, 1])
def test_the_exhaustive_check_meets_every_answer_and_counts_every_loss(seat):
    found = exhaustive().outcomes(FirstLegal(), seat)
    expected = walk(pyspiel.load_game("tic_tac_toe").new_initial_state(), seat)
    assert [found["win"], found["draw"], found["loss"]] == expected.tolist()
    assert found["games"] == expected.sum() and len(found["lost"]) == found["loss"] > 0


class Minimax(FirstLegal):
    """An agent that plays perfectly, by the values of OpenSpiel's solver."""

    def __init__(self):
        self.solver = MinimaxSolver("tic_tac_toe")
        self.solver.solve()

    def search_states(self, states):
        values = [self.solver.action_values_from_state(state) for state in states]
        return SimpleNamespace(action=np.array([v.argmax() for v in values]))


def test_the_share_of_minimax_moves_is_all_for_who_plays_perfectly_and_less_for_others():
    module = exhaustive()
    perfect, first = (
        module.optimal(agent, [pair for seat in (0, 1) for pair in module.outcomes(agent, seat)["asked"]])
        for agent in (Minimax(), FirstLegal())
    )
    assert perfect["positions"] == perfect["optimal"] == first["positions"] == 4520
    assert 0 < perfect["own_positions"] == perfect["own_optimal"] < 1000
    assert 1000 < first["optimal"] < 4000 and 0 < first["own_optimal"] < first["own_positions"]


@pytest.mark.hours
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tic_tac_toe_is_learned_so_that_no_line_of_play_beats_it(seed, tmp_path):
    run = muzen.train("openspiel:tic_tac_toe", seed=seed, out=tmp_path / "run")
    agent, outcomes = muzen.load(run.folder), exhaustive().outcomes
    assert [outcomes(agent, seat)["loss"] for seat in (0, 1)] == [0, 0]
