"""Planning with a game's own rules: exact ends, exact masks at every node, moves that no solver can better."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.agent import Agent, Planner
from muzen.envs import OpenSpielSimulator, make, spec_of
from muzen.errors import SearchError
from muzen.known_rules import SMALLEST_BATCH, KnownRules
from muzen.search import Gumbel, Puct, search
from muzen.search.tree import REWARD, records
from muzen.types import Prediction

pyspiel = pytest.importorskip("pyspiel")

KEY = jax.random.key(0)
TIC_TAC_TOE = "openspiel:tic_tac_toe"
both_rules = pytest.mark.parametrize(
    "rule", [Gumbel(), pytest.param(Puct(), marks=pytest.mark.slow)], ids=["gumbel", "puct"]
)


class Uniform:
    """A network without an opinion; `sizes` remembers every batch that a program was compiled for."""

    def __init__(self, actions=9, players=2):
        self.actions, self.players, self.sizes = actions, players, []

    def initial(self, observation, to_play):
        size = len(observation)
        self.sizes.append(size)
        zeros = jnp.zeros((size, self.actions))
        return Prediction(zeros, zeros, to_play, zeros == 0, jnp.zeros((size, self.players)), zeros, ())


class Eighths(Uniform):
    """Opinions that tell positions apart, in eighths, so that sums are exact whatever the size of the batch."""

    def initial(self, observation, to_play):
        said = super().initial(observation, to_play)
        flat = observation.reshape(len(observation), -1)
        weights = np.random.default_rng(0).integers(-8, 9, (flat.shape[1], self.actions + 1)) / 8
        numbers = (flat[:, :, None] * jnp.asarray(weights, jnp.float32)).sum(1)
        value = numbers[:, -1:] / 16 * jnp.where(jnp.arange(2) == to_play[:, None], 1, -1)
        return said._replace(policy_logits=numbers[:, :-1], value=value)


def positions(name):
    """Every reachable position that is not over, once for each text."""
    from open_spiel.python.algorithms.get_all_states import get_all_states

    found = get_all_states(pyspiel.load_game(name), to_string=str).values()
    return [state for state in found if not state.is_terminal()]


def minimax(name):
    """By text, the moves that OpenSpiel's solver finds best."""
    from open_spiel.python.algorithms.minimax_solver import MinimaxSolver

    solved = MinimaxSolver(name).solve()
    return {text: at.action_values > at.value - 1e-6 for text, at in solved.items()}


def searched(name, states, rule, simulations, model=None, **options):
    rules = KnownRules(OpenSpielSimulator(name), model or Uniform())
    found = search(rules, rules.initial(states), KEY, simulations=simulations, rule=rule, **options)
    return jax.tree.map(np.asarray, found)


def mirrored_once(states):
    """One position for each class of those that a turn of the board makes equal."""
    found = {}
    for state in states:
        board = np.array(list(str(state).replace("\n", ""))).reshape(3, 3)
        turned = [np.rot90(side, k) for side in (board, board.T) for k in range(4)]
        found.setdefault(min("".join(side.ravel()) for side in turned), state)
    return list(found.values())


@pytest.mark.slow
@both_rules
@pytest.mark.parametrize(
    ("chosen", "count"),
    [(mirrored_once, 627), pytest.param(list, 4520, marks=pytest.mark.long)],
    ids=["one-of-each-turn", "all"],
)
def test_search_finds_a_minimax_move_in_every_position_of_tic_tac_toe(rule, chosen, count):
    states, best = chosen(positions("tic_tac_toe")), minimax("tic_tac_toe")
    assert len(states) == count
    wrong, asked, fewest = [], 0, 1
    for most, simulations in ((4, 200), (6, 3200), (9, 12800)):
        part = [state for state in states if fewest <= len(state.legal_actions()) <= most]
        found = searched(TIC_TAC_TOE, part, rule, simulations)
        wrong += [str(state) for state, a in zip(part, found.action, strict=True) if not best[str(state)][a]]
        fewest, asked = most + 1, asked + len(part)
    assert not wrong and asked == len(states)


def along(tree, root):
    """(node, state, record) of every node of one tree that holds a position of its own."""
    nodes = records(tree)[root]
    return [(n, tree.states[root, n], nodes[n]) for n in range(1, len(nodes)) if nodes[n]["visits"] > 0]


