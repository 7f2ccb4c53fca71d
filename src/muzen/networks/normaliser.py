"""Running mean and deviation of what an environment shows, for the model that is to see it in units of its own."""

from __future__ import annotations

import numpy as np


class Normaliser:
    """Running mean and deviation of observations, in float64."""

    def __init__(self, shape: tuple[int, ...]):
        self.count, self.mean, self.m2 = 0.0, np.zeros(shape), np.zeros(shape)

    def add(self, observation: np.ndarray) -> None:
        """Take in [M, ...] observations."""
        n = len(observation)
        if n == 0:
            return
        mean = observation.mean(0, dtype=np.float64)
        m2 = ((observation - mean) ** 2).sum(0)
        delta, total = mean - self.mean, self.count + n
        self.mean = self.mean + delta * n / total
        self.m2 = self.m2 + m2 + delta**2 * self.count * n / total
        self.count = total

    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """[...] float32 mean and deviation; the deviation is 1 where an entry never varied."""
        std = np.sqrt(self.m2 / max(self.count, 1.0))
        return self.mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32)
