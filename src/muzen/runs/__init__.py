"""The run folder: everything that a run knows, in open files that outlive it."""

from muzen.runs.checkpoint import Checkpoint, Saved
from muzen.runs.folder import RunFolder, environment_facts
from muzen.runs.metrics import Metrics, read_metrics

__all__ = ["Checkpoint", "Metrics", "RunFolder", "Saved", "environment_facts", "read_metrics"]
