"""Plants in what is stored and in the targets made of it."""

from plant import Plant, claim

LEARNER = "test_learner.py"
WINDOWS = "replay/test_windows.py"
ROLLOUT = "actors/test_rollout.py"
GYMNASIUM = "envs/test_gymnasium.py"
MODEL = "networks/test_model.py"
CUT_OFF = "test_truncation_bootstraps_from_the_value_of_the_final_observation"
ABSORBING = "test_absorbing_steps_after_termination_train_value_and_reward_to_zero_and_the_end_itself"
STARTS = "test_starts_reach_the_last_step_of_an_episode_and_leave_out_final_and_newest_rows"
ENDS_APART = "test_terminated_and_truncated_stay_apart"
TIME_LIMIT = "test_a_time_limit_truncates_and_does_not_terminate"
STEP = """\
            now = env.step(int(action[i]))
            self._actions[i].append(int(action[i]))
            self._return[i] += now.reward
            if now.terminated:
                self._resigned[i] = -1
            elif self._resigned[i] >= 0:
                now = now._replace(truncated=True)
                self._return[i] += self._lost_by(self._resigned[i])
            self._now[i] = now
            reward[i], terminated[i], truncated[i] = now.reward, now.terminated, now.truncated
"""

PLANTS = [
    Plant(
        1,
        "every unrolled value target in the view of the root's player",
        "learner.py",
        "z_own = model.own_view(z, batch.to_play)",
        "z_own = model.own_view(z, jnp.broadcast_to(batch.to_play[:, :1], batch.to_play.shape))",
        claim(LEARNER, "test_the_value_target_of_step_k_is_in_the_view_of_who_moves_at_step_k"),
    ),
    Plant(
        1,
        "a reward in the view of who moves after it",
        "learner.py",
        "model.own_view(batch.reward, batch.to_play[:, :-1])",
        "model.own_view(batch.reward, batch.to_play[:, 1:])",
        claim(LEARNER, "test_the_reward_of_action_k_is_in_the_view_of_who_took_it"),
    ),
    Plant(
        1,
        "unrolled steps name the root's player",
        "replay/windows.py",
        "out.to_play[b, k] = rows.to_play[row]",
        "out.to_play[b, k] = rows.to_play[base + slot]",
        claim(WINDOWS, "test_each_unrolled_step_says_who_moves_there"),
    ),
    Plant(
        1,
        "a value target bootstraps in the view of the root's player",
        "replay/windows.py",
        "out.bootstrap_to_play[b, k] = rows.to_play[row]",
        "out.bootstrap_to_play[b, k] = rows.to_play[base + slot]",
        claim(WINDOWS, "test_each_value_target_says_who_moves_where_it_bootstraps"),
    ),
    Plant(
        1,
        "the target network's value taken for player 0's, whoever moves",
        "learner.py",
        "target.initial(flat, to_play)",
        "target.initial(flat)",
        claim(LEARNER, "test_a_target_networks_value_of_a_game_is_that_of_whoever_moves_in_the_bootstrap_row"),
    ),
    Plant(
        1,
        "the search value stored for player 0, whoever moves",
        "agent.py",
        "model.every_view(value, np.asarray(to_play))",
        "model.every_view(value, np.zeros_like(to_play))",
        claim(
            "test_two_players.py",
            "test_a_planned_value_is_the_policys_mean_of_q_for_the_mover_and_its_negative_for_the_other[2]",
        ),
    ),
    Plant(
        1,
        "a predicted reward given to who moves next",
        "networks/model.py",
        "_decoded(self.reward_encoding, reward_logits), actor)",
        "_decoded(self.reward_encoding, reward_logits), to_play)",
        claim(MODEL, "test_a_zero_sum_reward_is_the_actors"),
    ),
    Plant(
        1,
        "a zero-sum value given to the other player",
        "networks/model.py",
        "jnp.where(jnp.arange(2) == player[:, None], x, -x)",
        "jnp.where(jnp.arange(2) == player[:, None], -x, x)",
        claim(MODEL, "test_a_zero_sum_value_is_written_for_both_players"),
    ),
    Plant(
        15,
        "a time limit ends the return",
        "replay/windows.py",
        "0.0 if rows.flags[row] & TERMINATED else gamma",
        "0.0 if rows.flags[row] & 3 else gamma",
        claim(WINDOWS, CUT_OFF),
    ),
    Plant(
        15,
        "the n-step return never bootstraps at an episode's last row",
        "maths/returns.py",
        "    return product, row",
        "    return product if row < last else 0.0, row",
        claim(
            "maths/test_returns.py", "test_truncation_bootstraps_from_the_final_observation_and_termination_does_not"
        ),
    ),
    Plant(
        15,
        "what follows a time limit is trained as absorbing",
        "replay/windows.py",
        "over = rows.flags[end] & FINAL != 0 and rows.flags[end] & TERMINATED != 0",
        "over = rows.flags[end] & FINAL != 0",
        claim(WINDOWS, "test_everything_past_a_truncation_is_masked"),
    ),
    Plant(
        15,
        "a time limit bootstraps from the observation of the next reset",
        "actors/rollout.py",
        "                self.begin_anew(i)\n                continue\n",
        "                self.begin_anew(i)\n"
        "                observation[i] = self._now[i].observation\n                continue\n",
        claim(ROLLOUT, "test_the_final_row_holds_the_last_observation_and_not_the_reset_one"),
    ),
    Plant(
        15,
        "the value of a cut-off episode's last observation is never refreshed",
        "replay/kernels.py",
        "rows.flags[row] & (FINAL | TERMINATED) == (FINAL | TERMINATED)",
        "rows.flags[row] & FINAL != 0",
        claim("replay/test_buffer.py", "test_the_sweep_visits_every_row_but_terminal_ones_oldest_first_and_over_again"),
    ),
    Plant(
        15,
        "values are refreshed of rows that are not there yet, and the oldest never",
        "replay/buffer.py",
        "sequence = head[lane] - 1 - (place",
        "sequence = head[lane] - (place",
        claim("replay/test_buffer.py", "test_random_positions_are_every_stored_row_and_no_other"),
    ),
    Plant(
        15,
        "a row that nobody has searched is given a value, and counts as searched",
        "replay/kernels.py",
        "rows.flags[row] & SETTLED or np.isnan(rows.value[row, 0]):",
        "rows.flags[row] & SETTLED:",
        claim("replay/test_buffer.py", "test_values_alone_are_rewritten_where_there_is_one_and_reach_the_targets"),
    ),
    Plant(
        15,
        "what was legal is forgotten where time is up, so that the bootstrap's search plays what was not",
        "envs/gymnasium.py",
        "if mask is None or terminated:",
        "if mask is None or terminated or truncated:",
        claim("envs/test_gymnasium.py", "test_a_mask_still_holds_where_time_is_up[last0-2-legal0]"),
    ),
    Plant(
        16,
        "unroll step k trains on the reward before it",
        "replay/windows.py",
        "out.reward[b, k, p] = reward[k, p] if real else 0.0",
        "out.reward[b, k, p] = reward[k - 1, p] if real and k > 0 else 0.0",
        claim(WINDOWS, "test_unroll_step_k_trains_on_the_reward_of_step_k"),
    ),
    Plant(
        16,
        "a row holds the reward of the action before it",
        "actors/rollout.py",
        STEP,
        "            before = self._now[i].reward\n"
        + STEP.replace("truncated[i] = now.reward", "truncated[i] = before"),
        claim(ROLLOUT, "test_row_t_holds_the_reward_that_its_own_action_caused"),
    ),
    Plant(
        16,
        "the state before an action predicts its reward, the root too",
        "learner.py",
        "after = _rows(jax.tree.map(lambda s: s[:, 1:], states))",
        "after = _rows(jax.tree.map(lambda s: s[:, :-1], states))",
        claim(LEARNER, "test_the_reward_of_action_k_is_what_the_state_after_it_predicts"),
    ),
    Plant(
        16,
        "a step of a game pays all that was paid before it, too",
        "envs/openspiel.py",
        "(returns - self._returns).astype(np.float32)",
        "returns.astype(np.float32)",
        claim(
            "envs/test_openspiel.py",
            "test_the_rewards_of_an_episode_add_up_to_the_returns_and_its_end_has_an_observation[2048(max_tile=16)]",
        ),
    ),
    Plant(
        17,
        "the policy past an end is trained to uniform",
        "replay/windows.py",
        "target = rows.policy[row, a] if real else np.float32(0.0)",
        "target = rows.policy[row, a] if real else np.float32(1.0 / actions)",
        claim(
            WINDOWS,
            "test_the_policy_past_an_end_is_masked_and_not_trained_to_uniform[True]",
            "test_the_policy_past_an_end_is_masked_and_not_trained_to_uniform[False]",
        ),
    ),
    Plant(
        17,
        "the policy loss forgets its mask",
        "learner.py",
        "cross_entropy(batch.policy_target, policy_logits) * batch.policy_mask",
        "cross_entropy(batch.policy_target, policy_logits)",
        claim(
            LEARNER,
            "test_a_masked_target_changes_nothing_and_a_real_one_does[policy_target-policy_mask-policy_loss]",
        ),
    ),
    Plant(
        18,
        "values past a termination are masked",
        "replay/windows.py",
        "out.value_mask[b, k] = real or over",
        "out.value_mask[b, k] = real",
        claim(WINDOWS, ABSORBING),
    ),
    Plant(
        18,
        "rewards and ends past a termination are masked",
        "replay/windows.py",
        "out.step_mask[b, k] = real or over",
        "out.step_mask[b, k] = real",
        claim(WINDOWS, ABSORBING),
    ),
    Plant(
        18,
        "no step is ever the last one",
        "replay/windows.py",
        "out.continues[b, k] = 0.0 if over and k >= last - 1 else 1.0",
        "out.continues[b, k] = 1.0",
        claim(WINDOWS, ABSORBING),
    ),
    Plant(
        18,
        "the predicted end is left out of the loss",
        "learner.py",
        "for name, term in terms.items()), jnp.zeros(()))",
        'for name, term in terms.items() if name != "discount"), jnp.zeros(()))',
        claim(LEARNER, "test_the_loss_is_the_weighted_sum_of_its_terms"),
    ),
    Plant(
        18,
        "the predicted end is left out of the tree",
        "networks/model.py",
        "discount = self.gamma * going_on",
        "discount = self.gamma * jnp.ones_like(going_on)",
        claim(MODEL, "test_a_predicted_end_scales_gamma"),
    ),
    Plant(
        19,
        "windows never start at the last step of an episode",
        "replay/kernels.py",
        "            if not rows.flags[i * capacity + sequence % capacity] & FINAL:\n",
        "            following = rows.flags[i * capacity + (sequence + 1) % capacity]\n"
        "            if not (rows.flags[i * capacity + sequence % capacity] | following) & FINAL:\n",
        claim(WINDOWS, f"{STARTS}[uniform]"),
    ),
    Plant(
        19,
        "the last step of an episode never gets a priority",
        "replay/kernels.py",
        "if head > 0 and not rows.flags[before] & FINAL:",
        "if head > 0 and not final and not rows.flags[before] & FINAL:",
        claim(WINDOWS, f"{STARTS}[by-priority]"),
    ),
    Plant(
        20,
        "value targets bootstrap from the target network where the search value is asked for",
        "learner.py",
        'if config.bootstrap == "search":',
        "if batch.bootstrap_observation is None:",
        claim(LEARNER, "test_the_value_target_bootstraps_from_the_network_that_the_settings_name"),
    ),
    Plant(
        20,
        "value targets bootstrap from the target network by default",
        "config.py",
        'bootstrap: Literal["target", "search"] = "search"',
        'bootstrap: Literal["target", "search"] = "target"',
        claim(LEARNER, "test_the_value_target_bootstraps_from_the_search_value_unless_asked_otherwise"),
    ),
    Plant(
        20,
        "replay stores the network's value as the search value",
        "agent.py",
        "np.asarray(found.value)",
        "np.asarray(self._initial(model, observation, to_play).value)",
        claim("test_agent.py", "test_a_plan_holds_the_search_value_and_not_the_networks[mean-5.0]"),
    ),
    Plant(
        20,
        "search returns the network's value",
        "search/gumbel.py",
        "buffers.values[b, 0, p, SUM] / np.float32(nodes[b, 0].visits)",
        "buffers.values[b, 0, p, RAW]",
        claim("search/test_search.py", "test_root_value_is_the_visit_mean_with_the_network_value_included"),
    ),
    Plant(
        28,
        "terminated and truncated swapped where step is unpacked",
        "envs/gymnasium.py",
        "raw, reward, terminated, truncated, info = outcome",
        "raw, reward, truncated, terminated, info = outcome",
        claim(GYMNASIUM, TIME_LIMIT),
    ),
    Plant(
        28,
        "terminated and truncated merged where step is unpacked",
        "envs/gymnasium.py",
        "terminated = bool(terminated)",
        "terminated = bool(terminated or truncated)",
        claim(GYMNASIUM, TIME_LIMIT),
    ),
    Plant(
        28,
        "terminated and truncated swapped in the rollout",
        "actors/rollout.py",
        "= now.reward, now.terminated, now.truncated",
        "= now.reward, now.truncated, now.terminated",
        claim(ROLLOUT, ENDS_APART),
    ),
    Plant(
        28,
        "terminated and truncated merged in the rollout",
        "actors/rollout.py",
        "= now.reward, now.terminated, now.truncated",
        "= now.reward, now.terminated or now.truncated, False",
        claim(ROLLOUT, ENDS_APART),
    ),
    Plant(
        28,
        "terminated and truncated swapped in replay",
        "replay/columns.py",
        """\
        TERMINATED * np.asarray(rows.terminated, np.uint8)
        + TRUNCATED * np.asarray(rows.truncated, np.uint8)
""",
        """\
        TERMINATED * np.asarray(rows.truncated, np.uint8)
        + TRUNCATED * np.asarray(rows.terminated, np.uint8)
""",
        claim(WINDOWS, CUT_OFF, "test_termination_does_not_bootstrap"),
    ),
]
