"""Plant a bug in a copy of the package, and see how the claims about it end there."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import shutil
import sys
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
# A plant here would have every loop of both folders compiled again: where nothing searches they run as Python.
LOOPS = ("replay/", "maths/")
# Each run of claims is a process of its own. Most of its start would be importing libraries: where processes can be
# forked, one has imported them already, and nothing of Muzen.
LIBRARIES = ["equinox", "gymnasium", "hypothesis", "jax", "matplotlib", "mctx", "numba", "optax", "pyspiel", "pytest"]
PROCESSES = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    PROCESSES.set_forkserver_preload([name for name in LIBRARIES if importlib.util.find_spec(name)])


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


def groups(plants: Iterable[Plant]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The claims of all plants by (file, path of search), each once."""
    found: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for plant in plants:
        for name in plant.claims:
            found[name.partition("::")[0], plant.path][name] = None
    return {key: tuple(names) for key, names in found.items()}


class Bed:
    """A copy of the package to plant in, one run of claims at a time, with all that is compiled for it.

    Programs are kept from run to run: JAX finds its own by their text, and Numba's by the text of their folders.

    Args:
      folder: an empty one, of this bed alone.
    """

    def __init__(self, folder: Path):
        self.folder, self.package = folder, folder / "src" / "muzen"
        # With the times of the files, by which Numba knows them.
        shutil.copytree(SOURCE, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def outcomes(self, plant: Plant) -> dict[str, str]:
        """How each of the plant's claims ended where its bug is planted; see `run`."""
        return self.run(plant.claims, plant.path, plant.file, planted(plant))

    def run(self, claims: tuple[str, ...], path: str = "host", file: str = "", text: str = "") -> dict[str, str]:
        """Run claims against the copy, in a process of its own.

        Args:
          claims: node ids.
          path: where searches run that name no path, see `Plant.path`.
          file: below `src/muzen`, to have `text` in place of its own while the claims run; empty: none.

        Returns:
          By claim: `witness.PASSED`; `witness.FAILED` where an assertion of the claim itself did not hold; or what else
          became of it.
        """
        if not file:
            return self._run(claims, path, True, self.folder / "numba")
        copy, own = self.package / file, self.folder / "own"
        shutil.copy2(copy, own)
        try:
            copy.write_text(text, encoding="utf-8")
            _forget(copy)
            compiled = not file.startswith(LOOPS) or any(claim.startswith(SEARCHING) for claim in claims)
            return self._run(claims, path, compiled, self.folder / "numba")
        finally:
            shutil.copy2(own, copy)
            _forget(copy)

    def _run(self, claims: tuple[str, ...], path: str, compiled: bool, kernels: Path) -> dict[str, str]:
        report, log = self.folder / witness.REPORT, self.folder / witness.LOG
        for left in (report, log):
            left.unlink(missing_ok=True)
        process = PROCESSES.Process(target=witness.run, args=(self.folder, REPOSITORY, claims, path, compiled, kernels))
        process.start()
        process.join(MOST_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return dict.fromkeys(claims, f"still ran after {MOST_SECONDS} s")
        ended = json.loads(report.read_text()) if report.exists() else {}
        said = " | ".join(log.read_text().strip().splitlines()[-3:]) if log.exists() else ""
        return {claim: ended.get(claim, f"did not run: {said}") for claim in claims}


def _forget(source: Path) -> None:
    """Drop what Python compiled of a source: it knows sources by their size and the second of their change."""
    for compiled in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
        compiled.unlink()
