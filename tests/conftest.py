"""What every test shares: no windows, slow references to import, and property tests that fail the same way twice."""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

# Compiling inside an example takes longer than any deadline; a random seed would make CI a lottery.
settings.register_profile("muzen", deadline=None, derandomize=True)
settings.load_profile("muzen")
