"""`benchmarks/solved.py`: how well Connect Four is judged, against what OpenSpiel itself finds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmark_modules import benchmark

from muzen.envs import OpenSpielSimulator
from muzen.players import Position

pytest.importorskip("pyspiel")
bitbully = pytest.importorskip("bitbully")

from open_spiel.python.algorithms.minimax import alpha_beta_search  # noqa: E402

GAME = "openspiel:connect_four"
# The solver looks at the game itself.
NOTHING_SEEN: Any = None


@pytest.fixture(scope="module")
def solved():
    return benchmark("solved")


def late_states(count, seed=0, left=9):
    """States of random games with at most `left` moves to go, none of them over."""
    random, game, found = np.random.default_rng(seed), OpenSpielSimulator(GAME).game, []
    while len(found) < count:
        state = game.new_initial_state()
        while not state.is_terminal() and state.move_number() < 42 - left:
            state.apply_action(int(random.choice(state.legal_actions())))
        if not state.is_terminal():
            found.append(state)
    return found


def test_the_solver_says_of_every_move_what_alpha_beta_finds(solved):
    solver, game = bitbully.BitBully(), OpenSpielSimulator(GAME).game
    outcomes = set()
    for state in late_states(15):
        found = solved.exact(state.history(), solver)
        for action in range(7):
            expected = -2
            if action in state.legal_actions():
                child, mover = state.child(action), state.current_player()
                expected = child.player_return(mover)
                if not child.is_terminal():
                    expected, _ = alpha_beta_search(game, state=child, maximizing_player_id=mover, maximum_depth=42)
            assert found[action] == expected
            outcomes.add(expected)
    assert outcomes == {-2, -1, 0, 1}


def test_positions_are_those_of_games_and_the_same_each_time(solved):
    lines = solved.lines(4, seed=1)
    assert lines == solved.lines(4, seed=1) != solved.lines(4, seed=2)
    assert len(set(lines)) == len(lines) > 4 and min(len(line) for line in lines) == solved.FIRST_PLY
    # No line of one game begins one of another: as many are longest as there are games.
    longest = [line for line in lines if not any(other[: len(line)] == line != other for other in lines)]
    assert len(longest) == 4


@pytest.fixture(scope="module")
def known(solved):
    """(states, [N, 7] outcomes of their moves)."""
    states, solver = late_states(30), bitbully.BitBully()
    return states, np.array([solved.exact(state.history(), solver) for state in states])


def test_who_knows_the_outcomes_has_every_share_and_who_takes_them_for_the_opposite_none(solved, known):
    states, outcome = known

    def judged(sign):
        def initial(observation, to_play):
            value = np.zeros((len(states), 2))
            value[np.arange(len(states)), to_play] = sign * outcome.max(1)
            return SimpleNamespace(value=value, policy_logits=sign * outcome)

        agent = SimpleNamespace(simulator=OpenSpielSimulator(GAME), model=SimpleNamespace(initial=initial))
        return solved.judged(agent, states, outcome, [])

    critical = sum(any(-2 < x < max(moves) for x in moves) for moves in outcome)
    assert 0 < critical < 30
    assert judged(1) == {"positions": 30, "critical": critical, "value": 1.0, "policy": 1.0}
    assert judged(-1)["value"] == -1.0 and judged(-1)["policy"] == 0.0


def test_searches_are_asked_in_both_models_and_judged_by_what_they_choose(solved, known, monkeypatch):
    states, outcome = known
    by_line = {tuple(state.history()): moves for state, moves in zip(states, outcome, strict=True)}
    asked = []

    def moves_of(agent, positions):
        asked.append((agent.planner.simulator, agent.planner.simulations))
        known = agent.planner.simulator is not None
        every = [by_line[tuple(state.history())] for state in positions]
        return [int(moves.argmax() if known else np.where(moves == -2, 9, moves).argmin()) for moves in every]

    monkeypatch.setattr(solved, "moves_of", moves_of)
    simulator = OpenSpielSimulator(GAME)
    seen = SimpleNamespace(value=np.zeros((30, 2)) + np.arange(30)[:, None], policy_logits=np.zeros((30, 7)))
    model = SimpleNamespace(initial=lambda observation, to_play: seen)
    agent = SimpleNamespace(
        simulator=simulator, model=model, spec=None, planner=SimpleNamespace(rule=None, root_value="mean")
    )
    found = solved.judged(agent, states, outcome, [2, 8])
    assert asked == [(None, 2), (None, 8), (simulator, 2), (simulator, 8)]
    assert [found[f"{model}, {n} simulations"] for model in ("learned", "rules") for n in (2, 8)] == [0, 0, 1, 1]


@pytest.mark.parametrize("soonest", [True, False])
def test_the_perfect_player_keeps_every_outcome_and_wins_at_once_where_it_can(solved, soonest):
    player, solver = solved.Perfect(bitbully.BitBully(), soonest=soonest), bitbully.BitBully()
    at_once = varied = 0
    for state in late_states(40, seed=3):
        move, *others = (player.choose([Position(state=state, seed=(seed,), now=NOTHING_SEEN)])[0] for seed in range(8))
        scores = {int(a): x for a, x in solver.score_all_moves(bitbully.Board(state.history())).items()}
        assert not soonest or scores[move.action] == max(scores.values())
        varied += any(scores[other.action] != scores[move.action] for other in others)
        outcome = solved.exact(state.history(), solver)
        assert outcome[move.action] == outcome.max()
        winning = [a for a in state.legal_actions() if state.child(a).returns()[state.current_player()] == 1]
        if soonest and winning:
            assert move.action in winning
            at_once += 1
    assert (at_once > 3) == soonest == (varied == 0)


def test_the_two_perfect_players_meet_every_opponent_from_the_same_openings(solved):
    found = solved.perfect("random,mcts:2", games=2, seed=1)
    assert [(one["player"], one["opponent"]) for one in found] == [
        (name, other) for other in ("random", "mcts:2") for name in ("perfect", "perfect, any best move")
    ]
    assert all(one["games"] == 2 and one["score"] == 1 for one in found)
