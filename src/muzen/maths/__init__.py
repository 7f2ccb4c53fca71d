"""The equations of the papers: one equation, one function."""

from muzen.maths.losses import (
    binary_cross_entropy,
    cross_entropy,
    kl,
    negative_cosine,
    scale_gradient,
    unrolled_loss_weights,
)
from muzen.maths.priorities import importance_weights, priority, probabilities
from muzen.maths.returns import lambda_return, n_step_return, n_step_value
from muzen.maths.schedules import learning_rate, visit_policy, visit_temperature
from muzen.maths.supports import CategoricalEncoding, Encoding, h, h_inverse, hl_gauss, make_encoding, two_hot

__all__ = [
    "CategoricalEncoding",
    "Encoding",
    "binary_cross_entropy",
    "cross_entropy",
    "h",
    "h_inverse",
    "hl_gauss",
    "importance_weights",
    "kl",
    "lambda_return",
    "learning_rate",
    "make_encoding",
    "n_step_return",
    "n_step_value",
    "negative_cosine",
    "priority",
    "probabilities",
    "scale_gradient",
    "two_hot",
    "unrolled_loss_weights",
    "visit_policy",
    "visit_temperature",
]
