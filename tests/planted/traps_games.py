"""Plants in games: the rules that are searched, trees that are reused, matches, ratings, resigning, playing."""

from plant import Plant, claim

RULES = "test_known_rules.py"
NODES = "test_every_node_below_the_root_is_a_legal_move_and_every_end_pays_what_the_game_pays"
PUCT_NODES = f"{NODES}[puct-tic_tac_toe]"
REUSE = "search/test_reuse.py"
RESIGNING = "actors/test_resignation.py"
DRAW = "test_a_draw_is_half_a_win"

PLANTS = [
    Plant(
        13,
        "exploration noise in play against a person",
        "agent.py",
        "self.model, batch, legal[None], np.array([to_play], np.int32), self._key, states=[state]",
        "self.model, batch, legal[None], np.array([to_play], np.int32), self._key, states=[state], explore=True",
        claim("test_play.py", "test_the_agent_thinks_without_noise"),
    ),
    Plant(
        32,
        "search goes on behind the end of a game",
        "known_rules.py",
        "np.where(now.terminated, np.float32(0), self.gamma)",
        "np.where(now.terminated, self.gamma, self.gamma)",
        claim(RULES, PUCT_NODES),
    ),
    Plant(
        32,
        "every action is legal below the root",
        "envs/simulator.py",
        "legal[i, state.legal_actions()] = True",
        "legal[i] = True",
        claim(
            "envs/test_simulator.py",
            "test_a_simulator_says_what_the_environment_says_before_and_after_every_move[tic_tac_toe]",
        ),
    ),
    Plant(
        32,
        "a game's outcome is paid in the view of the player to move",
        "envs/simulator.py",
        "reward[i] = np.array(state.returns()) - paid",
        "reward[i] = (np.array(state.returns()) - paid) * (1 - 2 * last)",
        claim(RULES, PUCT_NODES),
    ),
    Plant(
        33,
        "a tree is kept of a game that has begun anew",
        "known_rules.py",
        "return now[len(before) :] if now[: len(before)] == before else None",
        "return now[len(before) :]",
        claim("test_rules.py", "test_a_tree_of_other_games_is_left_alone"),
    ),
    Plant(
        33,
        "the interval of values is not kept with its tree",
        "search/reuse.py",
        "return Tree(words, values, scores, np.array(tree.interval),",
        "return Tree(words, values, scores, np.zeros_like(tree.interval),",
        claim(REUSE, "test_every_choice_after_reuse_has_the_highest_score_of_a_slow_search[Puct-tree]"),
    ),
    Plant(
        33,
        "halving counts visits from before",
        "search/gumbel.py",
        "return child.visits - (np.int32(child.scale) if child.scale > 0 else np.int32(0))",
        "return child.visits",
        claim(REUSE, "test_every_choice_after_reuse_has_the_highest_score_of_a_slow_search[Gumbel-tree]"),
    ),
    Plant(
        34,
        "a match is played from one seat only",
        "tournament.py",
        "tuple(pairing.player if s == seat else pairing.opponent for s in range(players))",
        "tuple(pairing.player if s == 0 else pairing.opponent for s in range(players))",
        claim("test_tournament.py", "test_every_opening_is_played_from_every_seat[2]"),
    ),
    Plant(
        34,
        "a draw counts as lost",
        "tournament.py",
        "(own[:, None] == others) / 2",
        "(own[:, None] == others) * 0",
        claim("test_tournament.py", DRAW),
    ),
    Plant(
        34,
        "returns are taken from the first seat, whoever sat there",
        "tournament.py",
        "own = totals[np.arange(count), seats]",
        "own = totals[:, 0]",
        claim("test_tournament.py", DRAW),
    ),
    Plant(
        34,
        "every opening begins with the same moves",
        "tournament.py",
        "random = np.random.default_rng([own, _OPENING])",
        "random = np.random.default_rng(_OPENING)",
        claim(
            "test_tournament.py",
            "test_openings_are_two_to_four_legal_moves_that_do_not_end_the_game_and_are_not_there_twice",
        ),
    ),
    Plant(
        34,
        "ratings in units of the logistic model, not in Elo points",
        "ratings.py",
        "POINTS = 400 / math.log(10)",
        "POINTS = 400.0",
        claim("test_ratings.py", "test_two_players_differ_by_400_log10_of_their_score[10-1-400.0]"),
    ),
    Plant(
        34,
        "intervals of ratings ignore how many games were played",
        "ratings.py",
        "information = -(points + points.T) * expected",
        "information = -np.sign(points + points.T) * expected",
        claim("test_ratings.py", "test_intervals_shrink_with_the_square_root_of_the_games"),
    ),
    Plant(
        34,
        "minimax looks one ply less deep than it says",
        "opponents.py",
        "minimax.alpha_beta_search(game, child, _nothing, self.depth - 1, mover)",
        "minimax.alpha_beta_search(game, child, _nothing, max(0, self.depth - 2), mover)",
        claim("test_opponents.py", "test_minimax_sees_a_win_at_its_depth_and_not_beyond"),
    ),
    Plant(
        35,
        "who resigns has won",
        "actors/rollout.py",
        "np.where(np.arange(self.spec.players) == player, -most, most)",
        "np.where(np.arange(self.spec.players) == player, most, -most)",
        claim(RESIGNING, "test_who_resigns_moves_once_more_and_has_lost"),
    ),
    Plant(
        35,
        "resigning is learned as the end of the game",
        "actors/rollout.py",
        "now = now._replace(truncated=True)",
        "now = now._replace(terminated=True)",
        claim(RESIGNING, "test_who_resigns_moves_once_more_and_has_lost"),
    ),
    Plant(
        35,
        "the opponent's value decides who resigns",
        "actors/rollout.py",
        "plan.value[i, to_play[i]] < self._resign_below",
        "plan.value[i, 1 - to_play[i]] < self._resign_below",
        claim(RESIGNING, "test_a_game_that_is_played_on_says_who_would_have_resigned"),
    ),
    Plant(
        36,
        "a chance to win where the game's points are meant",
        "analysis.py",
        "if spec.players == 1 or not spec.zero_sum or spec.largest_return != 1:",
        "if False:",
        claim("test_play.py", "test_a_game_of_points_has_values_and_no_chance_to_win"),
    ),
    Plant(
        38,
        "the mover's value where chance decides who moves",
        "experiment/parts.py",
        "shared = spec.zero_sum and spec.alternating",
        "shared = spec.zero_sum",
        claim("test_chance.py", "test_values_are_shared_only_where_it_is_certain_who_moves[pig-2]"),
    ),
    Plant(
        38,
        "a deterministic model searched beyond the next throw",
        "presets.py",
        '"search.simulations": considered, ',
        "",
        claim("test_chance.py", "test_a_game_of_chance_is_searched_one_move_deep[pig]"),
    ),
]
