"""What `import muzen` promises."""

import importlib
import inspect
import subprocess
import sys

import pytest

import muzen


def test_the_public_names_are_these():
    assert muzen.__all__ == [
        "Agent",
        "Callback",
        "Config",
        "MuzenError",
        "Run",
        "__version__",
        "arena",
        "check",
        "diagnose",
        "evaluate",
        "load",
        "plot",
        "preset",
        "record",
        "resume",
        "search",
        "show",
        "train",
    ]


def test_the_public_names_are_sorted_and_offered_by_dir():
    assert muzen.__all__ == sorted(muzen.__all__)
    assert set(muzen.__all__) <= set(dir(muzen))


@pytest.mark.parametrize("name", [name for name in muzen.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    value = getattr(muzen, name)
    assert callable(value)
    assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = muzen.trian


@pytest.mark.parametrize("name", ["arena", "check", "diagnose", "evaluate", "record", "search", "show"])
def test_a_module_named_like_a_function_can_be_called_as_it(name):
    module = importlib.import_module(f"muzen.{name}")
    assert getattr(muzen, name) is module
    module_name, _, attribute = muzen._HOMES[name].partition(":")
    function = getattr(importlib.import_module(module_name), attribute)
    assert inspect.signature(module) == inspect.signature(function)


def test_a_module_named_like_a_function_calls_it(monkeypatch):
    module = importlib.import_module("muzen.api")
    monkeypatch.setattr(module, "evaluate", lambda folder, *, episodes: (folder, episodes))
    assert muzen.evaluate("here", episodes=3) == ("here", 3)


def test_importing_muzen_loads_nothing_heavy():
    code = "import sys, muzen; print(sorted({'jax', 'numpy', 'gymnasium', 'numba', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_error_is_a_muzen_error():
    from muzen import errors

    raised = [value for value in vars(errors).values() if inspect.isclass(value)]
    assert len(raised) > 10
    assert all(issubclass(error, muzen.MuzenError) and error.__doc__ for error in raised)
