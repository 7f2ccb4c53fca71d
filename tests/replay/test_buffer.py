"""What replay keeps, what it gives, and what it refuses."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_reference import end_of, episode, filled, random_lanes, rows_of, spec_of, starts_of

from muzen.config import LearnConfig, ReplayConfig
from muzen.errors import ConfigError
from muzen.learner import sample
from muzen.replay import Replay
from muzen.types import EnvSpec

OPTIONS = {"unroll_steps": 1, "n_step": 1, "discount": 0.9}


def chi_square(counts, probability):
    """Pearson's statistic, as deviations from its mean in its own standard deviations."""
    expected = counts.sum() * probability
    degrees = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees)


def counted(replay, ids, count=40):
    index = replay.sample(count, 1000, **OPTIONS).index.ravel()
    return np.array([(index == i).sum() for i in ids])


def test_uniform_sampling_draws_every_start_equally_often():
    lanes = random_lanes(np.random.default_rng(1), 3, 40, 1, 3)
    ids = starts_of(lanes, 20)
    counts = counted(filled(lanes, spec_of(), 60), ids)
    assert counts.sum() == 40_000
    assert chi_square(counts, np.full(len(ids), 1 / len(ids))) < 4


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_priority_sampling_draws_starts_in_proportion_to_p_to_the_alpha(alpha):
    rng = np.random.default_rng(2)
    lanes = random_lanes(rng, 3, 40, 1, 3)
    ids = np.array(starts_of(lanes, 20))
    replay = filled(lanes, spec_of(), 60, priority_alpha=alpha)
    priority = rng.exponential(size=len(ids)) + 0.05
    replay.update_priorities(ids, priority)
    probability = priority**alpha / (priority**alpha).sum()
    assert abs(chi_square(counted(replay, ids), probability)) < 4
    batch = replay.sample(1, 50, **OPTIONS)
    places = [ids.tolist().index(i) for i in batch.index[0]]
    np.testing.assert_allclose(batch.probability[0], probability[places])


def test_importance_weights_make_the_mean_over_draws_the_mean_over_starts():
    rng = np.random.default_rng(3)
    lanes = random_lanes(rng, 2, 60, 1, 3)
    ids = np.array(starts_of(lanes, 100))
    replay = filled(lanes, spec_of(), 200, priority_alpha=1.0, priority_beta=1.0)
    replay.update_priorities(ids, rng.exponential(size=len(ids)) + 0.1)
    value = dict(zip(ids.tolist(), rng.normal(size=len(ids)) + 1, strict=True))
    batch = replay.sample(1, 100_000, **OPTIONS)
    drawn = np.array([value[i] for i in batch.index[0].tolist()])
    assert batch.weight.max() == 1
    scale = batch.weight * replay.starts * batch.probability  # the largest weight, by which all were divided
    np.testing.assert_allclose(scale, scale[0, 0], rtol=1e-5)
    unbiased = batch.weight[0] / scale[0, 0] * drawn
    error = unbiased.std() / np.sqrt(len(unbiased))
    assert abs(unbiased.mean() - np.mean(list(value.values()))) < 4 * error


def test_each_batch_has_its_own_largest_weight_of_one_and_beta_zero_means_no_weights():
    lanes = random_lanes(np.random.default_rng(3), 2, 60, 1, 3)
    ids = np.array(starts_of(lanes, 100))
    for beta in (0.0, 0.5):
        replay = filled(lanes, spec_of(), 200, priority_alpha=1.0, priority_beta=beta)
        replay.update_priorities(ids, np.arange(1.0, len(ids) + 1))
        weight = replay.sample(5, 20, **OPTIONS).weight
        np.testing.assert_array_equal(weight.max(1), 1)
        assert (weight.min() < 1) == (beta > 0)


