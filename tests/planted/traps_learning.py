"""Plants in losses, sampling, resuming, and at the edges of what is defined."""

from plant import Plant, claim

EXPERIMENT = "test_experiment.py"
LEARNER = "test_learner.py"
OPTIMIZER = "test_optimizer.py"
LOSSES = "maths/test_losses.py"
PRIORITIES = "maths/test_priorities.py"
BUFFER = "replay/test_buffer.py"
SUPPORTS = "maths/test_supports.py"
HALVED = "test_the_gradient_into_the_dynamics_is_halved_each_step_and_the_heads_is_not"
SCALES = "test_unrolled_loss_weights_are_one_at_the_root_and_one_over_the_real_steps_after_it"
COMPOSED_SCALES = "test_the_root_weighs_one_and_the_unrolled_steps_share_one_by_their_real_number"
DECAY = "test_weight_decay_moves_matrices_and_nothing_else"
FINITE = "test_transform_and_inverse_are_finite_for_negative_numbers"
ZEROS = "test_losses_and_gradients_are_finite_at_exact_zeros"
PER_BATCH = "test_each_batch_has_its_own_largest_weight_of_one_and_beta_zero_means_no_weights"
CUT = "test_a_run_cut_in_two_ends_with_the_checkpoint_of_a_run_in_one"
STANDS = "test_a_restored_run_stands_where_the_saved_one_stood"
STUCK = "test_an_episode_that_is_over_is_never_searched_without_a_legal_action"
NO_LEGAL = "test_a_root_without_a_legal_action_is_an_error_and_never_nan"