@pytest.mark.parametrize("game", ["tic_tac_toe", "connect_four(rows=4,columns=4,x_in_row=3)", "mancala"])
@both_rules
def test_every_node_below_the_root_is_a_legal_move_and_every_end_pays_what_the_game_pays(game, rule):
    name = f"openspiel:{game}"
    env, random = make(name), np.random.default_rng(0)
    states = []
    for _ in range(16):
        now = env.reset(0)
        for _ in range(random.integers(0, 8)):
            before, now = now, env.step(int(random.choice(np.flatnonzero(now.legal))))
            if now.terminated:
                now = before
                break
        states.append(now.state)
    actions = env.spec.num_actions
    found = searched(name, states, rule, 200, Eighths(actions), explore=True)
    ends = inside = 0
    for b, root in enumerate(states):
        nodes = records(found.tree)[b]
        for n, state, node in along(found.tree, b):
            above = root if node["parent"] == 0 else found.tree.states[b, node["parent"]]
            assert node["action"] in above.legal_actions()
            assert str(state) == str(above.child(int(node["action"])))
            assert (node["discount"] == 0) == state.is_terminal()
            np.testing.assert_array_equal(found.tree.values[b, n, :, REWARD], state.returns())
            if state.is_terminal():
                ends += 1
                assert nodes[n]["q"] == state.returns()[above.current_player()]
                continue
            inside += 1
            assert node["to_play"] == state.current_player()
            left = np.flatnonzero(found.tree.rows[b, n] > -np.inf)
            below = [x["action"] for x in nodes[1:] if x["visits"] and x["parent"] == n]
            assert sorted([*left, *below]) == state.legal_actions()
    assert inside > 100 and (ends > 100 or game == "mancala")


@both_rules
def test_a_batch_of_games_equals_each_game_alone(rule):
    states, model = positions("tic_tac_toe")[::200], Eighths()
    whole = searched(TIC_TAC_TOE, states, rule, 60, model)
    assert len(states) > 2 * SMALLEST_BATCH
    for b, state in enumerate(states):
        alone = searched(TIC_TAC_TOE, [state], rule, 60, model)
        for x, y in zip(whole[:5], alone[:5], strict=True):
            np.testing.assert_array_equal(x[b : b + 1], y)


def test_the_network_sees_batches_of_few_sizes():
    model = Eighths()
    states = positions("tic_tac_toe")[:100]
    searched(TIC_TAC_TOE, states, Gumbel(), 200, model)
    assert sorted(model.sizes) == [8, 16, 32, 64, 128]


def agent_of(simulator, model=None):
    return Agent(model or Uniform(), Planner(Puct(), 40, simulator=simulator), spec_of(TIC_TAC_TOE))


def test_an_agent_with_the_rules_wins_at_once_and_says_who_wins():
    (state,) = OpenSpielSimulator(TIC_TAC_TOE).replay([[0, 3, 1, 4]])  # 2 wins for the first player
    found = agent_of(OpenSpielSimulator(TIC_TAC_TOE)).search_states([state])
    assert found.action[0] == 2 and found.q[0, 2] == 1.0
    env = make(TIC_TAC_TOE)
    now = env.reset(0)
    for action in (0, 3, 1, 4):
        now = env.step(action)
    agent = agent_of(OpenSpielSimulator(TIC_TAC_TOE))
    assert agent.act(now.observation, now.legal, now.to_play, now.state) == 2


def test_an_agent_with_the_rules_asks_for_the_games_state():
    now = make(TIC_TAC_TOE).reset(0)
    with pytest.raises(SearchError, match=r"states: missing; a search with the game's own rules begins at TimeStep"):
        agent_of(OpenSpielSimulator(TIC_TAC_TOE)).act(now.observation, now.legal, now.to_play)


def test_an_agent_of_a_learned_model_takes_states_too():
    class Learned(Eighths):
        def initial(self, observation, to_play):
            return (
                super()
                .initial(observation, to_play)
                ._replace(
                    state=jnp.zeros(len(observation)),
                    discount=jnp.ones(len(observation)),
                    reward=jnp.zeros((len(to_play), 2)),
                )
            )

        def recurrent(self, state, action):
            return self.initial(jnp.zeros((len(action), 5, 3, 3)), jnp.zeros(len(action), jnp.int32))

    env = make(TIC_TAC_TOE)
    env.reset(0)
    now = env.step(4)
    agent = agent_of(None, Learned())
    by_state, by_observation = agent.search_states([now.state]), agent.search(now.observation, now.legal, now.to_play)
    for x, y in zip(by_state[:5], by_observation[:5], strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_game_that_is_over_has_nothing_to_search():
    states = OpenSpielSimulator(TIC_TAC_TOE).replay([[0, 3, 1, 4, 2]])
    with pytest.raises(SearchError, match="a finished episode has nothing to search"):
        agent_of(OpenSpielSimulator(TIC_TAC_TOE)).search_states(states)


def test_a_lane_whose_game_is_over_may_stand_beside_the_others():
    simulator = OpenSpielSimulator(TIC_TAC_TOE)
    states = simulator.replay([[0, 3, 1, 4, 2], []])
    now = simulator.look(states)
    planner = Planner(Gumbel(), 20, simulator=simulator)
    legal = now.legal | now.terminated[:, None]
    found = planner.search(Eighths(), now.observation, legal, now.to_play, KEY, states=states)
    np.testing.assert_array_equal(found.value[0], [0, 0])
