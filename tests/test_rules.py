"""Whole runs that plan with a game's own rules: learned, repeated, resumed, and in a user's hands."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from small_runs import StopAt, assert_same_end, same, weights

import muzen
from muzen.agent import Agent, Planner
from muzen.config import override
from muzen.envs import OpenSpielSimulator, make, spec_of
from muzen.errors import ConfigError, SearchError
from muzen.experiment.parts import make_model, make_simulator
from muzen.known_rules import KnownRules, kept_tree, packed, unpacked
from muzen.matches import Game, play
from muzen.play import GameSession
from muzen.players import AgentPlayer, Random
from muzen.presets import preset
from muzen.reanalyse import Reanalyse
from muzen.replay import Replay
from muzen.search import Puct, reuse, search
from muzen.search.tree import records
from muzen.types import Prediction

pyspiel = pytest.importorskip("pyspiel")

GAME, SIMULATIONS = "openspiel:tic_tac_toe", 30
SETTINGS = {
    "env_steps": 600,
    "act.random_steps": 100,
    "search.model": "rules",
    "search.reuse_tree": True,
    "act.resign_below": -0.1,
    "act.resign_never": 0.4,
    "evaluate.episodes": 6,
    "evaluate.curve_points": 3,
    "evaluate.curve_games": 3,
}


def small(**changes):
    return small_runs.small(GAME, SETTINGS, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return muzen.train(GAME, config=small(), out=tmp_path_factory.mktemp("runs") / "rules")


@pytest.mark.slow
def test_policy_and_value_are_learned_and_nothing_else(run):
    last = run.metrics[-1]
    assert last["policy_loss"] > 0 and last["value_loss"] > 0 and last["target_age"] < 200
    assert not any(last[f"{name}_loss"] for name in ("reward", "discount", "consistency", "legal", "to_play"))
    before = make_model(run.config, spec_of(GAME), None, None, None).network
    after = muzen.load(run.folder).model.network
    assert not np.array_equal(before.policy_head.weight, after.policy_head.weight)
    assert np.array_equal(before.reward_head.weight, after.reward_head.weight)
    assert before.legal_head is None


@pytest.mark.slow
def test_a_run_says_how_many_games_were_resigned_and_how_often_wrongly(run):
    last = run.metrics[-1]
    assert 0 < last["resigned"] < 1 and last["resign_judged"] > 5 and 0 <= last["resign_false_positives"] <= 1


def test_resigning_too_early_is_a_finding():
    from muzen.diagnose import Health

    health, row = Health(small()), {"env_steps": 100.0, "resign_false_positives": 0.2, "resign_judged": 30.0}
    (finding,) = [found for _ in range(3) for found in health.look(row) if found.name == "resigns_too_early"]
    assert (
        "of 30 games played on, 20% were not lost" in finding.line() and "act.resign_below (now -0.1)" in finding.line()
    )
    assert not Health(small()).look(row | {"resign_judged": 19.0})


@pytest.mark.slow
def test_a_run_with_the_rules_repeats_to_the_bit(run, tmp_path):
    again = muzen.train(GAME, config=small(), out=tmp_path / "again")
    assert same(weights(run.folder), weights(again.folder)) and again.evaluation == run.evaluation


@pytest.mark.slow
def test_an_interrupted_run_with_the_rules_ends_with_the_same_weights(run, tmp_path):
    muzen.train(GAME, config=small(), out=tmp_path / "cut", callbacks=[StopAt(500)])
    assert_same_end(muzen.resume(tmp_path / "cut").folder, run)


@pytest.mark.slow
def test_a_loaded_agent_searches_the_rules_and_asks_for_the_state(run):
    agent, env = muzen.load(run.folder), make(GAME)
    env.reset(0)
    for action in (0, 3, 1):
        now = env.step(action)
    found = agent.search(now.observation, now.legal, now.to_play, now.state)
    assert [str(x) for x in found.tree.states[0, 1:] if x is not None] != []
    np.testing.assert_array_equal(found.visits, agent.search_states([now.state]).visits)
    with pytest.raises(SearchError, match="states: missing"):
        agent.search(now.observation, now.legal, now.to_play)


@pytest.mark.slow
def test_diagnosis_has_no_learned_model_to_hold_against_the_game(run):
    diagnosis = muzen.diagnose(run.folder)
    assert diagnosis.unroll is None and diagnosis.as_dict()["unroll"] is None
    assert diagnosis.lines()[-1] == "The game's own rules are searched: there is no learned model to hold against them."


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CartPole-v1", "CartPole-v1: only the rules of a game named openspiel:GAME are known"),
        ("openspiel:pig", "openspiel:pig: has chance, and a search with its rules has no chance nodes yet"),
    ],
)
def test_rules_that_cannot_be_searched_are_refused_with_the_reason(name, reason):
    config = override(preset(name, spec_of(name)), {"search.model": "rules"})
    with pytest.raises(ConfigError, match=f"search.model: rules cannot be searched: {reason}; use learned"):
        make_simulator(config.search, name)


def test_a_refused_run_leaves_no_folder_that_looks_like_one(tmp_path):
    with pytest.raises(ConfigError, match=r"search\.model: rules cannot"):
        muzen.train("openspiel:pig", out=tmp_path / "pig", search__model="rules")
    assert not (tmp_path / "pig").exists()


def test_resigning_needs_a_game_that_tells_who_has_won(tmp_path):
    with pytest.raises(ConfigError, match=r"act\.resign_below: -0\.5, but CartPole-v1 is no zero-sum game of two"):
        muzen.train("CartPole-v1", out=tmp_path / "run", act__resign_below=-0.5)
    with pytest.raises(ConfigError, match=r"act\.resign_below: 0\.5 is out of range; it must be at most 0"):
        small(act__resign_below=0.5)


def test_a_learned_models_tree_is_not_reused_between_real_moves():
    with pytest.raises(ConfigError, match=r"search\.reuse_tree: true with search\.model learned"):
        small(search__model="learned")


class Opinion:
    """Prefers actions in order, and sees every position as even."""

    def initial(self, observation, to_play):
        size = len(observation)
        logits = jnp.broadcast_to(-jnp.arange(9.0), (size, 9))
        return Prediction(logits, logits, to_play, logits == 0, jnp.zeros((size, 2)), logits, ())


def test_a_planner_keeps_what_was_found_below_the_moves_made_in_each_game():
    simulator, model, key = OpenSpielSimulator(GAME), Opinion(), jax.random.key(0)
    planner = Planner(Puct(), 40, simulator=simulator, reuse_tree=True)

    def planned(lines, previous=None):
        states = simulator.replay(lines)
        now = simulator.look(states)
        legal = now.legal | now.terminated[:, None]
        return planner.search(model, now.observation, legal, now.to_play, key, states=states, previous=previous)

    first = planned([[], [4], [0, 3, 1, 4], [0]])
    again = planned([[0, 1], [4, 0], [0, 3, 1, 4, 2], [8]], first.tree)
    for game, moves in enumerate(([0, 1], [0], None, None)):
        kept = records(reuse(first.tree, [moves if b == game else None for b in range(4)]))[game, 0]["visits"]
        assert (kept > 1) == (game < 2), "a game that is over and one that is another begin afresh"
        assert records(again.tree)[game, 0]["visits"] == max(kept, 1) + 40
    fresh = Planner(Puct(), 40, simulator=simulator)
    assert (
        fresh.plan(
            model,
            *[np.zeros((1, 5, 3, 3)), np.ones((1, 9), bool), np.zeros(1, int)],
            key,
            states=simulator.replay([[]]),
        ).tree
        is None
    )


class Remembering(Planner):
    """Keeps the moves made and the root's visits of every game that it is asked for."""

    def __init__(self):
        super().__init__(Puct(), SIMULATIONS, simulator=OpenSpielSimulator(GAME), reuse_tree=True)
        self.asked = []

    def search(self, *args, states, **options):
        found = super().search(*args, states=states, **options)
        lines = [tuple(state.history()) for state in states]
        self.asked += zip(lines, records(found.tree)[:, 0]["visits"].tolist(), strict=True)
        return found


