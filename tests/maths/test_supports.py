"""The value transform and the encodings: worked numbers, edges, round trips, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.config import EncodingConfig
from muzen.errors import ConfigError
from muzen.maths.supports import CategoricalEncoding, Encoding, h, h_inverse, hl_gauss, make_encoding, two_hot

ANY_SIZE = np.concatenate([np.logspace(-12, 8, 4001), [0.0]]).astype(np.float32)
BOTH_SIGNS = np.concatenate([-ANY_SIZE[::-1], ANY_SIZE])
CODINGS = ["two_hot", "hl_gauss"]


def h_of_the_paper(x):
    """As printed, in float64."""
    x = np.asarray(x, np.float64)
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 0.001 * x


def log(probabilities):
    """Logits of a distribution, exact zeros included."""
    return jnp.where(probabilities > 0, jnp.log(jnp.maximum(probabilities, 1e-38)), -jnp.inf)


def test_h_of_worked_numbers():
    np.testing.assert_allclose(h(jnp.array([0.0, 3.0, -3.0, 8.0, 99.0])), [0.0, 1.003, -1.003, 2.008, 9.099], rtol=1e-6)


def test_h_is_the_papers_with_its_linear_term():
    np.testing.assert_allclose(h(BOTH_SIGNS), h_of_the_paper(BOTH_SIGNS), rtol=3e-7, atol=1e-15)


@pytest.mark.parametrize("function", [h, h_inverse])
def test_transform_and_inverse_are_finite_for_negative_numbers(function):
    y = np.asarray(function(-ANY_SIZE))
    assert np.isfinite(y).all()
    assert (y[:-1] < 0).all()


def test_h_is_odd_and_increasing():
    y = np.asarray(h(BOTH_SIGNS))
    np.testing.assert_array_equal(y, -y[::-1])
    assert (np.diff(np.asarray(h(np.linspace(-300, 300, 10001).astype(np.float32)))) > 0).all()


def test_h_inverse_undoes_h_within_1e_6_relative_in_float32():
    np.testing.assert_allclose(h_inverse(h(BOTH_SIGNS)), BOTH_SIGNS, rtol=1e-6, atol=0)


def test_h_undoes_h_inverse_over_the_papers_support():
    y = np.linspace(-300, 300, 601).astype(np.float32)
    np.testing.assert_allclose(h(h_inverse(y)), y, rtol=1e-6)


@pytest.mark.parametrize("function", [h, h_inverse])
def test_transform_and_inverse_have_finite_gradients_everywhere(function):
    slope = np.asarray(jax.vmap(jax.grad(function))(BOTH_SIGNS))
    assert np.isfinite(slope).all()
    assert (slope > 0).all()


def test_slopes_at_zero():
    assert jax.grad(h)(0.0) == pytest.approx(0.501)
    assert jax.grad(h_inverse)(0.0) == pytest.approx(1 / 0.501)


def test_two_hot_of_worked_numbers():
    np.testing.assert_allclose(
        two_hot(jnp.array([0.0, 1.25, 3.0]), 4), [[1, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 1]]
    )


def test_two_hot_outside_the_support_is_all_on_the_last_bin():
    np.testing.assert_array_equal(two_hot(jnp.array([-7.0, 9.0, np.inf]), 3), [[1, 0, 0], [0, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize("bins", [2, 3, 100, 601])
def test_two_hot_sums_to_one_on_at_most_two_neighbours(bins):
    position = np.linspace(-1, bins, 997).astype(np.float32)
    probabilities = np.asarray(two_hot(position, bins))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-6)
    used = probabilities > 0
    assert (used.sum(-1) <= 2).all()
    assert (np.abs(np.arange(bins) - np.clip(position, 0, bins - 1)[:, None])[used] < 1).all()


def test_hl_gauss_mass_is_the_normal_distributions():
    # N(0, 1) has 0.382925 within half a deviation, and 0.241730 from there to one and a half.
    middle = np.asarray(hl_gauss(jnp.float32(10.0), 21, 1.0))[9:12]
    np.testing.assert_allclose(middle, [0.241730, 0.382925, 0.241730], atol=1e-5)


def test_hl_gauss_outside_the_support_is_that_of_the_last_bin():
    ends = hl_gauss(jnp.array([0.0, 20.0]), 21, 0.75)
    np.testing.assert_array_equal(hl_gauss(jnp.array([-1e6, 1e6]), 21, 0.75), ends)


@pytest.mark.parametrize("sigma", [0.1, 0.75, 3.0])
@pytest.mark.parametrize("bins", [6, 101])
def test_hl_gauss_sums_to_one_and_peaks_next_to_the_position(bins, sigma):
    position = np.linspace(-1, bins, 997).astype(np.float32)
    probabilities = np.asarray(hl_gauss(position, bins, sigma))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-5)
    assert (probabilities >= 0).all()
    assert (np.abs(probabilities.argmax(-1) - np.clip(position, 0, bins - 1)) <= 0.51).all()


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("transform", [True, False])
@pytest.mark.parametrize("limit", [1.0, 500.0, 90_000.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_decode_undoes_encode_over_the_whole_support_at_any_reward_scale(coding, transform, limit, scale):
    encoding = CategoricalEncoding(limit=limit, bins=101, transform=transform, coding=coding, scale=scale)
    x = np.linspace(-limit, limit, 201).astype(np.float32) * scale
    back = encoding.decode(log(encoding.encode(x)))
    # A sum over bins rounds in units of the edge.
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=2e-5 * limit * scale)


@pytest.mark.parametrize("coding", CODINGS)
def test_values_beyond_the_limit_are_clipped_and_mass_still_sums_to_one(coding):
    encoding = CategoricalEncoding(limit=10.0, bins=31, coding=coding)
    probabilities = encoding.encode(jnp.array([-1e9, -10.0, 10.0, 1e9, np.inf]))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(encoding.decode(log(probabilities)), [-10, -10, 10, 10, 10], rtol=1e-4)


@pytest.mark.parametrize("coding", CODINGS)
def test_encoding_is_symmetric(coding):
    encoding = CategoricalEncoding(limit=10.0, bins=31, coding=coding)
    x = np.linspace(-12, 12, 49).astype(np.float32)
    np.testing.assert_allclose(encoding.encode(x), encoding.encode(-x)[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("coding", CODINGS)
def test_zero_logits_decode_to_zero(coding):
    encoding = CategoricalEncoding(limit=500.0, bins=101, coding=coding)
    assert abs(float(encoding.decode(jnp.zeros(101)))) < 1e-4


def test_the_papers_support_has_whole_numbers_for_bins():
    # 601 bins at -300..300 in the transformed axis; h(3) = 1.003 lies between bins 1 and 2.
    encoding = CategoricalEncoding(limit=float(h_inverse(jnp.float32(300.0))), bins=601)
    probabilities = np.asarray(encoding.encode(jnp.float32(3.0)))
    np.testing.assert_allclose(probabilities[[301, 302]], [0.997, 0.003], atol=1e-4)


def test_decode_takes_the_expectation_before_the_inverse():
    # Half on h = 0 and half on h = h(99): the middle of the transformed axis, not of the values.
    encoding = CategoricalEncoding(limit=99.0, bins=3)
    value = float(encoding.decode(log(jnp.array([0.0, 0.5, 0.5]))))
    assert value == pytest.approx(float(h_inverse(h(jnp.float32(99.0)) / 2)), rel=1e-5)
    assert value < 40


def test_scaling_rewards_and_the_scale_together_changes_no_target():
    x = np.linspace(-9, 9, 19).astype(np.float32)
    small, large = (CategoricalEncoding(limit=10.0, bins=31, scale=s) for s in (1.0, 1024.0))
    np.testing.assert_array_equal(small.encode(x), large.encode(1024 * x))


def test_saturation_is_the_share_at_the_limit_or_beyond():
    encoding = CategoricalEncoding(limit=10.0, bins=31, scale=2.0)
    assert float(encoding.saturation(jnp.array([0.0, 19.9, 20.0, -50.0]))) == 0.5


def test_a_change_of_limit_or_scale_compiles_nothing_again():
    compilations = 0

    @jax.jit
    def encode(encoding, x):
        nonlocal compilations
        compilations += 1
        return encoding.encode(x)

    for limit, scale in [(1.0, 1.0), (50.0, 1.0), (50.0, 0.1)]:
        encode(CategoricalEncoding(limit=limit, bins=11, scale=scale), jnp.float32(0.5))
    assert compilations == 1


def test_make_encoding_prefers_the_configured_limit():
    assert float(make_encoding(EncodingConfig(limit=7.0), limit=3.0).limit) == 7.0
    measured = make_encoding(EncodingConfig(coding="hl_gauss"), limit=3.0, scale=2.0)
    assert (float(measured.limit), float(measured.scale), measured.coding) == (3.0, 2.0, "hl_gauss")


def test_the_categorical_encoding_keeps_the_contract_of_encodings():
    assert isinstance(CategoricalEncoding(limit=1.0, bins=3), Encoding)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bins": 1}, "bins: 1: .*at least 2"),
        ({"bins": 21, "coding": "three_hot"}, "coding: 'three_hot'"),
        ({"bins": 21, "coding": "hl_gauss", "hl_sigma": 0.0}, "hl_sigma: 0.0"),
        ({"bins": 5, "coding": "hl_gauss"}, "bins: 5: .*needs 6 bins"),
    ],
)
def test_an_impossible_encoding_is_refused_with_the_way_out(wrong, message):
    with pytest.raises(ConfigError, match=message):
        CategoricalEncoding(limit=1.0, **wrong)


def test_a_limit_that_is_not_above_zero_is_refused():
    with pytest.raises(ConfigError, match=r"limit: 0\.0"):
        make_encoding(EncodingConfig(), limit=0.0)
