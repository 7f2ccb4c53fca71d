"""Plants in the search."""

from plant import Plant, claim

SEARCH = "search/test_search.py"
FRESH = "test_exploration_noise_is_fresh_for_every_root_and_every_key"
OWN_KEY = "test_a_root_with_a_key_of_its_own_keeps_its_noise_whatever_else_is_searched"
RENAMED = "test_renaming_the_players_changes_nothing_else"
ALONE = "test_a_batch_equals_its_rows_searched_alone"

PLANTS = [
    Plant(
        2,
        "unvisited actions get player 0's network value, whoever moves",
        "search/gumbel.py",
        "raw = float(buffers.values[b, n, node.to_play, RAW])\n    mixed",
        "raw = float(buffers.values[b, n, 0, RAW])\n    mixed",
        claim(SEARCH, "test_an_unvisited_action_counts_with_the_value_of_the_player_to_move"),
    ),
    Plant(
        2,
        "the same where two candidates are compared",
        "search/gumbel.py",
        "raw = float(buffers.values[b, n, node.to_play, RAW])\n        other_q",
        "raw = float(buffers.values[b, n, 0, RAW])\n        other_q",
        claim(SEARCH, f"{RENAMED}[gumbel]"),
    ),
    Plant(
        2,
        "Gumbel rescales by player 0's interval, whoever moves",
        "search/gumbel.py",
        """\
        low = float(buffers.interval[b, node.to_play, 0])
        high = float(buffers.interval[b, node.to_play, 1])
        if not high > low:
""",
        """\
        low = float(buffers.interval[b, 0, 0])
        high = float(buffers.interval[b, 0, 1])
        if not high > low:
""",
        claim(SEARCH, f"{RENAMED}[gumbel]"),
    ),
    Plant(
        2,
        "pUCT rescales by player 0's interval, whoever moves",
        "search/puct.py",
        """\
        low = float(buffers.interval[b, node.to_play, 0])
        high = float(buffers.interval[b, node.to_play, 1])
""",
        """\
        low = float(buffers.interval[b, 0, 0])
        high = float(buffers.interval[b, 0, 1])
""",
        claim(SEARCH, f"{RENAMED}[puct]"),
    ),
    Plant(
        2,
        "a child's q in the view of who moves below it",
        "search/loop.py",
        "if nodes[b, node.parent].to_play == p:",
        "if node.to_play == p:",
        claim(SEARCH, "test_q_is_in_the_view_of_the_player_who_chooses_the_action"),
    ),
    Plant(
        3,
        "Gumbel noise from a constant seed",
        "search/rules.py",
        "jax.random.gumbel(k, x.shape, jnp.float32)",
        "jax.random.gumbel(jax.random.key(0), x.shape, jnp.float32)",
        claim(SEARCH, f"{FRESH}[gumbel]"),
    ),
    Plant(
        3,
        "Gumbel noise the same for every root",
        "search/rules.py",
        "jax.random.gumbel(k, x.shape, jnp.float32)",
        "jax.random.gumbel(k, x.shape[-1:], jnp.float32)",
        claim(SEARCH, f"{FRESH}[gumbel]"),
    ),
    Plant(
        3,
        "the first root's key for every root",
        "search/rules.py",
        "jax.vmap(sample)(key, like)",
        "sample(key[0], like)",
        claim(SEARCH, f"{OWN_KEY}[gumbel]"),
    ),
    Plant(
        3,
        "Dirichlet noise from a constant seed",
        "search/puct.py",
        "noise_key, action_key = rules.split(key)",
        "noise_key, action_key = rules.split(jax.random.key(0))",
        claim(SEARCH, f"{FRESH}[puct]"),
    ),
    Plant(
        3,
        "Dirichlet noise from every proposal, refused or not",
        "search/puct.py",
        "accepted = (root > 0) & ",
        "accepted = (root > 0) | ",
        claim(SEARCH, "test_dirichlet_noise_is_made_of_samples_of_gamma_distributions"),
    ),
    Plant(
        3,
        "Dirichlet noise the same for every root",
        "search/puct.py",
        "jnp.broadcast_to(alpha, logits.shape)",
        "jnp.broadcast_to(alpha[:1], logits[:1].shape)",
        claim(SEARCH, f"{FRESH}[puct]"),
    ),
    Plant(
        3,
        "root noise left on in evaluation",
        "search/api.py",
        "explore = explore if fixed is None else fixed",
        "explore = True",
        claim(SEARCH, "test_evaluation_search_adds_no_noise[gumbel]", "test_evaluation_search_adds_no_noise[puct]"),
    ),
    Plant(
        3,
        "every turn of self-play searches with the same keys",
        "experiment/run.py",
        "return _keys(self.key, self.drawn)",
        "return _keys(self.key, 0 * self.drawn)",
        claim("test_experiment.py", "test_every_turn_of_self_play_and_reanalysis_has_a_key_of_its_own"),
    ),
    Plant(
        3,
        "every environment of a run searches with the same noise",
        "experiment/run.py",
        "jax.random.fold_in(jax.random.fold_in(of_noise, i), turn)",
        "jax.random.fold_in(key, turn)",
        claim(
            "test_experiment.py",
            "test_noise_is_held_while_the_value_explains_nothing_and_between_spells[1.0-True-1]",
        ),
    ),
    Plant(
        4,
        "Gumbel scores add probabilities in place of logits",
        "search/gumbel.py",
        "return logits, logits + noise",
        "return logits, jax.nn.softmax(logits) + noise",
        claim(SEARCH, "test_gumbel_noise_is_added_to_logits_and_not_to_probabilities"),
    ),
    Plant(
        4,
        "sequential halving counts illegal actions among the considered",
        "search/gumbel.py",
        "m += np.int32(1) if row[a] > -np.inf else np.int32(0)",
        "m = np.int32(row.shape[0])",
        claim(SEARCH, "test_illegal_actions_change_nothing_for_the_legal_ones[gumbel]"),
    ),
    Plant(
        5,
        "the root's own visit is counted with no value",
        "search/tree.py",
        "buffers.values[b, n, p, SUM] = value[p]",
        "buffers.values[b, n, p, SUM] = 0.0",
        claim(SEARCH, "test_root_value_is_the_visit_mean_with_the_network_value_included"),
    ),
    Plant(
        6,
        "a child's score uses V without its reward",
        "search/loop.py",
        "node.q = q",
        "node.q = q - reward",
        claim(SEARCH, "test_a_childs_score_uses_its_reward_and_its_discounted_value[puct]"),
    ),
    Plant(
        6,
        "the min-max interval is of V without its reward",
        "search/loop.py",
        "low = q if q < low else low\n            high = q if q > high else high",
        "low = min(low, q - reward)\n            high = max(high, q - reward)",
        claim(SEARCH, "test_the_interval_of_values_spans_reward_and_discounted_value"),
    ),
    Plant(
        7,
        "Gumbel rescales every root by the first root's interval",
        "search/gumbel.py",
        """\
        low = float(buffers.interval[b, node.to_play, 0])
        high = float(buffers.interval[b, node.to_play, 1])
        if not high > low:
""",
        """\
        low = float(buffers.interval[0, node.to_play, 0])
        high = float(buffers.interval[0, node.to_play, 1])
        if not high > low:
""",
        claim(SEARCH, f"{ALONE}[Gumbel-tree]"),
    ),
    Plant(
        7,
        "Gumbel completes every root's values with the first root's",
        "search/gumbel.py",
        "raw = float(buffers.values[b, n, node.to_play, RAW])\n    mixed",
        "raw = float(buffers.values[0, n, node.to_play, RAW])\n    mixed",
        claim(SEARCH, f"{ALONE}[Gumbel-tree]"),
    ),
    Plant(
        7,
        "pUCT rescales every root by the first root's interval",
        "search/puct.py",
        """\
        low = float(buffers.interval[b, node.to_play, 0])
        high = float(buffers.interval[b, node.to_play, 1])
""",
        """\
        low = float(buffers.interval[0, node.to_play, 0])
        high = float(buffers.interval[0, node.to_play, 1])
""",
        claim(SEARCH, f"{ALONE}[Puct-tree]"),
    ),
    Plant(
        7,
        "the network is asked with the hidden state of the first root",
        "search/host.py",
        "lambda s: s[rows, pending[:, PARENT]], states",
        "lambda s: s[0 * rows, pending[:, PARENT]], states",
        claim(SEARCH, f"{ALONE}[Puct-tree]"),
    ),
    Plant(
        7,
        "the same inside the XLA program",
        "search/xla.py",
        "store + (b * nodes.shape[1] + pending[b, PARENT]) * size",
        "store + pending[b, PARENT] * size",
        claim(SEARCH, f"{ALONE}[Puct-tree]"),
        path="xla",
    ),
    Plant(
        8,
        "the first simulation takes any action, whatever the prior",
        "search/loop.py",
        "best = buffers.nodes[b, 0].best\n",
        "best = np.int32(b % scores.shape[1])\n",
        claim(SEARCH, "test_one_simulation_follows_the_prior[Puct-tree]"),
    ),
    Plant(
        8,
        "the first visit below a node takes any action, whatever the prior",
        "search/loop.py",
        "    best = nodes[b, n].best\n",
        "    best = np.int32(b % buffers.rows.shape[2])\n",
        claim(SEARCH, "test_the_first_visit_below_a_node_follows_the_prior[puct]"),
    ),
    Plant(
        9,
        "pUCT takes raw Q where all values are one",
        "search/puct.py",
        "return low if low < np.inf else 0.0, 0.0",
        "return 0.0, 1.0",
        claim(SEARCH, "test_one_distinct_value_lets_the_prior_decide[puct]"),
    ),
    Plant(
        9,
        "Gumbel takes raw Q where all values are one",
        "search/gumbel.py",
        "return total, most, mixed, 0.0, 0.0, 0.0",
        "return total, most, mixed, 0.0, s, s * mixed",
        claim(SEARCH, "test_one_distinct_value_lets_the_prior_decide[gumbel-with-an-unvisited-action]"),
    ),
    Plant(
        10,
        "search seeds itself by the clock",
        "search/api.py",
        "    chosen = _choose_path(path)\n",
        "    chosen = _choose_path(path)\n    key = jax.random.key(__import__('time').time_ns() % 2**31)\n",
        claim(SEARCH, "test_one_key_gives_one_result[gumbel]"),
    ),
    Plant(
        11,
        "illegal actions are searched",
        "search/tree.py",
        "row[a] = x if legal[a] != 0 else _MINUS_INF",
        "row[a] = x",
        claim(SEARCH, "test_illegal_actions_are_never_visited_and_have_no_policy[Puct-tree]"),
    ),
    Plant(
        11,
        "illegal actions get a little probability in the policy target",
        "search/api.py",
        "_LOWEST_LOGIT), -jnp.inf\n",
        "_LOWEST_LOGIT), -10.0\n",
        claim(SEARCH, "test_illegal_actions_are_never_visited_and_have_no_policy[Gumbel-tree]"),
    ),
    Plant(
        11,
        "the environment's mask does not reach search",
        "agent.py",
        "root._replace(legal=legal, to_play=",
        "root._replace(to_play=",
        claim("test_agent.py", "test_search_is_given_the_legal_actions_and_the_player_that_the_environment_names"),
    ),
    Plant(
        11,
        "reanalysis searches illegal actions",
        "replay/buffer.py",
        "return self._store.rows.legal[self._places(index)]",
        "return np.ones((*np.shape(index), self.spec.num_actions), bool)",
        claim("replay/test_buffer.py", "test_legal_actions_players_and_observations_of_ids"),
    ),
    Plant(
        11,
        "random openings take illegal actions",
        "actors/rollout.py",
        "possible = np.flatnonzero(legal[i])",
        "possible = np.arange(legal.shape[1])",
        claim("actors/test_rollout.py", "test_a_random_opening_takes_only_legal_moves"),
    ),
    Plant(
        11,
        "random opponents take illegal actions",
        "players.py",
        "np.flatnonzero(p.now.legal)",
        "len(p.now.legal)",
        claim("test_evaluate.py", "test_random_opponents_take_only_legal_moves"),
    ),
    Plant(
        11,
        "random steps take illegal actions",
        "experiment/run.py",
        "action = np.where(rollout.legal, noise, -1.0).argmax(axis=1)",
        "action = noise.argmax(axis=1)",
        claim("test_experiment.py", "test_random_steps_take_only_legal_actions"),
    ),
]
