"""Perfect models of small games: with enough simulations, search plays as exact solvers do."""

import functools

import numpy as np
import pytest
from search_reference import Table, plan

from muzen.search import Gumbel, Puct

BATCH = 512
GOOFSPIEL = (
    "turn_based_simultaneous_game(game=goofspiel(players=3,num_cards=3,points_order=descending,returns_type={}))"
)


def every_position(name):
    """Every reachable position of an OpenSpiel game as a table, and the text of each.

    The prior is uniform, values are 0, and the last step pays the game's returns.
    """
    pyspiel = pytest.importorskip("pyspiel")
    from open_spiel.python.algorithms.get_all_states import get_all_states

    game = pyspiel.load_game(name)
    states = get_all_states(game, to_string=str)
    texts, positions = list(states), list(states.values())
    index = {text: i for i, text in enumerate(texts)}
    count, actions, players = len(texts), game.num_distinct_actions(), game.num_players()
    table = Table(
        following=np.zeros((count, actions), np.int32),
        reward=np.zeros((count, actions, players), np.float32),
        discount=np.ones((count, actions), np.float32),
        to_play=np.array([max(position.current_player(), 0) for position in positions], np.int32),
        legal=np.zeros((count, actions), bool),
        value=np.zeros((count, players), np.float32),
        logits=np.zeros((count, actions), np.float32),
    )
    for at, position in enumerate(positions):
        for action in () if position.is_terminal() else position.legal_actions():
            below = position.child(action)
            to = index[str(below)]
            assert below.current_player() == positions[to].current_player(), "one text stands for two positions"
            table.following[at, action], table.legal[at, action] = to, True
            if below.is_terminal():
                table.reward[at, action], table.discount[at, action] = below.returns(), 0
    return table, texts


def minimax_moves(name, texts, actions):
    """[M, A] the moves that OpenSpiel's solver finds best in each position; none where the game is over."""
    from open_spiel.python.algorithms.minimax_solver import MinimaxSolver

    solved, best = MinimaxSolver(name).solve(), np.zeros((len(texts), actions), bool)
    for at, text in enumerate(texts):
        if text in solved:
            best[at] = solved[text].action_values > solved[text].value - 1e-6
    return best


def blunders(table, good, rule, budgets):
    """Positions in which search takes no good action.

    Args:
      good: [M, A].
      budgets: (moves, simulations): a position with at most that many legal moves, and more than those of the
        pair before, is given so many simulations.
    """
    moves, wrong, least = table.legal.sum(-1), [], 1
    for most, simulations in budgets:
        positions = np.flatnonzero((moves >= least) & (moves <= most))
        for batch in np.split(positions, range(BATCH, len(positions), BATCH)):
            # Every batch has the same size, so that nothing is compiled again.
            action = plan(table, np.resize(batch, min(BATCH, len(positions))), rule, simulations).action
            wrong += [at for at, a in zip(batch, action, strict=False) if not good[at, a]]
        least = most + 1
    return wrong


@pytest.mark.parametrize("rule", [Gumbel(), pytest.param(Puct(), marks=pytest.mark.slow)], ids=["gumbel", "puct"])
def test_search_finds_a_minimax_move_in_every_position_of_tic_tac_toe(rule):
    table, texts = every_position("tic_tac_toe")
    best = minimax_moves("tic_tac_toe", texts, 9)
    assert best.any(-1).sum() == 4520
    assert not blunders(table, best, rule, [(4, 200), (6, 3200), (9, 12800)])


# Inside the tree Gumbel's rule hardly tries an action again once it looks a little worse. On the empty board, where
# all looks like a draw for long, 800,000 simulations do not suffice; pUCT goes on exploring.
@pytest.mark.parametrize(
    ("rule", "budgets"),
    [(Gumbel(), [(4, 400), (6, 12800)]), (Puct(bounds=(-1.0, 1.0)), [(4, 400), (6, 12800), (7, 51200)])],
    ids=["gumbel", "puct"],
)
def test_search_finds_a_minimax_move_where_who_closes_a_box_moves_again(rule, budgets):
    name = "dots_and_boxes(num_rows=1,num_cols=2)"
    table, texts = every_position(name)
    following = table.following[table.legal & (table.discount > 0)]
    again = table.to_play[following] == table.to_play[np.nonzero(table.legal & (table.discount > 0))[0]]
    assert again.sum() == 56
    assert not blunders(table, minimax_moves(name, texts, 7), rule, budgets)