PLANTS = [
    Plant(
        21,
        "the heads read the state whose gradient is halved",
        "learner.py",
        "        state = model.network.dynamics(entering, action[:, k])\n",
        "        state = model.network.dynamics(state, action[:, k])\n"
        "        state = jax.tree.map(lambda s: scale_gradient(s, DYNAMICS_GRADIENT_SCALE), state)\n",
        claim(LEARNER, HALVED),
    ),
    Plant(
        21,
        "the gradient into the dynamics is not halved",
        "learner.py",
        "entering = jax.tree.map(lambda s: scale_gradient(s, DYNAMICS_GRADIENT_SCALE), state)",
        "entering = state",
        claim(LEARNER, HALVED),
    ),
    Plant(
        22,
        "unrolled losses are scaled by a constant K where fewer steps are real",
        "maths/losses.py",
        "actions = unrolled.sum(1, keepdims=True)",
        "actions = jnp.full_like(unrolled[:, :1], unrolled.shape[1])",
        claim(LOSSES, SCALES) + claim(LEARNER, COMPOSED_SCALES),
    ),
    Plant(
        22,
        "the root is scaled by 1/K too",
        "maths/losses.py",
        "root = jnp.ones_like(unrolled, shape=(mask.shape[0], 1))",
        "root = 1.0 / jnp.maximum(actions, 1.0)",
        claim(LOSSES, SCALES) + claim(LEARNER, COMPOSED_SCALES),
    ),
    Plant(
        23,
        "weight decay configured and not applied by Adam",
        "optimizer.py",
        "weight_decay=config.weight_decay, mask=matrices)",
        "weight_decay=0.0, mask=matrices)",
        claim(OPTIMIZER, f"{DECAY}[adam]"),
    ),
    Plant(
        23,
        "weight decay configured and not applied by Muon",
        "optimizer.py",
        "weight_decay=config.weight_decay,\n                adam",
        "weight_decay=0.0,\n                adam",
        claim(OPTIMIZER, f"{DECAY}[muon]"),
    ),
    Plant(
        23,
        "weight decay configured and not applied by SGD",
        "optimizer.py",
        "rule = optax.chain(decay, optax.sgd(1.0, momentum=0.9))",
        "rule = optax.sgd(1.0, momentum=0.9)",
        claim(OPTIMIZER, f"{DECAY}[sgd]"),
    ),
    Plant(
        23,
        "weight decay of biases and norms",
        "optimizer.py",
        "lambda x: x.ndim >= 2, parameters",
        "lambda x: True, parameters",
        claim(OPTIMIZER, f"{DECAY}[adam]", f"{DECAY}[sgd]"),
    ),
    Plant(
        24,
        "the square root of a negative number",
        "maths/supports.py",
        "jnp.sqrt(jnp.abs(x) + 1.0)",
        "jnp.sqrt(x + 1.0)",
        claim(SUPPORTS, f"{FINITE}[h]"),
    ),
    Plant(
        24,
        "the square root of a negative number in the inverse",
        "maths/supports.py",
        "4.0 * EPSILON * jnp.abs(y)",
        "4.0 * EPSILON * y",
        claim(SUPPORTS, f"{FINITE}[h_inverse]"),
    ),
    Plant(
        24,
        "min-max scaling whose gradient is 0 / 0 where XLA rounds twice",
        "networks/blocks.py",
        "count = jnp.maximum(there.sum(axes, keepdims=True), 1)",
        "count = there.sum(axes, keepdims=True)",
        claim("networks/test_blocks.py", "test_min_max_gradient_is_finite_however_little_xla_optimises"),
    ),
    Plant(
        24,
        "the transform without its linear term",
        "maths/supports.py",
        "+ 1.0) + EPSILON)",
        "+ 1.0))",
        claim(SUPPORTS, "test_h_is_the_papers_with_its_linear_term"),
    ),
    Plant(
        24,
        "the textbook inverse, which loses its digits near 0",
        "maths/supports.py",
        "    return y * per_y * (jnp.abs(y) * per_y + 2.0)\n",
        "    root = (jnp.sqrt(1.0 + 4.0 * EPSILON * (jnp.abs(y) + 1.0 + EPSILON)) - 1.0) / (2.0 * EPSILON)\n"
        "    return jnp.sign(y) * (root * root - 1.0)\n",
        claim(SUPPORTS, "test_h_inverse_undoes_h_within_1e_6_relative_in_float32"),
    ),
    Plant(
        25,
        "0 times log 0 in the cross entropy",
        "maths/losses.py",
        "jnp.where(target_probs > 0, log_probs, 0.0)",
        "log_probs",
        claim(LOSSES, f"{ZEROS}[cross_entropy]"),
    ),
    Plant(
        25,
        "0 times log 0 in the entropy of a target",
        "maths/losses.py",
        "safe = jnp.where(target_probs > 0, target_probs, 1.0)",
        "safe = target_probs",
        claim(LOSSES, f"{ZEROS}[kl]"),
    ),
    Plant(
        25,
        "0 times log 0 in the reported entropy",
        "learner.py",
        "jnp.log(jnp.maximum(policy, _LOG_FLOOR))",
        "jnp.log(policy)",
        claim(LEARNER, "test_the_reported_entropy_is_finite_where_a_target_is_exactly_zero"),
    ),
    Plant(
        26,
        "importance weights without their exponent",
        "maths/priorities.py",
        "weight = (1.0 / (size * probability)) ** beta",
        "weight = 1.0 / (size * probability)",
        claim(PRIORITIES, "test_importance_weights_of_a_worked_number", "test_beta_zero_weighs_every_sample_the_same"),
    ),
    Plant(
        26,
        "the configured exponent of importance weights ignored",
        "replay/buffer.py",
        "self.config.priority_beta) for p in",
        "1.0) for p in",
        claim(BUFFER, PER_BATCH),
    ),
    Plant(
        26,
        "importance weights normalised over several batches",
        "replay/buffer.py",
        "np.stack([importance_weights(p, starts, self.config.priority_beta) for p in probability])",
        "importance_weights(probability, starts, self.config.priority_beta)",
        claim(BUFFER, PER_BATCH),
    ),
    Plant(
        26,
        "importance weights not applied",
        "learner.py",
        "((x * scale).sum(1) * batch.weight).mean()",
        "(x * scale).sum(1).mean()",
        claim(LEARNER, "test_a_sequence_weighs_as_its_importance_weight"),
    ),
    Plant(
        26,
        "priorities without their exponent",
        "replay/buffer.py",
        "np.maximum(priority, MIN_PRIORITY) ** self.config.priority_alpha",
        "np.maximum(priority, MIN_PRIORITY)",
        claim(BUFFER, "test_priority_sampling_draws_starts_in_proportion_to_p_to_the_alpha[0.6]"),
    ),
    Plant(
        26,
        "a new row inherits the priority of the one it evicts",
        "replay/kernels.py",
        "            tree_set(tree, inner, row, 0.0)\n",
        "",
        claim(BUFFER, "test_evictions_never_leave_a_stale_priority"),
    ),
    Plant(
        26,
        "priorities and targets of evicted rows written to the rows in their place",
        "replay/kernels.py",
        "or sequence >= head[i] or sequence < head[i] - capacity:",
        "or sequence >= head[i]:",
        claim(
            BUFFER,
            "test_evictions_never_leave_a_stale_priority",
            "test_targets_written_to_evicted_rows_are_dropped",
        ),
    ),
    Plant(
        27,
        "resume restarts the optimiser, learning rate and moments",
        "experiment/keeping.py",
        'run.learner = _restore_arrays(run.learner, saved.arrays, "learner/", run.folder.path)',
        "fresh = run.learner.optimizer\n"
        '    run.learner = _restore_arrays(run.learner, saved.arrays, "learner/", run.folder.path)\n'
        "    run.learner = run.learner._replace(optimizer=fresh)",
        claim(EXPERIMENT, STANDS, CUT),
    ),
    Plant(
        27,
        "resume restarts the temperature",
        "experiment/run.py",
        "fraction = min(1.0, self.env_steps / self.config.env_steps)",
        'self.planned = getattr(self, "planned", 0) + 1\n'
        "        fraction = min(1.0, self.planned * len(self.rollout) / self.config.env_steps)",
        claim(EXPERIMENT, CUT),
    ),
    Plant(
        27,
        "resume draws held noise anew",
        "experiment/keeping.py",
        'run.drawn = saved.arrays["rollout/drawn"]',
        "pass",
        claim(EXPERIMENT, CUT),
    ),
    Plant(
        27,
        "resume begins the spells of noise anew",
        "experiment/keeping.py",
        'run.noisy = saved.arrays.get("rollout/noisy", run.noisy)',
        "pass",
        claim(EXPERIMENT, CUT),
    ),
    Plant(
        27,
        "resume starts with an empty replay",
        "experiment/keeping.py",
        "run.replay = Replay.load(saved.replay_folder, saved.replay_manifest or {}, run.spec, run.config.replay)",
        "pass",
        claim(EXPERIMENT, STANDS),
    ),
    Plant(
        27,
        "resume restarts the order of replay's draws",
        "replay/chunks.py",
        'replay._rng.bit_generator.state = manifest["rng"]',
        "pass",
        claim(EXPERIMENT, CUT),
    ),
    Plant(
        27,
        "resume lets reanalysis go on with the empty replay",
        "experiment/keeping.py",
        "    run.reanalyse.replay = run.replay\n",
        "",
        claim(EXPERIMENT, CUT),
    ),
    Plant(
        27,
        "resume searches with the keys of the start again",
        "experiment/keeping.py",
        '    "turn",\n',
        "",
        claim(EXPERIMENT, STANDS, CUT),
    ),
    Plant(
        29,
        "the adaptor repeats an action that the environment repeats itself",
        "envs/gymnasium.py",
        "        outcome = self.env.step(self._actions[action])\n",
        "        self.env.step(self._actions[action])\n        outcome = self.env.step(self._actions[action])\n",
        claim("envs/test_gymnasium.py", "test_an_action_is_taken_once_and_as_given"),
    ),
    Plant(
        30,
        "two-hot does not clip a position outside the support",
        "maths/supports.py",
        "    position = jnp.clip(position, 0.0, bins - 1.0)\n    # A triangle",
        "    # A triangle",
        claim(SUPPORTS, "test_two_hot_outside_the_support_is_all_on_the_last_bin"),
    ),
    Plant(
        30,
        "two-hot has no mass on a bin that is hit exactly, the last one too",
        "maths/supports.py",
        "jnp.maximum(0.0, 1.0 - jnp.abs(position[..., None] - np.arange(bins, dtype=np.float32)))",
        "sum(\n"
        "        jnp.where(np.arange(bins) == near[..., None], jnp.abs(position - far)[..., None], 0.0)\n"
        "        for near, far in __import__('itertools').permutations((jnp.floor(position), jnp.ceil(position)))\n"
        "    )",
        claim(SUPPORTS, "test_two_hot_of_worked_numbers"),
    ),
    Plant(
        30,
        "HL-Gauss does not clip a position outside the support",
        "maths/supports.py",
        "    position = jnp.clip(position, 0.0, bins - 1.0)\n    edges",
        "    edges",
        claim(SUPPORTS, "test_hl_gauss_outside_the_support_is_that_of_the_last_bin"),
    ),
    Plant(
        30,
        "a value beyond the limit is encoded as it is",
        "maths/supports.py",
        "x = jnp.clip(x / self.scale, -self.limit, self.limit)",
        "x = x / self.scale",
        claim(SUPPORTS, "test_values_beyond_the_limit_are_clipped_and_mass_still_sums_to_one[hl_gauss]"),
    ),
    Plant(
        31,
        "a return goes on past a terminal state",
        "replay/windows.py",
        "discount[i] = 0.0 if rows.flags[row] & TERMINATED else gamma",
        "discount[i] = gamma",
        claim("replay/test_windows.py", "test_termination_does_not_bootstrap"),
    ),
    Plant(
        31,
        "the value of a terminal state, NaN included, enters a return",
        "maths/returns.py",
        "g = reward[b, i, p] + discount[b, i] * rest if discount[b, i] != 0.0 else reward[b, i, p]",
        "g = reward[b, i, p] + discount[b, i] * rest",
        claim("maths/test_returns.py", "test_lambda_return_stops_at_termination"),
    ),
    Plant(
        31,
        "a root without a legal action is searched in silence",
        "search/api.py",
        "    if not traced:\n        _check_legal(root)\n",
        "",
        claim("search/test_search.py", NO_LEGAL),
        path="xla",
    ),
    Plant(
        31,
        "the policy of a root without a legal action is NaN",
        "search/gumbel.py",
        "    if top == np.float32(-np.inf):\n        row[:] = np.float32(0.0)\n        return\n",
        "",
        claim("search/test_search.py", NO_LEGAL),
        path="xla",
    ),
    Plant(
        31,
        "a finished episode is searched with no legal action in self-play",
        "actors/rollout.py",
        "return legal | nothing[:, None]",
        "return legal",
        claim("actors/test_rollout.py", STUCK),
    ),
    Plant(
        31,
        "a finished episode is searched with no legal action in evaluation",
        "matches.py",
        "if self.game is None or self.over or self.length >= self.max_steps:",
        "if self.game is None or self.length >= self.max_steps:",
        claim("test_evaluate.py", STUCK),
    ),
    Plant(
        31,
        "a predicted mask denies every action",
        "networks/model.py",
        "return legal | ~legal.any(-1, keepdims=True)",
        "return legal",
        claim("networks/test_model.py", "test_a_predicted_mask_never_denies_every_action"),
    ),
    Plant(
        37,
        "every gradient step is as long as the longest",
        "learner.py",
        "rate = learning_rate(config, state.updates, planned)",
        "rate = config.learning_rate",
        claim("test_learner.py", "test_each_gradient_step_is_as_long_as_the_schedule_says[adam]"),
    ),
    Plant(
        37,
        "the schedule ends as if the run had no more gradient steps than its warm-up",
        "maths/schedules.py",
        "progress = jnp.clip((updates - warmup) / jnp.maximum(total_updates - warmup, 1), 0.0, 1.0)",
        "progress = jnp.clip((updates - warmup) / 1, 0.0, 1.0)",
        claim("maths/test_schedules.py", "test_learning_rate_warms_up_then_falls_to_zero_on_a_cosine"),
    ),
]
