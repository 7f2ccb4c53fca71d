"""What every test shares: no windows, and property tests that fail the same way twice."""

import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

# Compiling inside an example takes longer than any deadline; a random seed would make CI a lottery.
settings.register_profile("muzen", deadline=None, derandomize=True)
settings.load_profile("muzen")
