"""The running scale of observations against NumPy's own mean and deviation of everything at once."""

from __future__ import annotations

import numpy as np

from muzen.networks.normaliser import Normaliser


def test_parts_of_any_size_add_up_to_the_mean_and_deviation_of_all():
    random = np.random.default_rng(0)
    seen = random.normal(size=(400, 2, 3)) * [[1, 30, 0.01]] + [[-5, 200, 0.3]]
    normaliser = Normaliser((2, 3))
    for part in np.split(seen, [1, 2, 2, 40, 300]):
        normaliser.add(part)
    mean, std = normaliser.scale()
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, seen.std(0), rtol=1e-5)


def test_what_never_varied_is_moved_to_zero_and_not_stretched():
    normaliser = Normaliser((2,))
    normaliser.add(np.array([[3.0, 1.0], [3.0, 2.0]]))
    mean, std = normaliser.scale()
    assert mean.tolist() == [3, 1.5] and std.tolist() == [1, 0.5]


def test_before_anything_is_seen_nothing_is_scaled():
    mean, std = Normaliser((3,)).scale()
    assert mean.tolist() == [0, 0, 0] and std.tolist() == [1, 1, 1]


def test_observations_of_float32_lose_no_digits_to_a_large_mean():
    normaliser = Normaliser((1,))
    seen = (1e4 + np.arange(100_000) % 2).astype(np.float32)[:, None]
    for part in np.array_split(seen, 10):
        normaliser.add(part)
    np.testing.assert_allclose(normaliser.scale()[1], 0.5, rtol=1e-4)
