import hypothesis
import pytest
from hypothesis import strategies as st

from muzen.envs import episode_seed

NUMBERS = st.integers(0, 2**31)


@hypothesis.given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
@hypothesis.settings(max_examples=50, deadline=None)
def test_an_episode_seed_suits_every_seeding_interface(run_seed, worker, environment, episode):
    seed = episode_seed(run_seed, worker, environment, episode)
    assert isinstance(seed, int)
    assert 0 <= seed < 2**31
    assert seed == episode_seed(run_seed, worker, environment, episode)


def test_every_episode_has_a_seed_of_its_own():
    seeds = [episode_seed(r, w, e, k) for r in range(4) for w in range(4) for e in range(8) for k in range(20)]
    assert len(set(seeds)) == len(seeds)


def test_the_episode_seed_is_the_same_on_every_machine_and_version():
    assert episode_seed(0, 0, 0, 0) == 1839233791
    assert episode_seed(7, 1, 2, 3) == 466412394


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        episode_seed(-1, 0, 0, 0)
