"""The process that runs the claims against one copy of the package, and writes down how each one ended."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

REPORT, LOG = "ended.json", "log.txt"
# How a claim ended, beside errors in words.
PASSED, FAILED = "passed", "failed"


def run(folder: Path, repository: Path, claims: tuple[str, ...], path: str, compiled: bool, kernels: Path) -> None:
    """Run the claims with `folder / "src"` as the source; to be called in a fresh process.

    Args:
      folder: takes the report and the log.
      repository: where the tests are.
      claims: node ids.
      path: "host" or "xla", where searches run that name no path.
      compiled: compile the kernels; otherwise they run as plain Python, the same statements without the wait.
      kernels: where compiled kernels are kept.
    """
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(repository)
    sys.path.insert(0, str(folder / "src"))
    os.environ |= {
        "PYTHONPATH": str(folder / "src"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "NUMBA_CACHE_DIR": str(kernels),
        "NUMBA_DISABLE_JIT": str(int(not compiled)),
    }
    os.environ.pop("PYTEST_ADDOPTS", None)

    import jax
    import numba
    import pytest

    # Both may have been imported before the environment was set.
    numba.core.config.reload_config()
    # Programs are kept by what they do: those of the suite serve here too, as far as the plant leaves them alone.
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    if not compiled:
        # Random bits overflow on purpose.
        options += ["-W", "ignore:overflow encountered:RuntimeWarning"]
    ended: dict[str, str] = {}

    class Witness:
        def pytest_configure(self) -> None:
            import hypothesis

            # A counterexample is enough: making it small takes many times as long.
            phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
            own = hypothesis.settings.get_profile("muzen")
            hypothesis.settings.register_profile("witness", own, phases=phases, report_multiple_bugs=False)
            hypothesis.settings.load_profile("witness")

        def pytest_collection_finish(self) -> None:
            used = sys.modules.get("muzen")
            if used is not None and folder not in Path(str(used.__file__)).parents:
                raise pytest.UsageError(f"the claims use {used.__file__}, not the copy in {folder}")
            xla = sys.modules.get("muzen.search.xla")
            if xla is not None and path == "host":
                xla.unavailable = lambda: "the kernels of the host path compile in half the time"  # type: ignore

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
            report = yield
            if call.excinfo is not None:
                error = call.excinfo.value
                claimed = call.when == "call" and isinstance(error, AssertionError | pytest.fail.Exception)
                ended[item.nodeid] = FAILED if claimed else f"{type(error).__name__} in {call.when}: {error}"
            elif call.when == "call":
                ended[item.nodeid] = PASSED
            return report

    pytest.main([*options, *claims], plugins=[Witness()])
    (folder / REPORT).write_text(json.dumps(ended))
