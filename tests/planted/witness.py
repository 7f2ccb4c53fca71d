"""A pytest plugin of the process that runs the claims: says how each one ended, in a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import hypothesis
import pytest

ENDED: dict[str, str] = {}


def pytest_configure() -> None:
    # A counterexample is enough: making it small takes many times as long.
    own = hypothesis.settings.get_profile("muzen")
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("witness", own, phases=phases, report_multiple_bugs=False)
    hypothesis.settings.load_profile("witness")


def pytest_collection_finish() -> None:
    xla = sys.modules.get("muzen.search.xla")
    if xla is not None and os.environ["MUZEN_PLANTED_PATH"] == "host":
        xla.unavailable = lambda: "kernels of the host path compile in half the time"  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if call.excinfo is not None:
        error = call.excinfo.value
        claimed = call.when == "call" and isinstance(error, AssertionError | pytest.fail.Exception)
        ENDED[item.nodeid] = "failed" if claimed else f"{type(error).__name__} in {call.when}: {error}"
    elif call.when == "call":
        ENDED[item.nodeid] = "passed"
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ["MUZEN_PLANTED_REPORT"]).write_text(json.dumps(ENDED))
