"""A game against the agent: moves, replies, taking back, analysis, chance, seats, and the record that is kept."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from pathlib import Path

import jax
import numpy as np
import pytest

pyspiel = pytest.importorskip("pyspiel")

from playing import SIMULATIONS, Habit, agent, is_sum_of, session, turn  # noqa: E402

import muzen  # noqa: E402
from muzen.agent import Agent, Planner  # noqa: E402
from muzen.envs import spec_of  # noqa: E402
from muzen.errors import ConfigError, EnvError, IllegalMoveError, MuzenError, PlayError  # noqa: E402
from muzen.play import CHANCE, GameSession  # noqa: E402
from muzen.runs import read_games  # noqa: E402
from muzen.search import Gumbel  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "play.md"
PIG = "openspiel:pig(players=3,winscore=20,horizon=90)"


def replayed(game: GameSession):
    """The state that OpenSpiel reaches by the session's moves."""
    state = pyspiel.load_game(game.name.removeprefix("openspiel:")).new_initial_state()
    for move in game.moves:
        assert state.action_to_string(state.current_player(), move.action).strip() == move.name
        state.apply_action(move.action)
    return state


def test_a_person_and_the_agent_move_in_turn_until_the_end():
    game = session()
    while not game.over:
        assert game.persons_turn
        turn(game)
    assert [move.player for move in game.moves] == [i % 2 for i in range(len(game.moves))]
    assert replayed(game).is_terminal() and game.returns == replayed(game).returns()
    assert game.legal_moves() == {}


def test_the_agent_begins_where_the_person_sits_second():
    game = session(seat=1)
    assert game.agents_turn
    with pytest.raises(PlayError, match=r"not your turn: player 1 \(x\) is to move"):
        game.play(0)
    game.reply()
    assert game.persons_turn and game.moves[0].player == 0
    with pytest.raises(PlayError, match="it is your turn"):
        game.reply()


@pytest.mark.parametrize("typed", ["x(1,1)", "X(1, 1)", "1,1", "4", "11", " 4 "])
def test_a_move_is_found_by_its_name_its_number_or_the_end_of_its_name(typed):
    assert session().find_move(typed) == 4


def test_an_illegal_move_says_the_legal_ones_and_loses_nothing():
    game = session()
    turn(game)
    before, legal = list(game.moves), game.legal_moves()
    for typed in ("0", "x(0,0)", "9", "nonsense", "", "-1", "1" * 5000):
        with pytest.raises(IllegalMoveError) as error:
            game.find_move(typed)
        assert all(name in str(error.value) for name in legal.values()) and "x(0,0), " not in str(error.value)
    with pytest.raises(IllegalMoveError, match="legal: x"):
        game.play(before[0].action)
    assert game.moves == before and game.legal_moves() == legal and game.persons_turn


def test_a_number_never_stands_for_the_end_of_another_moves_name():
    game = session()
    game.play(2)
    game.reply()
    for taken in [move.action for move in game.moves]:
        with pytest.raises(IllegalMoveError):
            game.find_move(str(taken))


def test_a_name_that_fits_several_moves_lists_them():
    with pytest.raises(IllegalMoveError, match="stands for several moves: a7a6, b7a6"):
        session("openspiel:breakthrough").find_move("a6")


def test_taking_back_returns_to_the_persons_turn_before():
    game = session()
    turn(game)
    text = str(game.position.state)
    turn(game)
    game.back()
    assert str(game.position.state) == text and game.persons_turn and len(game.moves) == 2
    game.back()
    assert game.moves == [] and game.ply == 0
    with pytest.raises(PlayError, match="nothing to take back"):
        game.back()
    turn(game)  # and the environment went back with it
    assert str(replayed(game)) == str(game.position.state)


def test_nothing_is_taken_back_before_the_persons_first_move():
    game = session(seat=1)
    game.reply()
    with pytest.raises(PlayError, match="nothing to take back"):
        game.back()
    assert len(game.moves) == 1


def test_a_finished_game_can_be_taken_back():
    game = session()
    while not game.over:
        turn(game)
    game.back()
    assert game.persons_turn and not game.over
    turn(game)


def test_the_analysis_counts_every_simulation_and_spreads_one_policy():
    game = session()
    turn(game)
    thought = game.analyse()
    assert {move.action for move in thought.moves} == set(game.legal_moves())
    assert is_sum_of((move.visits for move in thought.moves), SIMULATIONS)
    assert is_sum_of((move.policy for move in thought.moves), 1)
    assert all((move.q is None) == (move.visits == 0) for move in thought.moves)
    assert thought.chance is not None and is_sum_of(thought.chance, 1) and is_sum_of(thought.value, 0)
    assert thought.chance[0] == pytest.approx((thought.value[0] + 1) / 2)
    visits = [move.visits for move in thought.moves]
    assert visits == sorted(visits, reverse=True)


