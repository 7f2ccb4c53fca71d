"""The composition root: from a configuration to a run.

`parts` chooses between algorithms and makes the pieces, `run` is the loop that joins them, `keeping` what a
checkpoint holds of it.
"""

from muzen.experiment.keeping import SPAN_FLOOR, restore_model, spec_from_dict
from muzen.experiment.parts import choose_devices, make_agent, make_model, make_simulator
from muzen.experiment.run import Experiment, updates_per_call

__all__ = [
    "SPAN_FLOOR",
    "Experiment",
    "choose_devices",
    "make_agent",
    "make_model",
    "make_simulator",
    "restore_model",
    "spec_from_dict",
    "updates_per_call",
]
