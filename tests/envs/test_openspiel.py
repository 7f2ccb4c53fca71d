"""OpenSpiel's games through one door: what each says, and what is refused with a reason."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from muzen.envs import make, spec_of
from muzen.envs.openspiel import _REWRITTEN
from muzen.errors import EnvError, MuzenError, UnknownEnvError, UnsupportedSpaceError

pyspiel = pytest.importorskip("pyspiel")

# Of every kind: board, chance, one player, three players, repeated moves.
GAMES = (
    "tic_tac_toe",
    "connect_four(rows=4,columns=5)",
    "othello",
    "mancala",
    "pig(players=3,winscore=12)",
    "2048(max_tile=16)",
    "backgammon",
    "dots_and_boxes",
    "catch",
)


def play(env, seed, plies=40, actions=0):
    """Steps of one episode under random legal actions, the reset included."""
    random = np.random.default_rng(actions)
    steps = [env.reset(seed)]
    while not steps[-1].terminated and len(steps) <= plies:
        steps.append(env.step(int(random.choice(np.flatnonzero(steps[-1].legal)))))
    return steps


def test_every_registered_game_is_playable_or_refused_with_a_reason():
    accepted = []
    for kind in pyspiel.registered_games():
        name = f"openspiel:{kind.short_name}"
        try:
            env = make(name)
        except EnvError as error:
            assert str(error).startswith(f"{name}: "), error
            if kind.default_loadable:
                assert isinstance(error, UnsupportedSpaceError) and "cannot be learned yet" in str(error)
            else:
                assert "cannot be made without parameters" in str(error)
            continue
        accepted.append(kind.short_name)
        for step in play(env, seed=1, plies=4, actions=2):
            assert step.observation.shape == env.spec.observation_shape
            assert step.observation.dtype == np.float32 and np.isfinite(step.observation).all()
            assert step.reward.shape == (env.spec.players,)
            assert 0 <= step.to_play < env.spec.players
            assert step.legal.shape == (env.spec.num_actions,) and step.legal.any()
    assert len(accepted) >= 40
    assert {"tic_tac_toe", "chess", "go", "pig", "2048", "mancala", "backgammon"} <= set(accepted)


@pytest.mark.parametrize("game", GAMES)
def test_the_rewards_of_an_episode_add_up_to_the_returns_and_its_end_has_an_observation(game):
    env = make(f"openspiel:{game}")
    steps = play(env, seed=3, plies=5000)
    end = steps[-1]
    assert end.terminated and not end.truncated
    np.testing.assert_allclose(sum(step.reward for step in steps), env._state.returns(), rtol=1e-5)
    assert end.observation.shape == env.spec.observation_shape and np.isfinite(end.observation).all()
    with pytest.raises(EnvError, match="reset"):
        env.step(0)


@pytest.mark.parametrize("game", GAMES)
def test_one_seed_is_one_episode(game):
    env, other = make(f"openspiel:{game}"), make(f"openspiel:{game}")
    play(env, seed=9)
    for a, b in zip(play(env, seed=5), play(other, seed=5), strict=True):
        for x, y in zip(a[:-1], b[:-1], strict=True):
            np.testing.assert_array_equal(x, y)
        assert str(a.state) == str(b.state)


def test_a_steps_state_stays_as_it_was_when_the_game_goes_on():
    env = make("openspiel:tic_tac_toe")
    steps = play(env, seed=0)
    assert [len(step.state.history()) for step in steps] == list(range(len(steps)))


def test_chance_differs_by_seed_and_comes_as_often_as_the_game_says():
    env = make("openspiel:pig(winscore=100)")
    rolls = []
    for seed in range(600):
        env.reset(seed)
        env.step(0)
        rolls.append(env._state.history()[1])
    share = np.bincount(rolls, minlength=6) / len(rolls)
    assert np.abs(share - 1 / 6).max() < 0.06


@pytest.mark.parametrize(
    ("game", "own"),
    [
        ("tic_tac_toe", 2),
        ("mnk", 2),
        ("connect_four", 0),
        ("gomoku", 0),
        ("connect_four(egocentric_obs_tensor=true)", 1),  # which OpenSpiel turns itself
    ],
)
def test_whoever_moves_finds_its_own_stones_in_the_same_plane(game, own):
    env, other = make(f"openspiel:{game}"), 0 if own == 1 else 1
    now = env.reset(0)
    played = {0: [], 1: []}
    for action in (2, 0, 1):  # cells of the first row, and of connect_four the columns above its lowest row
        played[now.to_play].append(action)
        now = env.step(action)
        np.testing.assert_array_equal(np.flatnonzero(now.observation[own]), sorted(played[now.to_play]))
        np.testing.assert_array_equal(np.flatnonzero(now.observation[other]), sorted(played[1 - now.to_play]))


def test_tiles_of_2048_have_a_plane_for_each_size_and_its_actions_are_directions():
    env = make("openspiel:2048")
    assert env.spec.directions and not make("openspiel:connect_four").spec.directions
    now, random, seen = env.reset(3), np.random.default_rng(3), set()
    while not now.terminated:
        board = np.reshape(env.state.observation_tensor(0), (4, 4))
        assert now.observation.shape == (18, 4, 4)
        np.testing.assert_array_equal(now.observation.sum(0), 1)
        np.testing.assert_array_equal(np.where(board > 0, 2.0 ** now.observation.argmax(0), 0), board)
        seen |= set(board.ravel())
        now = env.step(int(random.choice(np.flatnonzero(now.legal))))
    assert {0, 2, 4, 8, 16, 32} <= seen


def test_points_of_pig_are_numbers():
    env = make("openspiel:pig(players=3,winscore=40)")
    now, random, most = env.reset(0), np.random.default_rng(0), 0
    for _ in range(100):
        *scores, turn = map(int, re.findall(r"\d+", str(env.state).partition("\n")[0]))
        np.testing.assert_allclose(
            sorted(now.observation[:4] * 40), sorted(min(score, 40) for score in (*scores, turn)), atol=1e-5
        )
        np.testing.assert_array_equal(now.observation[4:], np.eye(3)[now.to_play])
        most = max(most, turn)
        now = env.reset(1) if now.terminated else env.step(int(random.choice(np.flatnonzero(now.legal))))
    assert most > 10 and max(scores) >= 10


def test_the_observation_is_that_of_the_player_to_move_and_says_who_that_is():
    env = make("openspiel:tic_tac_toe")
    assert env.spec.observation_shape == (5, 3, 3)
    now = env.reset(0)
    for action, player in ((0, 1), (4, 0), (8, 1)):
        now = env.step(action)
        assert now.to_play == player
        np.testing.assert_array_equal(now.observation[3:, 0, 0], [player == 0, player == 1])
        planes = np.reshape(env._state.observation_tensor(player), (3, 3, 3))
        np.testing.assert_array_equal(now.observation[:3], planes if player == 0 else planes[[0, 2, 1]])
    assert not now.legal[[0, 4, 8]].any() and now.legal.sum() == 6


def test_intermediate_rewards_count_when_they_fall():
    env = make("openspiel:2048")
    steps = play(env, seed=0, plies=60)
    assert sum(step.reward[0] > 0 for step in steps) > 5
    assert env.spec.players == 1 and env.spec.largest_return is None


@pytest.mark.parametrize(
    ("game", "players", "zero_sum", "alternating"),
    [
        ("tic_tac_toe", 2, True, True),
        ("connect_four", 2, True, True),
        ("othello", 2, True, True),
        ("mancala", 2, True, False),
        ("dots_and_boxes", 2, True, False),
        ("pig", 2, True, False),
        ("pig(players=3)", 3, True, False),
        ("amazons", 2, True, False),
        ("2048", 1, False, True),
        ("nim", 2, True, True),
    ],
)
def test_the_spec_says_whose_turn_follows_and_whether_gains_are_losses(game, players, zero_sum, alternating):
    spec = spec_of(f"openspiel:{game}")
    assert (spec.players, spec.zero_sum, spec.alternating) == (players, zero_sum, alternating)
    if players > 1:
        assert spec.largest_return == 1.0


@pytest.mark.parametrize(
    ("game", "reason"),
    [
        ("goofspiel", "same time"),
        ("kuhn_poker", "hidden"),
        ("mfg_crowd_modelling", "mean-field"),
        ("stones_and_gems", "generator inside"),
        ("morpion_solitaire", "no observation tensor"),
        ("connect_four(rows=-1)", "other parameters"),
    ],
)
def test_what_cannot_be_learned_says_why_and_what_can(game, reason):
    with pytest.raises(UnsupportedSpaceError, match=reason) as caught:
        make(f"openspiel:{game}")
    assert "openspiel:tic_tac_toe" in str(caught.value)


def test_an_unknown_game_names_the_nearest():
    with pytest.raises(UnknownEnvError, match="did you mean openspiel:tic_tac_toe"):
        make("openspiel:tictactoe")
    with pytest.raises(UnknownEnvError, match="such as openspiel:tic_tac_toe"):
        make("openspiel:")


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("pig(plyers=3)", r"did you mean players\? its parameters: diceoutcomes \(default 6\)"),
        ("pig(players=x)", "Wrong type for parameter players.*its parameters"),
        ("othello(size=6)", "no parameter 'size'; its parameters: none"),
        ("mnk(m=3", "closing bracket"),
        ("misere", "without parameters; its parameters: game"),
    ],
)
def test_a_wrong_parameter_is_answered_with_what_the_game_takes(game, message):
    with pytest.raises(EnvError, match=message):
        make(f"openspiel:{game}")


def test_a_game_in_a_game_keeps_its_own_parameters():
    assert spec_of("openspiel:misere(game=mnk(m=3,n=3,k=3))").num_actions == 9


def test_without_open_spiel_the_pip_line_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(MuzenError, match=r'pip install "muzen\[games\]"'):
        make("openspiel:tic_tac_toe")


def test_an_illegal_action_is_refused():
    env = make("openspiel:tic_tac_toe")
    env.reset(0)
    env.step(4)
    with pytest.raises(EnvError, match="action 4 is not legal"):
        env.step(4)
    assert "x" in env.render()


SYMMETRIC = {
    "tic_tac_toe": 8,
    "connect_four": 2,
    "connect_four(rows=4,columns=5)": 2,
    "othello": 4,
    "go(board_size=5)": 8,
    "mnk(m=4,n=4,k=3)": 8,
    "mnk(m=3,n=5,k=3)": 4,
    "gomoku(size=5,connect=4)": 8,
}


def test_the_symmetries_of_2048_commute_with_its_rules():
    """Chance is turned too: of all tiles that may appear, the one that makes the turned board."""
    env = make("openspiel:2048")
    assert len({tuple(s.action) for s in env.symmetries}) == len(env.symmetries) == 8
    random = np.random.default_rng(0)

    def board(state):
        return env.observe(state, 0).ravel()

    for symmetry in env.symmetries:
        state, turned = env.game.new_initial_state(), env.game.new_initial_state()
        for _ in range(60):
            if state.is_chance_node():
                state.apply_action(int(random.choice([outcome for outcome, _ in state.chance_outcomes()])))
                wanted = board(state)[symmetry.observation]
                children = map(turned.child, turned.legal_actions())
                turned = next(child for child in children if np.array_equal(board(child), wanted))
            else:
                assert set(turned.legal_actions()) == set(symmetry.action[state.legal_actions()])
                action = int(random.choice(state.legal_actions()))
                state.apply_action(action)
                turned.apply_action(int(symmetry.action[action]))
                assert turned.rewards() == state.rewards()
                np.testing.assert_array_equal(board(turned), board(state)[symmetry.observation])


@pytest.mark.parametrize(("game", "count"), SYMMETRIC.items())
def test_a_declared_symmetry_commutes_with_the_rules(game, count):
    env, turned_env = make(f"openspiel:{game}"), make(f"openspiel:{game}")
    assert len(env.symmetries) == count
    assert len({tuple(s.action) for s in env.symmetries}) == count
    random = np.random.default_rng(0)
    for symmetry in env.symmetries:
        now, turned = env.reset(0), turned_env.reset(0)
        for _ in range(60):
            np.testing.assert_array_equal(turned.observation.ravel(), now.observation.ravel()[symmetry.observation])
            if now.terminated:
                break
            np.testing.assert_array_equal(np.flatnonzero(turned.legal), np.sort(symmetry.action[now.legal]))
            action = int(random.choice(np.flatnonzero(now.legal)))
            now, turned = env.step(action), turned_env.step(int(symmetry.action[action]))
            assert (turned.terminated, turned.to_play) == (now.terminated, now.to_play)
            np.testing.assert_array_equal(turned.reward, now.reward)


def test_a_game_without_a_board_declares_no_symmetry():
    assert make("openspiel:pig").symmetries == ()


def kalah(board: list[int], mover: int, pit: int):
    """Mancala's rules -> board, mover, returns. Pits 1-6 and store 7 are the first player's, the rest the other's."""
    board, store, other = list(board), (7, 0)[mover], (0, 7)[mover]
    seeds, at, board[pit] = board[pit], pit, 0
    while seeds:
        at = (at + 1) % 14
        if at != other:
            board[at] += 1
            seeds -= 1
    if at in (range(1, 7), range(8, 14))[mover] and board[at] == 1 and board[14 - at]:
        board[store] += 1 + board[14 - at]
        board[at] = board[14 - at] = 0
    over = not any(board[1:7]) or not any(board[8:14])
    outcome = float(np.sign(sum(board[1:8]) - sum(board[8:]) - board[0])) if over else 0.0
    return board, mover if at == store else 1 - mover, [outcome, -outcome]


