"""Plants in acting and evaluation."""

from plant import Plant, claim

SCHEDULES = "maths/test_schedules.py"
OWN_SEED = "test_every_episode_of_every_environment_and_worker_has_its_own_seed"
EVALUATED = "test_every_evaluation_episode_has_a_seed_of_its_own"
RESET = "episode_seed(self._seed, self._worker, i, self._episode[i])"

PLANTS = [
    Plant(
        12,
        "pUCT samples from exp(N)/T",
        "search/puct.py",
        "math.log(visits[b, a]) / temperature + noise[b, a]",
        "visits[b, a] - math.log(temperature) + noise[b, a]",
        claim("search/test_search.py", "test_action_is_sampled_from_visits_to_the_power_of_one_over_temperature"),
    ),
    Plant(
        12,
        "the visit policy is exp(N)/T: temperature cancels",
        "maths/schedules.py",
        "jnp.exp(relative * inverse[..., None])",
        "jnp.exp(visits) * inverse[..., None]",
        claim(SCHEDULES, "test_temperature_is_a_power_of_visits_and_not_a_factor"),
    ),
    Plant(
        12,
        "N^(1/T) not computed in logs: overflows",
        "maths/schedules.py",
        "jnp.exp(relative * inverse[..., None])",
        "visits ** inverse[..., None]",
        claim(SCHEDULES, "test_visit_policy_sums_to_one_and_is_exactly_zero_where_unvisited"),
    ),
    Plant(
        13,
        "exploration noise in evaluation",
        "players.py",
        "            self._key,\n            states=",
        "            self._key,\n            explore=True,\n            states=",
        claim("test_evaluate.py", "test_evaluation_plays_without_noise"),
    ),
    Plant(
        13,
        "exploration noise in an agent's own play",
        "agent.py",
        "explore: bool | Array = False",
        "explore: bool | Array = True",
        claim("test_agent.py", "test_an_agent_acts_without_noise"),
    ),
    Plant(
        13,
        "exploration noise in reanalysis",
        "experiment/run.py",
        "return self._plan(key, observation, legal, to_play, states)",
        "return self._plan(key, observation, legal, to_play, states, explore=True)",
        claim("test_experiment.py", "test_self_play_searches_with_noise_and_reanalysis_without"),
    ),
    Plant(
        14,
        "every episode has the same seed",
        "actors/rollout.py",
        RESET,
        "episode_seed(self._seed, self._worker, i, 0)",
        claim("actors/test_rollout.py", OWN_SEED),
    ),
    Plant(
        14,
        "every environment has the same seed",
        "actors/rollout.py",
        RESET,
        "episode_seed(self._seed, self._worker, 0, self._episode[i])",
        claim("actors/test_rollout.py", OWN_SEED),
    ),
    Plant(
        14,
        "environment 0 of every worker has the same seed",
        "actors/rollout.py",
        RESET,
        "episode_seed(self._seed, 0, i, self._episode[i])",
        claim("actors/test_rollout.py", OWN_SEED),
    ),
    Plant(
        14,
        "every run has the same seeds",
        "actors/rollout.py",
        RESET,
        "episode_seed(0, self._worker, i, self._episode[i])",
        claim("actors/test_rollout.py", "test_another_run_seed_gives_other_episodes"),
    ),
    Plant(
        14,
        "the seed of an episode leaves out its number",
        "envs/seeding.py",
        "spawn_key=(worker, environment, episode)",
        "spawn_key=(worker, environment)",
        claim("envs/test_seeding.py", "test_every_episode_has_a_seed_of_its_own"),
    ),
    Plant(
        14,
        "every episode has the same random opening",
        "actors/rollout.py",
        "np.random.default_rng([seed, _OPENING])",
        "np.random.default_rng([0, _OPENING])",
        claim("actors/test_rollout.py", "test_a_share_of_episodes_begins_with_random_moves_and_the_others_do_not"),
    ),
    Plant(
        14,
        "chance falls the same in every episode of a game",
        "envs/openspiel.py",
        "self._random = np.random.default_rng(seed)",
        "self._random = np.random.default_rng(0)",
        claim("envs/test_openspiel.py", "test_chance_differs_by_seed_and_comes_as_often_as_the_game_says"),
    ),
    Plant(
        14,
        "random opponents move the same in every evaluation",
        "matches.py",
        "(self.game.seed, _PLAYERS, self.length)",
        "(0, _PLAYERS, self.length)",
        claim("test_evaluate.py", "test_in_a_game_the_agent_has_every_seat_in_turn_against_random_opponents"),
    ),
    Plant(
        14,
        "every evaluation episode has the same seed",
        "evaluate.py",
        "episode_seed(seed, EVALUATION_WORKER, 0, episode)",
        "episode_seed(seed, EVALUATION_WORKER, 0, 0)",
        claim("test_evaluate.py", EVALUATED),
    ),
    Plant(
        14,
        "later evaluation episodes have the first ones' seeds",
        "evaluate.py",
        "episode_seed(seed, EVALUATION_WORKER, 0, episode)",
        "episode_seed(seed, EVALUATION_WORKER, 0, episode % LANES)",
        claim("test_evaluate.py", EVALUATED),
    ),
]