@pytest.mark.parametrize("always_legal", [True, False])
@pytest.mark.parametrize("players", [1, 2])
@pytest.mark.parametrize("bootstrap_observation", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_blank_batches_have_the_shapes_and_types_of_sampled_ones(always_legal, players, bootstrap_observation, alpha):
    spec = replace(spec_of(), players=players, always_legal=always_legal)
    lanes = random_lanes(np.random.default_rng(1), 2, 40, players, 3)
    replay = filled(lanes, spec, 60, priority_alpha=alpha)
    asked = {"unroll_steps": 2, "bootstrap_observation": bootstrap_observation}
    sampled, blank = replay.sample(3, 4, n_step=2, discount=0.9, **asked), replay.blank(3, 4, **asked)
    for name, x in sampled._asdict().items():
        other = getattr(blank, name)
        assert (x is None) == (other is None), name
        assert x is None or (x.shape, x.dtype) == (other.shape, other.dtype), name


def starts_drawn(rows, ends, unroll=4, draws=8_000):
    """Row numbers of the starts drawn from one lane of these rows."""
    replay = filled([rows], spec_of(), 200)
    return replay.sample(1, draws, unroll_steps=unroll, n_step=1, discount=0.9, ends=ends).index[0]


def test_sequences_moved_to_an_end_hold_it_at_a_random_step_and_none_is_moved_back():
    found = starts_drawn(episode(50, terminated=True), 1.0)
    assert found.min() == 46 and found.max() == 49
    # The later of a start in 0..49 and a place in 46..49: none is moved back.
    assert abs(chi_square(np.bincount(found - 46), np.array([47, 49, 51, 53]) / 200)) < 4
    halfway = starts_drawn(episode(50, terminated=True), 0.5)
    assert (halfway >= 46).mean() == pytest.approx(0.5 + 0.5 * 4 / 50, abs=0.03)


def test_only_an_end_by_rule_draws_sequences_to_it():
    cut = starts_drawn(episode(50, terminated=False), 1.0)
    assert abs(chi_square(np.bincount(cut, minlength=50), np.full(50, 1 / 50))) < 4
    going_on = starts_drawn(episode(50, terminated=True)[:40], 1.0)
    assert abs(chi_square(np.bincount(going_on, minlength=39), np.full(39, 1 / 39))) < 4
    nothing_unrolled = starts_drawn(episode(50, terminated=True), 1.0, unroll=0)
    assert abs(chi_square(np.bincount(nothing_unrolled, minlength=50), np.full(50, 1 / 50))) < 4


def test_moving_to_ends_leaves_the_lane_and_the_episode():
    lanes = random_lanes(np.random.default_rng(5), 3, 60, 1, 3, end=0.1)
    spec, capacity = spec_of(), 25
    ids = starts_of(lanes, capacity)

    def episodes(ends):
        index = (
            filled(lanes, spec, 3 * capacity).sample(1, 30_000, **(OPTIONS | {"unroll_steps": 3}), ends=ends).index[0]
        )
        return [(int(i % 3), end_of(lanes[i % 3], i // 3)) for i in index]

    every = sorted({(i % 3, end_of(lanes[i % 3], i // 3)) for i in ids})
    expected = np.array([sum((i % 3, end_of(lanes[i % 3], i // 3)) == one for i in ids) for one in every])
    assert len(every) > 6 and max(len(lane) for lane in lanes) > capacity
    for ends in (0.0, 1.0):
        found = episodes(ends)
        assert abs(chi_square(np.array([found.count(one) for one in every]), expected / len(ids))) < 4


def test_a_learner_that_asks_for_ends_gets_sequences_that_hold_them():
    replay = filled([episode(50, terminated=True)], spec_of(), 100)

    def holding(ends):
        batch = sample(replay, 4, LearnConfig(ends=ends, unroll_steps=3, n_step=2, batch_size=64))
        return (batch.continues == 0).any(-1)

    assert holding(1.0).all() and holding(0.0).mean() < 0.5 < holding(0.6).mean() < 1


def test_ends_with_priorities_are_refused():
    replay = filled([episode(9, terminated=True)], spec_of(), 20, priority_alpha=0.6)
    with pytest.raises(ValueError, match=r"ends: 0\.5 with priorities"):
        replay.sample(1, 4, **OPTIONS, ends=0.5)


def test_uniform_sampling_has_weights_of_one():
    replay = filled([episode(20, terminated=True)], spec_of(), 100)
    batch = replay.sample(2, 10, **OPTIONS)
    np.testing.assert_array_equal(batch.weight, 1)
    np.testing.assert_allclose(batch.probability, 1 / 20)


def leaves(replay):
    """Weight of every stored id, read from the tree."""
    tree, inner = replay._store.tree, replay._store.inner
    return {
        position * replay.lanes + i: tree[inner + i * replay.capacity + position % replay.capacity]
        for i, head in enumerate(replay._store.lanes.head)
        for position in range(max(0, head - replay.capacity), head)
    }


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), capacity=st.integers(2, 20))
def test_evictions_never_leave_a_stale_priority(seed, capacity):
    rng = np.random.default_rng(seed)
    lanes = random_lanes(rng, 2, 80, 1, 3)
    replay = Replay(spec_of(), ReplayConfig(max_steps=2 * capacity, priority_alpha=1.0), 2, 0)
    known, largest = {}, 1.0
    for t in range(80):
        for i in range(2):
            if t < len(lanes[i]):
                replay.add(np.array([i]), rows_of([lanes[i][t]]))
        ids = rng.integers(0, 2 * (t + 1), 5)  # evicted rows, final rows and newest rows among them
        priority = rng.exponential(size=5) + 0.1
        starts = starts_of([lane[: t + 1] for lane in lanes], capacity)
        for i in starts:
            known.setdefault(i, largest)
        replay.update_priorities(ids, priority)
        largest = max(largest, priority.max())
        known |= {i: p for i, p in zip(ids.tolist(), priority, strict=True) if i in starts}
        expected = {i: known[i] if i in starts else 0.0 for i in leaves(replay)}
        assert leaves(replay) == expected
        assert replay._store.tree[0] == pytest.approx(sum(expected.values()))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.0), (0.7, 0.4)])
def test_frequencies_and_weights_follow_p_of_i_after_evictions_new_priorities_and_a_restart(tmp_path, alpha, beta):
    rng = np.random.default_rng(5)
    lanes = random_lanes(rng, 3, 70, 1, 3)
    config = ReplayConfig(max_steps=60, priority_alpha=alpha, priority_beta=beta)
    replay, known, largest = Replay(spec_of(), config, 3, 0), {}, 1.0
    for t in range(70):
        present = [i for i in range(3) if t < len(lanes[i])]
        replay.add(np.array(present), rows_of([lanes[i][t] for i in present]))
        starts = starts_of([lane[: t + 1] for lane in lanes], 20)
        known = {i: known.get(i, largest) for i in starts}
        if t % 3 == 0:
            ids = rng.choice(3 * (t + 1), min(5, t + 1), replace=False)  # rows that are no starts, or no more, too
            priority = rng.exponential(size=len(ids)) + 0.1
            replay.update_priorities(ids, priority)
            known |= {i: p for i, p in zip(ids.tolist(), priority, strict=True) if i in known}
            largest = max(largest, priority.max())
        if t == 40:
            replay = Replay.load(tmp_path, replay.save(tmp_path), spec_of(), config)
    ids = np.array(sorted(known))
    weight = np.array([known[i] for i in ids.tolist()]) ** alpha
    probability = weight / weight.sum()
    assert abs(chi_square(counted(replay, ids), probability)) < 4
    batch = replay.sample(4, 50, **OPTIONS)
    drawn = probability[np.searchsorted(ids, batch.index)]
    np.testing.assert_allclose(batch.probability, drawn, rtol=1e-9)
    expected = (1 / (len(ids) * drawn)) ** beta
    np.testing.assert_allclose(batch.weight, expected / expected.max(axis=1, keepdims=True), rtol=1e-5)


def test_new_rows_come_in_at_the_largest_priority_seen():
    lane = episode(6, terminated=True)
    replay = Replay(spec_of(), ReplayConfig(max_steps=50, priority_alpha=0.5), 1, 0)
    for row in lane[:3]:
        replay.add(np.array([0]), rows_of([row]))
    replay.update_priorities(np.array([0]), np.array([9.0]))
    replay.add(np.array([0]), rows_of([lane[3]]))
    assert leaves(replay) == {0: 3.0, 1: 1.0, 2: 3.0, 3: 0.0}


def test_a_priority_of_zero_can_still_be_drawn():
    replay = filled([episode(3, terminated=True)], spec_of(), 100, priority_alpha=1.0)
    replay.update_priorities(np.arange(3), np.zeros(3))
    assert set(replay.sample(1, 200, **OPTIONS).index.ravel().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_priorities_that_are_no_priorities_are_refused(bad):
    replay = filled([episode(3, terminated=True)], spec_of(), 100, priority_alpha=1.0)
    with pytest.raises(ValueError, match="priority"):
        replay.update_priorities(np.array([0]), np.array([bad]))


@settings(max_examples=50)
@given(
    shape=st.lists(st.integers(1, 8), max_size=3).map(tuple),
    actions=st.integers(1, 50),
    lanes=st.integers(1, 16),
    kilobytes=st.integers(1, 5000),
    alpha=st.sampled_from([0.0, 1.0]),
    always_legal=st.booleans(),
)
def test_arrays_never_exceed_the_byte_budget(shape, actions, lanes, kilobytes, alpha, always_legal):
    spec = EnvSpec("test", shape, "float32", actions, always_legal=always_legal)
    config = ReplayConfig(max_gb=kilobytes / 1e6, max_steps=10**9, priority_alpha=alpha)
    try:
        replay = Replay(spec, config, lanes, 0)
    except ConfigError as error:
        assert "replay.max_gb" in str(error)
        return
    assert replay.nbytes <= kilobytes * 1000
    # and the budget is used: one more row in each lane would not fit, but for roundings and an allowance of a few kB
    assert replay.nbytes + replay.lanes * replay.bytes_per_row + 4200 + lanes * 64 > 0.98 * kilobytes * 1000


FILL = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from replay_reference import episode, filled, spec_of
from muzen.config import ReplayConfig
from muzen.replay import Replay, Rows
from muzen.types import EnvSpec


def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def use(replay):
    batch = replay.sample(1, 16, unroll_steps=3, n_step=5, discount=0.9)
    replay.update_priorities(batch.index, np.ones(16))
    index = replay.positions(16)
    actions, players = replay.spec.num_actions, replay.spec.players
    replay.write_targets(index, np.full((16, actions), 1 / actions), np.zeros((16, players)))


compiled = filled([episode(3, terminated=True)], spec_of(), 100, priority_alpha=1.0)
use(compiled)
flag = np.zeros(8, bool)
rows = Rows(np.ones((8, 64, 64), np.uint8), np.zeros(8), np.zeros((8, 1)), flag, flag, flag, flag, None)
before = most = resident()
config = ReplayConfig(max_gb=0.2, max_steps=10**9, priority_alpha=1.0)
replay = Replay(EnvSpec("test", (64, 64), "uint8", 4), config, 8, 0)
for turn in range(3 * replay.capacity):
    replay.add(np.arange(8), rows)
    if turn % 100 == 99:
        use(replay)
        most = max(most, resident())
assert replay.steps == replay.max_steps and replay.nbytes <= 200e6
print(most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_a_full_replay_takes_no_more_memory_than_its_budget():
    """Of a process of its own that adds, samples and rewrites three times what fits."""
    command = [sys.executable, "-c", FILL, str(Path(__file__).parents[1])]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.19e9 < grown < 0.2e9 + 4e6  # a few MB of the interpreter's own


def test_max_steps_bounds_the_rows_too():
    replay = Replay(spec_of(), ReplayConfig(max_gb=1, max_steps=1000), 8, 0)
    assert replay.max_steps == 1000
    assert replay.nbytes < 100_000


def test_the_bound_is_stated_up_front():
    spec = EnvSpec("test", (4,), "float32", 2)
    replay = Replay(spec, ReplayConfig(max_gb=0.1, max_steps=1_300_000), 8, 0)
    assert replay.describe() == "replay: up to 70.2 MB, 1.3 M steps"


def test_a_budget_below_two_rows_a_lane_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"replay\.max_gb.*set at least"):
        Replay(spec_of(), ReplayConfig(max_gb=1e-6), 8, 0)
    with pytest.raises(ConfigError, match=r"replay\.max_steps.*set at least 16"):
        Replay(spec_of(), ReplayConfig(max_steps=15), 8, 0)


def test_an_episode_that_is_cut_off_ends_in_the_position_that_it_showed():
    lane = random_lanes(np.random.default_rng(4), 1, 60, 2, 3)[0]
    cut = next(i for i in range(1, 60) if not lane[i].final)
    replay = filled([lane[:cut]], spec_of(2), 100)
    shown, legal = lane[cut].observation, np.array([True, False, True])
    replay.cut_off(0, shown, 1, legal)
    np.testing.assert_array_equal(replay.observations(np.array([cut])), shown[None])
    np.testing.assert_array_equal(replay.legal(np.array([cut])), legal[None])
    assert replay.to_play(np.array([cut])).tolist() == [1]
    replay.cut_off(0, shown, 0, legal)  # over already: nothing to do
    assert replay.to_play(np.array([cut])).tolist() == [1]


def test_the_sweep_visits_every_row_but_terminal_ones_oldest_first_and_over_again():
    lane = episode(3, terminated=True) + episode(2, terminated=False) + episode(5, terminated=True)[:2]
    replay = filled([lane], spec_of(), 100)
    # rows: 0 1 2 3=terminal | 4 5 6=cut off | 7 8=newest
    visited = [0, 1, 2, 4, 5, 6, 7, 8]
    assert replay.positions(5).tolist() == visited[:5]
    assert replay.positions(9).tolist() == visited[5:] + visited[:6]


def test_the_sweep_follows_evictions_and_covers_every_lane():
    lanes = [episode(50, terminated=True) for _ in range(2)]
    replay = filled([lane[:30] for lane in lanes], spec_of(), 40)
    assert replay.positions(4).tolist() == [20, 21, 22, 23]
    for row in range(30, 45):
        replay.add(np.arange(2), rows_of([lane[row] for lane in lanes]))
    assert replay.positions(40).tolist() == list(range(50, 90))


def test_the_sweep_of_an_empty_replay_gives_nothing():
    assert Replay(spec_of(), ReplayConfig(), 2, 0).positions(5).size == 0


def test_targets_written_to_evicted_rows_are_dropped():
    lane = episode(30, terminated=True)
    replay = filled([lane], spec_of(), 10)
    before = replay._store.rows.value.copy()
    fresh = np.full((1, 3), 1 / 3)
    assert replay.write_targets(np.array([5]), fresh, np.array([[99.0]])) == 0
    np.testing.assert_array_equal(replay._store.rows.value, before)
    assert replay.write_targets(np.array([25]), fresh, np.array([[99.0]])) == 1
    batch = replay.sample(1, 64, unroll_steps=0, n_step=1, discount=1.0)
    assert (batch.bootstrap_value[0, batch.index[0] == 24] == 99).all()


def test_random_positions_are_every_stored_row_and_no_other():
    lengths = (25, 7, 30)
    replay = filled([episode(n, terminated=False)[:n] for n in lengths], spec_of(), 30)
    stored = {t * 3 + lane for lane, n in enumerate(lengths) for t in range(max(0, n - replay.capacity), n)}
    index = replay.random_positions(6_000, np.random.default_rng(0))
    ids, counts = np.unique(index, return_counts=True)
    assert set(ids.tolist()) == stored
    # Each as likely: a count is binomial, and five standard deviations are more than any of so few strays.
    expected = 6_000 / len(stored)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert len(Replay(spec_of(), ReplayConfig(), 1, 0).random_positions(5, np.random.default_rng(0))) == 0


def test_values_alone_are_rewritten_where_there_is_one_and_reach_the_targets():
    lane = episode(25, terminated=True)
    replay = filled([lane], spec_of(), 10)
    rows = replay._store.rows
    policy, unsearched = rows.policy.copy(), 21 % replay.capacity
    rows.value[unsearched] = np.nan
    assert replay.write_values(np.array([5, 21, 24]), np.array([[99.0], [99.0], [99.0]])) == 1
    assert np.isnan(rows.value[unsearched, 0])
    np.testing.assert_array_equal(rows.policy, policy)
    batch = replay.sample(1, 64, unroll_steps=0, n_step=1, discount=1.0)
    assert (batch.bootstrap_value[0, batch.index[0] == 23] == 99).all()


def test_legal_actions_players_and_observations_of_ids():
    lanes = random_lanes(np.random.default_rng(4), 2, 60, 2, 3)
    replay = filled(lanes, spec_of(2), 20)
    index = replay.positions(12)
    rows = [lanes[i % 2][i // 2] for i in index]
    np.testing.assert_array_equal(replay.legal(index), [row.legal for row in rows])
    np.testing.assert_array_equal(replay.to_play(index), [row.to_play for row in rows])
    np.testing.assert_array_equal(replay.observations(index), [row.observation for row in rows])


def test_one_seed_gives_the_same_samples_and_another_seed_others():
    lane = episode(50, terminated=True)
    drawn = []
    for seed in (0, 0, 1):
        replay = Replay(spec_of(), ReplayConfig(), 1, seed)
        for row in lane:
            replay.add(np.array([0]), rows_of([row]))
        drawn.append([replay.sample(1, 8, **OPTIONS).index.tolist() for _ in range(3)])
    assert drawn[0] == drawn[1] != drawn[2]


def test_samples_are_fresh_arrays_that_later_writes_leave_alone():
    replay = filled([episode(9, terminated=True)], spec_of(), 100)
    first = replay.sample(1, 8, **OPTIONS)
    kept = first.policy_target.copy()
    replay.write_targets(np.arange(9), np.eye(3)[np.zeros(9, int)], np.zeros((9, 1)))
    replay.sample(1, 8, **OPTIONS)
    np.testing.assert_array_equal(first.policy_target, kept)


def test_statistics_count_every_step_ever_added():
    lane = episode(3, terminated=True, reward=-2.0) + episode(4, terminated=False) + episode(9, terminated=True)[:2]
    replay = filled([lane], spec_of(), 4)
    assert replay.statistics == (2, 2.0, -6.0, 4.0)
    assert (replay.total_steps, replay.steps) == (9, 3)


def test_the_largest_lasting_reward_is_of_stored_steps_that_ended_no_episode():
    lanes = [
        episode(1, terminated=True, reward=-100.0) + episode(3, terminated=False, reward=-2.0),
        episode(2, terminated=True, reward=3.0),
    ]
    replay = Replay(spec_of(), ReplayConfig(max_steps=100), 2, 0)
    assert replay.largest_lasting_reward() == 0.0
    replay._store.rows.reward[...] = 1e9  # what memory may hold where nothing is stored yet
    for i, lane in enumerate(lanes):
        replay.add(np.full(len(lane), i), rows_of(lane))
    assert replay.largest_lasting_reward() == 3.0
    assert filled([lanes[0]], spec_of(), 100).largest_lasting_reward() == 2.0


def test_age_is_counted_in_environment_steps():
    replay = filled([episode(9, terminated=True), episode(9, terminated=True)], spec_of(), 100)
    batch = replay.sample(1, 64, **OPTIONS)
    np.testing.assert_array_equal(batch.age[0], 18 - batch.index[0])


def broken(lane, position, **changes):
    for name, value in changes.items():
        setattr(lane[position], name, value)
    return lane


@pytest.mark.parametrize(
    ("lane", "match"),
    [
        (episode(3, terminated=True)[:3] + episode(3, terminated=True), "needs a final row"),
        (episode(3, terminated=True)[3:], "no ended episode"),
        (broken(episode(3, terminated=True), 1, action=3), "action"),
        (broken(episode(3, terminated=True), 1, reward=np.array([np.nan])), "reward"),
        (broken(episode(3, terminated=True), 1, observation=np.zeros(4, np.float32)), "observation"),
        (broken(episode(3, terminated=True), 1, value=np.zeros(2)), "value"),
    ],
)
def test_rows_that_break_an_episode_are_refused(lane, match):
    replay = Replay(spec_of(), ReplayConfig(), 1, 0)
    with pytest.raises(ValueError, match=match):
        for row in lane:
            replay.add(np.array([0]), rows_of([row]))


def test_lanes_and_sampling_that_make_no_sense_are_refused():
    replay = Replay(spec_of(), ReplayConfig(), 1, 0)
    with pytest.raises(ValueError, match="no step can be sampled"):
        replay.sample(1, 1, **OPTIONS)
    with pytest.raises(ValueError, match="lane"):
        replay.add(np.array([1]), rows_of(episode(1, terminated=True)[:1]))
    with pytest.raises(ValueError, match="n_step"):
        replay.sample(1, 1, unroll_steps=1, n_step=0, discount=1.0)