def test_in_matches_each_game_goes_on_from_the_players_own_last_search():
    spec, listed = spec_of(GAME), range(9)

    def matched(numbers, lanes):
        planner = Remembering()
        player = AgentPlayer(Agent(Opinion(), planner, spec), batch=4)
        games = [Game(7 + i, (player, Random()) if i % 2 else (Random(), player)) for i in numbers]
        return play(lambda: make(GAME), games, max_steps=20, lanes=lanes, keep=True), planner.asked

    together, asked = matched(listed, lanes=6)
    first = [visits for line, visits in asked if len(line) < 2]
    later = [visits for line, visits in asked if len(line) > 3]
    assert set(first) == {SIMULATIONS + 1} and np.mean(np.array(later) > SIMULATIONS + 1) > 0.4
    for i in (0, 5, 8):
        (alone,), told = matched([i], lanes=1)
        assert alone.record == together[i].record and set(told) <= set(asked)


def test_a_person_plays_against_an_agent_that_goes_on_from_its_last_search():
    planner = Remembering()
    session = GameSession(Agent(Opinion(), planner, spec_of(GAME)), seat=0)
    for move in (8, 1):  # what the search expects after the reply in 0
        session.play(move)
        session.reply()
    session.back()
    session.play(6)
    session.reply()
    visits = [visits for _, visits in planner.asked]
    assert visits[0] == SIMULATIONS + 1 and visits[1] > SIMULATIONS + 1
    assert visits[2] == SIMULATIONS + 1, "a line that was taken back begins afresh"