def test_mancala_seen_from_its_other_side_is_mancala_with_players_exchanged():
    """Its rules are those above in random games, and turning a position and then moving is moving and then turning."""
    env, random = make("openspiel:mancala"), np.random.default_rng(0)
    same, turn = env.symmetries
    outcomes = set()
    for game in range(60):
        now = env.reset(game)
        while not now.terminated:
            board, mover = now.observation[:14].astype(int).tolist(), now.to_play
            assert now.observation[14:].tolist() == [mover == 0, mover == 1]
            np.testing.assert_array_equal(now.observation[same.observation], now.observation)
            action = int(random.choice(np.flatnonzero(now.legal)))
            after, next_mover, returns = kalah(board, mover, action)
            now = env.step(action)
            assert now.reward.tolist() == returns
            assert now.terminated or (now.observation[:14].tolist(), now.to_play) == (after, next_mover)

            def turned(board, mover):
                seen = np.append(board, [mover == 0, mover == 1])[turn.observation]
                return seen[:14].tolist(), int(seen[14:].argmax())

            there, next_there, returns_there = kalah(*turned(board, mover), int(turn.action[action]))
            assert (there, next_there) == turned(after, next_mover)
            assert returns_there == np.array(returns)[turn.player].tolist()
        outcomes.add(now.reward[0])
    assert outcomes == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("entries", [14, 16])
def test_mancalas_pits_are_all_shown_whatever_openspiel_puts_after_them(entries):
    np.testing.assert_array_equal(_REWRITTEN["mancala"](np.arange(entries)), np.arange(14))


def test_gomoku_is_a_board_and_one_of_more_dimensions_is_not():
    assert make("openspiel:gomoku").spec.observation_shape == (5, 15, 15)
    assert make("openspiel:gomoku(size=4,dims=3,connect=3)").spec.observation_shape == (3 * 64 + 2,)


@pytest.mark.parametrize("game", ["checkers(rows=6,columns=6)", "clobber(rows=1,columns=1)"])
def test_a_game_that_is_over_before_it_begins_is_refused(game):
    with pytest.raises(UnsupportedSpaceError, match=r"is over before its first move; choose other parameters: .*rows"):
        make(f"openspiel:{game}")


def test_a_game_like_no_other_is_answered_with_examples():
    with pytest.raises(UnknownEnvError, match="has no game 'zzz'; it has others, such as openspiel:tic_tac_toe, "):
        make("openspiel:zzz")
