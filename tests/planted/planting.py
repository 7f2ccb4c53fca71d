"""Plant a bug in a copy of the package, and see how the claims about it end there."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import witness
from plant import Plant

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "muzen"
MOST_SECONDS = 900
# Claims that search for real: their kernels must be compiled.
SEARCHING = ("tests/search/", "tests/test_two_players.py")
# Each run of claims is a process of its own. Most of its start would be importing libraries: where processes can be
# forked, one has imported them already, and nothing of Muzen.
PROCESSES = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    PROCESSES.set_forkserver_preload(["equinox", "gymnasium", "jax", "numba", "optax", "pytest"])


def planted(plant: Plant) -> str:
    """The text of the plant's file with the bug in it.

    Raises:
      LookupError: the old text does not stand in it exactly once.
    """
    text = (SOURCE / plant.file).read_text(encoding="utf-8")
    found = text.count(plant.old)
    if found != 1:
        raise LookupError(
            f"{plant.file}: the source moved: {found} places for plant {str(plant)!r}, expected 1; update the plant"
        )
    return text.replace(plant.old, plant.new)


def outcomes(plant: Plant) -> dict[str, str]:
    """How each of the plant's claims ended where its bug is planted; see `run`."""
    return run(plant.claims, plant.path, {plant.file: planted(plant)})


def groups(plants: Iterable[Plant]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The claims of all plants by (file, path of search), each once."""
    found: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for plant in plants:
        for name in plant.claims:
            found[name.partition("::")[0], plant.path][name] = None
    return {key: tuple(names) for key, names in found.items()}


def run(claims: tuple[str, ...], path: str = "host", changed: dict[str, str] | None = None) -> dict[str, str]:
    """Run claims against a fresh copy of the package, in a process of its own.

    Args:
      claims: node ids.
      path: where searches run that name no path, see `Plant.path`.
      changed: text in place of a file's own, by its name below `src/muzen`.

    Returns:
      By claim: `witness.PASSED`; `witness.FAILED` where an assertion of the claim itself did not hold; or what else
      became of it.
    """
    with tempfile.TemporaryDirectory(prefix="muzen-planted-") as name:
        folder = Path(name)
        # Without compiled kernels: Numba looks only at the file of a function, not at the files of those it calls.
        shutil.copytree(SOURCE, folder / "src" / "muzen", ignore=shutil.ignore_patterns("__pycache__"))
        for file, text in (changed or {}).items():
            (folder / "src" / "muzen" / file).write_text(text, encoding="utf-8")
        compiled = any(claim.startswith(SEARCHING) for claim in claims)
        process = PROCESSES.Process(target=witness.run, args=(folder, REPOSITORY, claims, path, compiled))
        process.start()
        process.join(MOST_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return dict.fromkeys(claims, f"still ran after {MOST_SECONDS} s")
        report, log = folder / witness.REPORT, folder / witness.LOG
        ended = json.loads(report.read_text()) if report.exists() else {}
        said = " | ".join(log.read_text().strip().splitlines()[-3:]) if log.exists() else ""
        return {claim: ended.get(claim, f"did not run: {said}") for claim in claims}