def test_a_kept_tree_comes_back_from_arrays_and_moves():
    simulator = OpenSpielSimulator(GAME)
    rules = KnownRules(simulator, Opinion())
    states = simulator.replay([[], [4, 0]])
    tree = search(rules, rules.initial(states), jax.random.key(0), simulations=30).tree
    states = simulator.replay([[0], [8]])
    kept = reuse(tree, [0, None])
    tree = search(rules, rules.initial(states), jax.random.key(0), simulations=20, tree=kept).tree
    arrays, lines = packed(tree, simulator)
    back = unpacked(arrays, lines, simulator)
    for x, y in zip(back[:4], tree[:4], strict=True):
        np.testing.assert_array_equal(x, y)
    assert [str(x) for x in back.states.ravel()] == [str(x) for x in tree.states.ravel()]


def test_a_tree_of_other_games_is_left_alone():
    simulator = OpenSpielSimulator(GAME)
    assert kept_tree(None, [], simulator) is None
    rules = KnownRules(simulator, Opinion())
    tree = search(rules, rules.initial(simulator.replay([[4], [4]])), jax.random.key(0), simulations=40).tree
    # The first goes on; the second has begun anew, and its second move is one that was searched below the old root.
    kept = kept_tree(tree, simulator.replay([[4, 0], [8, 0]]), simulator)
    visits = records(kept)[:, 0]["visits"]
    assert visits[0] > 0 and visits[1] == 0
    assert kept_tree(tree, simulator.replay([[4, 0]]), simulator) is None


class States:
    """Stands for a search: remembers the states that it is given beside what replay stored of them."""

    def __init__(self):
        self.seen = []

    def __call__(self, observation, legal, to_play, states):
        from muzen.actors import Plan

        self.seen += zip(observation, legal, to_play, states, strict=True)
        size = len(states)
        return Plan(np.zeros(size, np.int32), np.full((size, 9), 1 / 9), np.full((size, 2), 0.5))


def stored_games(max_steps, steps=60, lanes=2):
    """A replay of random games, opening with what others would call an opening."""
    from muzen.actors import Plan, Rollout
    from muzen.config import ReplayConfig

    rollout = Rollout(lambda: make(GAME), lanes, seed=0, random_openings=0.5, opening_moves=4)
    replay = Replay(rollout.spec, ReplayConfig(max_steps=max_steps), lanes, seed=0)
    random = np.random.default_rng(0)
    for _ in range(steps):
        noise = random.random((lanes, 9))
        action = np.where(rollout.legal, noise, -1).argmax(1).astype(np.int32)
        rows, _, _ = rollout.step(
            Plan(action, np.full((lanes, 9), 1 / 9, np.float32), np.zeros((lanes, 2), np.float32))
        )
        replay.add(np.arange(lanes), rows)
    return replay


@pytest.mark.parametrize("max_steps", [1000, 50], ids=["whole", "evicted"])
def test_reanalysis_plays_each_stored_episode_again_up_to_its_position(max_steps):
    replay, plan = stored_games(max_steps), States()
    reanalyse = Reanalyse(replay, 1.0, 32, OpenSpielSimulator(GAME))
    assert reanalyse.step(64, plan) == 64
    env = make(GAME)
    for observation, legal, to_play, state in plan.seen:
        np.testing.assert_array_equal(observation, env.observe(state, to_play))
        assert state.current_player() == to_play and np.flatnonzero(legal).tolist() == state.legal_actions()
    whole = [line is not None for line in replay.histories(replay.positions(60))]
    assert all(whole) if max_steps == 1000 else 0 < sum(whole) < 60


def test_reanalysis_waits_where_no_stored_episode_has_its_beginning():
    replay, plan = stored_games(max_steps=4, steps=4), States()
    assert all(line is None for line in replay.histories(replay.positions(4)))
    assert Reanalyse(replay, 1.0, 4, OpenSpielSimulator(GAME)).step(8, plan) == 0 and not plan.seen
