"""Value targets per player: n-step and λ-returns. Numba kernels on NumPy arrays, for the replay's side."""

from __future__ import annotations

import numpy as np

from muzen.caches import kernel

# Row t holds r_{t+1} and γ_{t+1}. Values are vectors over players: nothing here compares players or flips a sign.


@kernel
def n_step_return(reward, discount, start, n, last, out):
    """Discounted rewards of at most n rows from `start`, and where the rest of the return comes from.

    z_start = out + bootstrap_discount · ν(bootstrap_row)

    It stops before n rows at row `last`, and after a row whose discount is 0 (termination).

    Departure: a time limit bootstraps, from the last row's observation. Ending there would teach it as a loss.

    Args:
      reward: [T, P] r_{t+1}, environment units.
      discount: [T] γ_{t+1}; 0 at termination.
      start: first row; a logical number, stored in row start mod T, so that a ring needs no copy.
      n: environment steps, 1 or more.
      last: the logical row that has an observation but no outcome, `start` or after.
      out: [P] receives Σ_i γ^i r; overwritten.

    Returns:
      bootstrap_discount: product of the discounts passed; 0 after termination.
      bootstrap_row: logical row whose value continues the return, at most `last`.

    Source: MuZero, arXiv:1911.08265, section 3; a time limit bootstraps as arXiv:1712.00378 argues.
    """
    rows = reward.shape[0]
    players = reward.shape[1]
    for p in range(players):
        out[p] = 0.0
    product = 1.0
    row = start
    while row < last and row < start + n and product != 0.0:
        stored = row % rows
        for p in range(players):
            out[p] += product * reward[stored, p]
        product *= discount[stored]
        row += 1
    return product, row


@kernel
def _n_step_value(reward, discount, bootstrap, n, out):
    for b in range(out.shape[0]):
        for t in range(out.shape[1]):
            product, row = n_step_return(reward[b], discount[b], t, n, t + n, out[b, t])
            for p in range(out.shape[2]):
                # A terminal row's bootstrap may be anything, NaN included: it does not count.
                if product != 0.0:
                    out[b, t, p] += product * bootstrap[b, row - 1, p]


@kernel
def _lambda_return(reward, discount, bootstrap, lam, n, out):
    last = reward.shape[1] - 1
    for b in range(out.shape[0]):
        for t in range(out.shape[1]):
            end = min(t + n - 1, last)
            for p in range(out.shape[2]):
                g = bootstrap[b, end, p]
                for i in range(end, t - 1, -1):
                    rest = bootstrap[b, i, p] if i == end else (1.0 - lam) * bootstrap[b, i, p] + lam * g
                    # A terminal row's bootstrap may be anything, NaN included: it does not count.
                    g = reward[b, i, p] + discount[b, i] * rest if discount[b, i] != 0.0 else reward[b, i, p]
                out[b, t, p] = g


def n_step_value(reward: np.ndarray, discount: np.ndarray, bootstrap: np.ndarray, *, n: int) -> np.ndarray:
    """Value target z_t: n discounted rewards, then a search value.

    z_t = r_{t+1} + γ_{t+1} (r_{t+2} + ... + γ_{t+n} ν_{t+n})

    Args:
      reward: [B, T, P] r_{t+1}, environment units, not transformed.
      discount: [B, T] γ_{t+1}; 0 at termination.
      bootstrap: [B, T, P] ν_{t+1}, one value per player.
      n: environment steps, 1 to T.

    Returns:
      [B, T - n + 1, P] float32 targets, environment units.

    Raises:
      ValueError: n is outside 1..T, or the shapes do not agree.

    Source: MuZero, arXiv:1911.08265, section 3.
    """
    reward, discount, bootstrap = _checked(reward, discount, bootstrap)
    size, steps, players = reward.shape
    _check_n(n, steps)
    out = np.empty((size, steps - n + 1, players), np.float32)
    _n_step_value(reward, discount, bootstrap, n, out)
    return out


def lambda_return(
    reward: np.ndarray, discount: np.ndarray, bootstrap: np.ndarray, *, lam: float, n: int | None = None
) -> np.ndarray:
    """λ-return: the mean of all i-step returns up to n, weighted (1 − λ)λ^(i−1), the last one λ^(n−1).

    G_t = r_{t+1} + γ_{t+1} ((1 − λ) ν_{t+1} + λ G_{t+1}), and at the window's end G = ν.

    Args:
      reward: [B, T, P] r_{t+1}, environment units.
      discount: [B, T] γ_{t+1}; 0 at termination.
      bootstrap: [B, T, P] ν_{t+1}, one value per player.
      lam: λ, 0 (one-step) to 1 (n-step).
      n: environment steps of the window, 1 to T; None: every window reaches the last row.

    Returns:
      [B, T - n + 1, P] float32, or [B, T, P] where n is None; environment units.

    Raises:
      ValueError: λ is outside 0..1, n is outside 1..T, or the shapes do not agree.

    Source: Stochastic MuZero, ICLR 2022, appendix (2048: n = 10, λ = 0.5); Sutton and Barto, section 12.1.
    """
    reward, discount, bootstrap = _checked(reward, discount, bootstrap)
    size, steps, players = reward.shape
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam: {lam}: must be 0 to 1")
    if n is not None:
        _check_n(n, steps)
    out = np.empty((size, steps if n is None else steps - n + 1, players), np.float32)
    _lambda_return(reward, discount, bootstrap, float(lam), steps if n is None else n, out)
    return out


def _check_n(n: int, steps: int) -> None:
    if not 1 <= n <= steps:
        raise ValueError(f"n: {n}: must be 1 to {steps}, the steps given; lower n or pass longer sequences")


def _checked(reward: np.ndarray, discount: np.ndarray, bootstrap: np.ndarray) -> tuple[np.ndarray, ...]:
    arrays = tuple(np.ascontiguousarray(x, np.float32) for x in (reward, discount, bootstrap))
    if arrays[0].ndim != 3 or arrays[1].shape != arrays[0].shape[:2] or arrays[2].shape != arrays[0].shape:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"reward, discount, bootstrap: shapes {shapes}; must be [B, T, P], [B, T], [B, T, P]")
    return arrays
