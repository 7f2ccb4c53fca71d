"""Values and rewards as categories: the paper's transform h, its inverse, and encodings over evenly spaced bins."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen.config import EncodingConfig
from muzen.errors import ConfigError
from muzen.types import Array

# ε of the paper's transform: the linear term that keeps h invertible and its slope away from 0.
EPSILON = 0.001
# HL-Gauss bins beyond ±limit, in standard deviations.
_HL_MARGIN = 3.0


def h(x: Array) -> Array:
    """The paper's value transform, h(x) = sign(x)(√(|x| + 1) − 1) + εx with ε = 0.001.

    Computed as x / (√(|x| + 1) + 1) + εx, the same number without cancellation near 0.

    Args:
      x: any shape.

    Returns:
      The same shape; odd, increasing, h(0) = 0, slope 0.501 at 0.

    Source: MuZero, arXiv:1911.08265, appendix F; arXiv:1805.11593.
    """
    return x * (1.0 / (jnp.sqrt(jnp.abs(x) + 1.0) + 1.0) + EPSILON)


def h_inverse(y: Array) -> Array:
    """The exact inverse of `h`, without cancellation: float32 round trips within 1e-6 relative.

    With u = √(|x| + 1) − 1, h reads |y| = εu² + (1 + 2ε)u. Its positive root is
    u = 2|y| / (1 + 2ε + √((1 + 2ε)² + 4ε|y|)), and |x| = u(u + 2). The textbook form
    ((√(1 + 4ε(|y| + 1 + ε)) − 1) / 2ε)² − 1 subtracts nearly equal numbers twice.

    Args:
      y: any shape.

    Returns:
      The same shape.

    Source: arXiv:1805.11593, proposition A.2.
    """
    b = 1.0 + 2.0 * EPSILON
    per_y = 2.0 / (b + jnp.sqrt(b * b + 4.0 * EPSILON * jnp.abs(y)))
    return y * per_y * (jnp.abs(y) * per_y + 2.0)


@runtime_checkable
class Encoding(Protocol):
    """What networks, losses and search ask of a value or reward encoding; any object with these will do."""

    bins: int

    def encode(self, x: Array) -> Array:
        """[...] environment units -> [..., bins] target probabilities."""
        ...

    def decode(self, logits: Array) -> Array:
        """[..., bins] logits -> [...] environment units."""
        ...


def two_hot(position: Array, bins: int) -> Array:
    """Mass on the two bins next to a position, so that the expected bin is the position.

    Args:
      position: [...] in bins, clipped to 0..bins-1.
      bins: number of bins.

    Returns:
      [..., bins], sums to 1; all mass on one bin where the position is a whole number.

    Source: MuZero, arXiv:1911.08265, appendix F.
    """
    position = jnp.clip(position, 0.0, bins - 1.0)
    # A triangle of width 1 round the position: the same numbers as two scattered weights, in one fused operation.
    return jnp.maximum(0.0, 1.0 - jnp.abs(position[..., None] - np.arange(bins, dtype=np.float32)))


def hl_gauss(position: Array, bins: int, sigma: float) -> Array:
    """A Gaussian histogram: each bin gets the mass of N(position, σ²) between its edges.

    Args:
      position: [...] in bins, clipped to 0..bins-1.
      bins: number of bins; bin i spans i − ½ to i + ½.
      sigma: σ, in bins.

    Returns:
      [..., bins], sums to 1.

    Source: Stop Regressing, arXiv:2403.03950, section 3.1.
    """
    position = jnp.clip(position, 0.0, bins - 1.0)
    edges = np.arange(bins + 1, dtype=np.float32) - 0.5
    z = (edges - position[..., None]) / sigma
    # The mass between two edges is taken in the lower tail, where float32 keeps its digits.
    upper = z[..., :-1] > 0
    low, high = jnp.where(upper, -z[..., 1:], z[..., :-1]), jnp.where(upper, -z[..., :-1], z[..., 1:])
    mass = jax.scipy.stats.norm.cdf(high) - jax.scipy.stats.norm.cdf(low)
    return mass / mass.sum(-1, keepdims=True)


def _scalar(x: Any) -> Array:
    return jnp.asarray(x, jnp.float32)


class CategoricalEncoding(eqx.Module):
    """A number as a distribution over evenly spaced bins of a transformed axis.

    x / scale is clipped to ±limit, transformed with `h` (or not), and spread over bins that cover
    ±h(limit); decoding takes the expected bin back. `limit` and `scale` are arrays, so that changing
    them compiles nothing again.

    Departure: HL-Gauss bins reach 3σ beyond ±h(limit), so that the Gaussian of an x at the limit is not cut
    off; cut, it would decode to half a bin less than x.

    Attributes:
      limit: [] largest |x / scale| that the bins cover.
      scale: [] environment units of one unit of x / scale.
      bins: number of bins; odd puts 0 on a bin.
      transform: use `h`.
      coding: two neighbouring bins, or a Gaussian histogram.
      hl_sigma: HL-Gauss σ, in bins.

    Raises:
      ConfigError: too few bins, or σ not above 0.
    """

    limit: Array = eqx.field(converter=_scalar)
    bins: int = eqx.field(static=True)
    transform: bool = eqx.field(static=True, default=True)
    coding: Literal["two_hot", "hl_gauss"] = eqx.field(static=True, default="two_hot")
    hl_sigma: float = eqx.field(static=True, default=0.75)
    scale: Array = eqx.field(converter=_scalar, default=1.0)

    def __check_init__(self) -> None:
        if self.bins < 2:
            raise ConfigError(f"bins: {self.bins}: an encoding needs at least 2 bins; set bins to 2 or more")
        if self.coding not in ("two_hot", "hl_gauss"):
            raise ConfigError(f"coding: {self.coding!r} is not a coding; use 'two_hot' or 'hl_gauss'")
        if self.coding == "hl_gauss" and not self.hl_sigma > 0:
            raise ConfigError(f"hl_sigma: {self.hl_sigma}: must be above 0 bins; the paper's is 0.75")
        if self.coding == "hl_gauss" and self.bins - 1 <= 2 * _HL_MARGIN * self.hl_sigma:
            least = int(2 * _HL_MARGIN * self.hl_sigma) + 2
            raise ConfigError(
                f"bins: {self.bins}: hl_gauss with hl_sigma {self.hl_sigma} needs {least} bins or more; "
                "raise bins or lower hl_sigma"
            )

    @property
    def edge(self) -> Array:
        """[] transformed coordinate of the last bin; the first is at minus it."""
        edge = h(self.limit) if self.transform else self.limit
        if self.coding == "hl_gauss":
            half = (self.bins - 1) / 2
            edge = edge * (half / (half - _HL_MARGIN * self.hl_sigma))
        return edge

    def encode(self, x: Array) -> Array:
        """[...] environment units -> [..., bins] probabilities that sum to 1; beyond ±limit clipped to it."""
        x = jnp.clip(x / self.scale, -self.limit, self.limit)
        x = h(x) if self.transform else x
        position = (x / self.edge + 1.0) * ((self.bins - 1) / 2)
        if self.coding == "hl_gauss":
            return hl_gauss(position, self.bins, self.hl_sigma)
        return two_hot(position, self.bins)

    def decode(self, logits: Array) -> Array:
        """[..., bins] logits -> [...] environment units: h⁻¹ of the expected bin, times the scale."""
        location = np.linspace(-1.0, 1.0, self.bins, dtype=np.float32)
        x = (jax.nn.softmax(logits) * location).sum(-1) * self.edge
        return (h_inverse(x) if self.transform else x) * self.scale

    def saturation(self, x: Array) -> Array:
        """[] share of x, environment units, at the limit or beyond it."""
        return (jnp.abs(x / self.scale) >= self.limit).mean()


def limit_and_scale(encoding: Encoding) -> tuple[float, float]:
    """Largest |x / scale| that an encoding tells from larger ones, and the scale; ∞ and 1 for one that does not say."""
    if not isinstance(encoding, CategoricalEncoding):
        return np.inf, 1.0
    return float(encoding.limit), float(encoding.scale)


def make_encoding(config: EncodingConfig, *, limit: float, scale: float = 1.0) -> CategoricalEncoding:
    """The encoding that a configuration names.

    Args:
      config: bins, coding and transform; its `limit`, where above 0, takes the place of the argument's.
      limit: largest |x / scale| to cover, measured from data.
      scale: environment units of one unit of x / scale.

    Raises:
      ConfigError: too few bins, an unknown coding, or a limit that is not above 0.
    """
    limit = config.limit or limit
    if not limit > 0:
        raise ConfigError(f"limit: {limit}: must be above 0, or 0 in the configuration to measure it from data")
    return CategoricalEncoding(
        limit=limit,
        bins=config.bins,
        transform=config.transform,
        coding=config.coding,
        hl_sigma=config.hl_sigma,
        scale=scale,
    )
