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


def pytest_terminal_summary(terminalreporter):
    """The table of planted bugs, where any was planted: trap, bug, claim, caught or missed."""
    reports = [r for listed in terminalreporter.stats.values() for r in listed if getattr(r, "when", "") == "call"]
    found = [(name, value) for report in reports for name, value in report.user_properties]
    plants = sorted((value for name, value in found if name == "plant"), key=lambda plant: plant[0])
    if not plants:
        return
    terminalreporter.section("planted bugs")
    width = max(len(face) for _, face, _, _ in plants)
    for trap, face, claims, caught in plants:
        tests = ", ".join(claim.partition("::")[2] for claim in claims)
        terminalreporter.line(f"{trap:>4}  {'caught' if caught else 'MISSED'}  {face:<{width}}  {tests}")
    for trap, why in (line for name, value in found if name == "absent" for line in value):
        terminalreporter.line(f"{trap:>4}  absent  {why}")
    missed = sum(not caught for _, _, _, caught in plants)
    traps = len({trap for trap, _, _, _ in plants})
    terminalreporter.line(f"{len(plants)} plants of {traps} traps: {len(plants) - missed} caught, {missed} missed")
