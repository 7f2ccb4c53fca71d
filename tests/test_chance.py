"""Games of chance: what a deterministic model may be asked of them."""

import jax
import numpy as np
import pytest

from muzen.envs import make, spec_of
from muzen.experiment.parts import make_model, make_planner
from muzen.presets import preset

pytest.importorskip("pyspiel")


def model_of(game: str):
    spec = spec_of(f"openspiel:{game}")
    return make_model(preset(spec.id, spec), spec, None, None, None)


@pytest.mark.parametrize(
    ("game", "values"), [("tic_tac_toe", 1), ("mancala", 2), ("pig", 2), ("pig(players=3)", 3), ("2048", 1)]
)
def test_values_are_shared_only_where_it_is_certain_who_moves(game, values):
    model = model_of(game)
    observation = np.zeros((4, *spec_of(f"openspiel:{game}").observation_shape), np.float32)
    state = model.represent(observation)
    assert model.value_logits(state).shape[:2] == model.reward_logits(state).shape[:2] == (4, values)


@pytest.mark.parametrize("game", ["pig", "2048"])
def test_a_game_of_chance_is_searched_one_move_deep(game):
    """Deeper, the model would know from the actions that follow what the dice must have shown."""
    env = make(f"openspiel:{game}")
    now, spec = env.reset(0), env.spec
    config, model = preset(spec.id, spec), model_of(game)
    planner = make_planner(config.search, spec, config.search.simulations)
    one = np.array([now.to_play], np.int32)
    found = planner.search(model, now.observation[None], now.legal[None], one, jax.random.key(0))
    assert now.legal.sum() > 1
    np.testing.assert_array_equal(np.asarray(found.visits)[0], now.legal)
    assert config.learn.unroll_steps == 1
