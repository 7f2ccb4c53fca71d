"""Self-play: environments, a search, and the rows they make for replay."""

from muzen.actors.rollout import Ended, Plan, Rollout

__all__ = ["Ended", "Plan", "Rollout"]
