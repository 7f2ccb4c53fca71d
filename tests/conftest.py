"""What every test shares: no windows, slow references to import, and property tests that fail the same way twice."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# Compiling is most of the suite: programs are kept for the next time, the small ones too, which by the thousand cost
# the most. JAX does not write them atomically: who reads half of one warns, which is allowed here, and compiles it.
# Deleting .pytest_cache costs time and nothing else.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# What divides a batch over devices wants some.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

# Compiling inside an example takes longer than any deadline; a random seed would make CI a lottery.
settings.register_profile("muzen", deadline=None, derandomize=True)
settings.load_profile("muzen")


# Compiles faster: nothing is optimised, and XLA's older and simpler way of writing loops. A JAX to come may know the
# second no more, and XLA ends a process that names an unknown flag.
UNOPTIMISED = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")


def pytest_configure(config):
    """Programs of the quick tests run for moments: XLA compiles them unoptimised, in less than half of the time.

    `-m slow` and `-m hours`, which run for longer, have what users have, but with `--unoptimised`. XLA reads this when
    JAX's backend starts.
    """
    # A worker's flags are its controller's.
    long = config.option.markexpr.startswith(("slow", "hours")) and not config.getoption("unoptimised")
    if long or "XLA_FLAGS" in os.environ:
        return
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    for flags in (" ".join(UNOPTIMISED), UNOPTIMISED[0]):
        known = subprocess.run(start, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, check=False)
        if known.returncode == 0:
            os.environ["XLA_FLAGS"] = flags
            return


def processor_seconds():
    """Of this process and its finished children: what a test costs, however busy the machine is."""
    took = os.times()
    return time.process_time() + took.children_user + took.children_system


@pytest.fixture(scope="module")
def frequent_reports():
    """Rows of the metrics table five times as often, for runs so short that they would have one or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("muzen.experiment.run.REPORT_STEPS", 100)
        yield


# Linux allows a process 65,530 mappings of its memory. Each compiled program takes several: one process that ran all
# tests died of them, inside XLA.
MOST_MAPPINGS = 30_000


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Forgets what was compiled once there is much of it."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and len(mappings.read_bytes().splitlines()) > MOST_MAPPINGS:
        import jax  # not above: it reads what is set there when it is first imported

        jax.clear_caches()


spent = [0.0]  # up to the last report


def pytest_addoption(parser):
    parser.addoption("--unoptimised", action="store_true", help="XLA compiles slow tests as it does the quick ones")
    parser.addoption("--cpu", type=int, default=0, metavar="N", help="show the N tests of the most processor seconds")


def pytest_collection_finish():
    spent[0] = processor_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    before, spent[0] = spent[0], processor_seconds()
    report.user_properties.append(("cpu", spent[0] - before))
    return report


def pytest_terminal_summary(terminalreporter, config):
    reports = [r for listed in terminalreporter.stats.values() for r in listed if isinstance(r, pytest.TestReport)]
    show_processor_seconds(terminalreporter, reports, config.getoption("cpu"))
    show_plants(terminalreporter, [report for report in reports if report.when == "call"])


def show_processor_seconds(terminalreporter, reports, most):
    """Where the suite's time goes: its files and its tests, set-up included; not what collecting them took."""
    if not most:
        return
    tests, files = Counter(), Counter()
    for report in reports:
        for name, seconds in report.user_properties:
            if name == "cpu":
                tests[report.nodeid] += seconds
                files[report.nodeid.partition("::")[0]] += seconds
    terminalreporter.section("processor seconds")
    for name, seconds in [("in all", files.total()), *files.most_common(most), *tests.most_common(most)]:
        terminalreporter.line(f"{seconds:8.1f}  {name}")


def show_plants(terminalreporter, reports):
    """The table of planted bugs, where any was planted: trap, bug, claim, caught or missed."""
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