def test_the_agent_plays_what_its_analysis_says():
    game = session(seat=1)
    thought = game.analyse()
    assert game.reply() is thought
    assert game.moves[-1].action == thought.action


def test_the_agent_thinks_without_noise():
    game = session()
    turn(game)
    now, own = game.position.now, agent(game.name)
    key = jax.random.key(99)  # another one: without noise it makes no difference
    mover = np.array([now.to_play], np.int32)
    found = own.planner.search(own.model, now.observation[None], now.legal[None], mover, key, explore=False)
    visits = {move.action: move.visits for move in game.analyse().moves}
    assert visits == {a: int(found.visits[0, a]) for a in visits}


@pytest.mark.parametrize("name", ["openspiel:tic_tac_toe", "openspiel:connect_four", PIG])
def test_the_line_begins_with_the_agents_move_and_is_legal(name):
    game = session(name)
    while not game.over and game.ply < 12:
        thought = game.analyse()
        state = game.position.state.clone()
        assert thought.line[0] == state.action_to_string(state.current_player(), thought.action)
        for move in thought.line:
            names = {state.action_to_string(state.current_player(), a): a for a in state.legal_actions()}
            state.apply_action(names[move])
        turn(game, max)


def test_the_analysis_is_remembered_until_the_simulations_change():
    game = session()
    first = game.analyse()
    assert game.analyse() is first
    game.choose_simulations(5)
    assert game.analyse().simulations == 5 and is_sum_of((move.visits for move in game.analyse().moves), 5)
    assert agent("openspiel:tic_tac_toe").planner.simulations == SIMULATIONS  # another session's own


def test_chances_are_known_where_the_agent_thought_and_at_the_end():
    game = session()
    turn(game)
    assert [chance is None for chance in game.chances()] == [True, False, True]
    while not game.over:
        turn(game)
    assert game.chances()[-1] == [(x + 1) / 2 for x in game.returns]


def test_chance_moves_by_itself_is_shown_and_is_the_same_after_taking_back():
    game = session("openspiel:pig")
    turn(game, min)  # roll
    rolled = [move for move in game.moves if move.player == CHANCE]
    assert rolled and all(move.name.startswith("Roll ") for move in rolled)
    before = list(game.moves)
    game.back()
    assert game.moves == []
    turn(game, min)
    assert game.moves == before


def test_chance_before_the_first_move_is_told():
    game = session("openspiel:2048")
    assert [move.player for move in game.moves] == [CHANCE, CHANCE] and "added to row" in game.moves[0].name


def test_of_three_players_the_agent_plays_all_but_one():
    game = session(PIG, seat=1)
    while not game.over:
        if game.agents_turn:
            assert game.to_play != 1
            game.reply()
        else:
            assert game.to_play == 1
            mine = sum(move.player == 1 for move in game.moves)
            game.play(1 if 1 in game.legal_moves() and mine % 3 else 0)
    assert {move.player for move in game.moves} == {CHANCE, 0, 1, 2}
    assert sorted(game.chances()[-1]) == [0, 0, 1] and sum(game.returns) == 0


def test_chances_of_three_players_add_up_to_one():
    thought = session(PIG).analyse()
    assert thought.chance is not None and is_sum_of(thought.chance, 1)


def test_a_game_of_points_has_values_and_no_chance_to_win():
    game = session("openspiel:2048")
    thought = game.analyse()
    assert thought.chance is None and thought.moves[0].chance is None and thought.moves[0].q is not None
    assert game.chances() == [None]


def test_the_side_can_be_changed_in_mid_game_and_the_agent_can_play_alone():
    game = session()
    turn(game)
    game.choose_seat(game.find_seat("o"))
    assert game.agents_turn
    game.choose_seat(game.find_seat("watch"))
    while not game.over:
        game.reply()
    ply = game.ply
    game.back()
    assert game.ply == ply - 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seat": 2}, "seat: 2 is not one of 0..1"),
        ({"seat": -1}, "seat: -1 is not"),
        ({"seat": True}, "seat: True is not"),
        ({"simulations": 0}, "simulations: 0 is not a whole number from 1 to 10000"),
        ({"simulations": 10**9}, "simulations: 1000000000 is not"),
        ({"simulations": 2.5}, "simulations: 2.5 is not"),
    ],
)
def test_choices_out_of_range_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        session(**options)


def test_a_side_that_is_not_there_names_those_that_are():
    with pytest.raises(
        ConfigError, match="side: '3' is no side of openspiel:tic_tac_toe; choose one of 1, 2, x, o, watch"
    ):
        session().find_seat("3")


def test_players_whose_signs_differ_in_case_only_are_told_apart():
    game = session("openspiel:xiangqi")
    assert [game.symbol(player) for player in range(2)] == ["C", "c"]
    assert [game.find_seat(sign) for sign in "Cc12"] == [0, 1, 0, 1]
    assert session().find_seat("X") == 0 and session().find_seat("WATCH") is None


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="seed: -1 is out of range"):
        session(seed=-1)


