"""Losses and their scales: cross entropy, consistency, the gradient's ½, the unrolled steps' 1/K."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from muzen.types import Array

# Vectors shorter than this count as this long in a cosine.
_MIN_NORM = 1e-8


def cross_entropy(target_probs: Array, logits: Array) -> Array:
    """−Σ_a p(a) log softmax(logits)(a), 0 · log 0 taken as 0.

    Args:
      target_probs: [..., A] distribution; exact zeros allowed, also where a logit is −inf.
      logits: [..., A].

    Returns:
      [...], in nats; its gradient in the logits is softmax(logits) − p.

    Source: MuZero, arXiv:1911.08265, section 3.
    """
    log_probs = jax.nn.log_softmax(logits)
    # The zero is put inside the product: outside it, a gradient through p would meet 0 · inf.
    terms = target_probs * jnp.where(target_probs > 0, log_probs, 0.0)
    # A sum as a product with ones: XLA's own, over the last axis, is not vectorised on CPUs.
    return -jnp.matmul(terms, jnp.ones(terms.shape[-1], terms.dtype), precision="highest")


def kl(target_probs: Array, logits: Array) -> Array:
    """KL(p ‖ softmax(logits)) = cross entropy − entropy of p; the same gradient in the logits.

    Args:
      target_probs: [..., A] distribution; exact zeros allowed.
      logits: [..., A].

    Returns:
      [...], in nats; 0 where the two are equal.

    Source: Gumbel MuZero, ICLR 2022, equation 12.
    """
    safe = jnp.where(target_probs > 0, target_probs, 1.0)
    return cross_entropy(target_probs, logits) + (target_probs * jnp.log(safe)).sum(-1)


def binary_cross_entropy(logit: Array, target: Array) -> Array:
    """−t log σ(logit) − (1 − t) log(1 − σ(logit)), in a form that cannot overflow.

    Args:
      logit: [...].
      target: [...] in [0, 1], or a mask.

    Returns:
      [...], in nats; its gradient is σ(logit) − t.
    """
    return jax.nn.softplus(logit) - target * logit


def negative_cosine(a: Array, b: Array) -> Array:
    """−cos(a, b) over the last axis: the consistency loss. Zero vectors give 0 and a zero gradient.

    The caller stops the gradient of the real state's side.

    Args:
      a: [..., D] prediction from the unrolled state.
      b: [..., D] projection of the real state.

    Returns:
      [...], from −1 (same direction) to 1.

    Source: EfficientZero, arXiv:2111.00210, section 4.1; SimSiam, arXiv:2011.10566.
    """

    def unit(x: Array) -> Array:
        squared = (x * x).sum(-1, keepdims=True)
        return x * jnp.where(squared > _MIN_NORM**2, jax.lax.rsqrt(jnp.maximum(squared, _MIN_NORM**2)), 0)

    return -(unit(a) * unit(b)).sum(-1)


@jax.custom_jvp
def scale_gradient(x: Array, s: float) -> Array:
    """x itself, with a gradient that is s times as large.

    Args:
      x: an array.
      s: scale of the gradient; ½ on the state that enters the next dynamics call, and only on that copy.

    Source: MuZero, arXiv:1911.08265, appendix G.
    """
    del s
    return x


@scale_gradient.defjvp
def _scale_gradient_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, s = primals
    # The dtype is x's even where s is a float64 scalar.
    return x, (s * tangents[0]).astype(x.dtype)


def unrolled_loss_weights(mask: Array) -> Array:
    """Weight of the loss of each unrolled step: 1 at the root, 1/K after it, K the real number of actions.

    Args:
      mask: [B, K+1] true where the step is trained; entry 0, the root, always counts. For absorbing padding with a
        constant K, every entry is true.

    Returns:
      [B, K+1] float32, 0 where an unrolled step is masked; unrolled weights of a row sum to 1, or to 0 if none is real.

    Source: MuZero, arXiv:1911.08265, appendix G and pseudocode (`update_weights`).
    """
    unrolled = mask[:, 1:].astype(jnp.float32)
    actions = unrolled.sum(1, keepdims=True)
    root = jnp.ones_like(unrolled, shape=(mask.shape[0], 1))
    return jnp.concatenate([root, unrolled / jnp.maximum(actions, 1.0)], axis=1)