def never_ruled_out(table):
    """[M, A] false where no way of breaking ties makes the move max^n.

    A player who is indifferent may pick either of two moves that differ for the others. What a position is worth to
    each player is then known to lie between two numbers, and a move is ruled out if another one is surely better.
    """

    @functools.cache
    def worth(at):  # [2, P] lowest and highest, and the moves that are not ruled out
        below = {
            a: np.tile(table.reward[at, a], (2, 1)) if table.discount[at, a] == 0 else worth(table.following[at, a])[0]
            for a in np.flatnonzero(table.legal[at])
        }
        mover = table.to_play[at]
        sure = max(low[mover] for low, _ in below.values())
        kept = [a for a, (_, high) in below.items() if high[mover] > sure - 1e-6]
        ends = np.array([below[a] for a in kept])
        return np.array([ends[:, 0].min(0), ends[:, 1].max(0)]), kept

    allowed = np.zeros(table.legal.shape, bool)
    for at in np.flatnonzero(table.legal.any(-1)):
        allowed[at, worth(at)[1]] = True
    return allowed


@pytest.mark.parametrize(
    ("rule", "returns", "decided"),
    [(Gumbel(), "total_points", 89), (Puct(), "total_points", 89), (Puct(), "point_difference", 141)],
    ids=["gumbel-points", "puct-points", "puct-difference"],
)
def test_search_finds_a_max_n_move_in_every_position_of_a_game_of_three(rule, returns, decided):
    table, _ = every_position(GOOFSPIEL.format(returns))
    allowed = never_ruled_out(table)
    assert (allowed.sum(-1) < table.legal.sum(-1)).sum() == decided
    assert not blunders(table, allowed, rule, [(3, 8000)])


def solve(table, state, depth):
    """max^n value [P] of each action of a state whose game ends within `depth`: [A, P], -inf where illegal."""
    actions = table.following.shape[1]
    out = np.full((actions, table.value.shape[1]), -np.inf)
    for a in np.flatnonzero(table.legal[state]):
        below = np.zeros(table.value.shape[1])
        if table.discount[state, a] > 0 and depth > 1:
            following = table.following[state, a]
            q = solve(table, following, depth - 1)
            below = q[q[:, table.to_play[following]].argmax()]
        out[a] = table.reward[state, a] + table.discount[state, a] * below
    return out


def random_game(seed, players, depth=3, actions=3):
    """A full tree whose last step pays, random movers (one may move twice in a row), and its exact solution."""
    rng = np.random.default_rng(seed)
    states = sum(actions**d for d in range(depth + 1))
    inner = sum(actions**d for d in range(depth))
    following = (np.arange(states)[:, None] * actions + 1 + np.arange(actions)) % states
    pay = rng.uniform(-1, 1, (states, actions, players)).astype(np.float32)
    if players == 2:
        pay[..., 1] = -pay[..., 0]
    last = np.arange(states) >= inner - actions ** (depth - 1)
    pay[~last] = 0
    table = Table(
        following=following.astype(np.int32),
        reward=pay,
        discount=np.where(last[:, None], 0, np.ones((1, actions))).astype(np.float32),
        to_play=rng.integers(0, players, states).astype(np.int32),
        legal=np.ones((states, actions), bool),
        value=np.zeros((states, players), np.float32),
        logits=np.zeros((states, actions), np.float32),
    )
    return table, solve(table, 0, depth)


@pytest.mark.parametrize("players", [2, 3])
def test_search_finds_the_max_n_move_whoever_moves(players):
    for seed in range(12):
        table, exact = random_game(seed, players)
        mover = table.to_play[0]
        found = plan(table, [0], Puct(bounds=(-1.0, 1.0)), simulations=8000)
        # Two replies that are worth nearly the same to who replies can differ for the others: a mean over visits is
        # then no sharp value, so only the move is compared.
        assert exact[found.action[0], mover] >= exact[:, mover].max() - 0.05, seed