def test_an_agent_of_another_game_is_refused():
    with pytest.raises(EnvError, match="was trained on openspiel:tic_tac_toe and cannot play it: "):
        GameSession(agent("openspiel:tic_tac_toe"), game="openspiel:connect_four")


def test_a_variant_that_looks_the_same_can_be_played():
    variant = "openspiel:go(board_size=5,komi=0.5)"
    assert GameSession(agent("openspiel:go(board_size=5)"), game=variant).name == variant


def test_an_agent_of_no_game_has_no_one_to_play_against():
    trained = agent("openspiel:tic_tac_toe")
    spec = dataclasses.replace(trained.spec, id="CartPole-v1", players=1)
    with pytest.raises(EnvError, match="CartPole-v1: is no game, so there is no one to play against; `muzen record"):
        GameSession(type(trained)(trained.model, trained.planner, spec))


def test_a_finished_game_is_kept_by_itself_and_openspiel_replays_it(tmp_path):
    game = session("openspiel:pig(winscore=20)", seat=1, run=tmp_path)
    while not game.over:
        assert game.kept is None and not (tmp_path / "games").exists()
        turn(game)
    (record,) = read_games(game.kept)
    assert game.kept.parent == tmp_path / "games"
    state = pyspiel.load_game(record.game).new_initial_state()
    for action in record.actions:
        state.apply_action(action)
    assert state.is_terminal() and tuple(state.returns()) == record.returns
    assert record.players == ("agent (1234 steps)", "person") and CHANCE in record.movers
    thought = [c for c, mover in zip(record.comments, record.movers, strict=True) if mover == 0]
    assert thought and all(-1 <= c["value"] <= 1 and c["simulations"] == SIMULATIONS for c in thought)


def test_an_unfinished_game_is_kept_on_request_and_grows_in_its_file(tmp_path):
    game = session(run=tmp_path)
    turn(game)
    path = game.save()
    assert read_games(path)[0].returns is None
    while not game.over:
        turn(game)
    assert game.kept == path and read_games(path)[0].returns is not None
    game.back()
    turn(game)  # another end of it does not replace what was kept
    assert game.kept != path
    assert len(read_games(path)) == 1


def test_a_game_that_cannot_be_kept_goes_on_and_says_why(tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "games").write_text("in the way", encoding="utf-8")
    else:
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    game = session(run=tmp_path)
    while not game.over:
        turn(game)
    assert game.kept is None and "cannot be written" in game.keep_error
    game.back()
    assert game.keep_error == ""


def test_a_game_without_a_folder_cannot_be_saved():
    with pytest.raises(PlayError, match="belongs to no run folder"):
        session().save()


def test_a_line_of_moves_is_restored_or_nothing_is():
    game = session("openspiel:pig")
    for _ in range(3):
        turn(game)
    decisions = [move.action for move in game.moves if move.player != CHANCE]
    other = session("openspiel:pig")
    other.restore(decisions)
    assert other.moves == game.moves
    with pytest.raises(IllegalMoveError, match="77: is not a legal move at ply 1"):
        other.restore([0, 77])
    assert other.moves == game.moves


def test_positions_of_the_past_can_be_asked_for():
    game = session()
    turn(game)
    assert game.legal_moves(0) == {a: f"x({a // 3},{a % 3})" for a in range(9)}
    assert game.board(0).cells == (("",) * 3,) * 3 and game.board(1).cells[0][0] == "x"
    assert game.last_touch(1).target == (0, 0) and game.last_touch(0) is None
    with pytest.raises(PlayError, match=r"ply: 9 is outside 0\.\.2"):
        game.at(9)


def test_the_python_of_the_page_on_playing_runs(monkeypatch):
    monkeypatch.setattr(muzen, "load", lambda folder: agent("openspiel:tic_tac_toe"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, PAGE.name, "exec"), {"__name__": "page"})


def learnable():
    """Every registered game that an agent could be trained on, with its default parameters."""
    for kind in pyspiel.registered_games():
        try:
            yield spec_of(f"openspiel:{kind.short_name}")
        except MuzenError:  # refused with a reason, as the adaptor's own tests see
            continue


def test_every_game_that_can_be_learned_can_be_played():
    played = 0
    for spec in learnable():
        unasked = Agent(Habit(spec.players, spec.num_actions), Planner(Gumbel(), 1), spec)
        game = GameSession(unasked, seat=None, seed=1)
        for _ in range(2):
            legal = game.legal_moves()
            assert game.board() is not None or str(game.position.state)
            assert set(game.touched()) <= set(legal)
            action = max(legal)
            assert game.find_move(legal[action]) == action
            game.restore([move.action for move in game.moves if move.player != CHANCE] + [action])
        game.back()
        assert game.ply == 1
        played += 1
    assert played > 35
