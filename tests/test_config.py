"""Settings are read strictly, and every refusal says the way out."""

import dataclasses
import json
import math
import re
import typing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzen import config as module
from muzen.config import (
    RANGES,
    Config,
    LearnConfig,
    SearchConfig,
    config_from_dict,
    load_config,
    override,
    to_dict,
    validate,
)
from muzen.errors import ConfigError
from muzen.presets import PRESETS, preset

SECTIONS = {name: hint for name, hint in typing.get_type_hints(Config).items() if dataclasses.is_dataclass(hint)}


def refusal(changes: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        override(Config("CartPole-v1"), changes)
    return str(caught.value)


def test_numbers_of_numpy_are_as_good_as_pythons():
    changed = override(Config("CartPole-v1"), {"env_steps": np.int64(100), "learn.discount": np.float32(0.5)})
    assert (changed.env_steps, type(changed.env_steps)) == (100, int) and changed.learn.discount == 0.5
    with pytest.raises(ConfigError, match=r"env_steps: .*100\.0.* is not a whole number"):
        override(Config("CartPole-v1"), {"env_steps": np.float64(100)})


def test_a_misspelt_field_names_the_nearest():
    assert refusal({"replay.max_step": 3}) == "replay.max_step: unknown field; did you mean max_steps?"


def test_a_field_of_another_section_is_pointed_to():
    assert refusal({"simulations": 3}) == "simulations: unknown field; did you mean search.simulations?"


def test_a_field_like_no_other_lists_what_there_is():
    assert refusal({"replay.zzz": 1}).startswith("replay.zzz: unknown field; replay has max_gb, max_steps")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search.simulations": 0}, "search.simulations: 0 is out of range; it must be at least 1"),
        ({"search.simulations": 2.5}, "search.simulations: 2.5 is not a whole number"),
        ({"search.simulations": True}, "search.simulations: True is not a whole number"),
        ({"search.rule": "ucb"}, "search.rule: 'ucb' is not one of gumbel, puct"),
        ({"search": 3}, "search: 3 is not a table of fields"),
        ({"learn.discount": 0}, "learn.discount: 0.0 is out of range; it must be above 0 and at most 1"),
        ({"learn.discount": math.nan}, "learn.discount: nan is not finite"),
        ({"learn.learn_discount": 1}, "learn.learn_discount: 1 is not true or false"),
        ({"env_id": ""}, "env_id: '' is empty; give a Gymnasium id such as CartPole-v1"),
        (
            {"learn.ends": 0.2, "replay.priority_alpha": 0.6},
            "learn.ends: 0.2 with replay.priority_alpha 0.6; a sequence that is moved on was not drawn by its "
            "priority: use 0 for one of them",
        ),
        ({"act.noise_steps": 0.5}, "act.noise_steps: 0.5 is shorter than a step; use 0 for no spells, or at least 1"),
    ],
)
def test_a_wrong_value_names_field_value_and_rule(changes, message):
    assert refusal(changes) == message


def test_a_replay_too_small_for_one_window_says_what_would_do():
    found = re.search(r"use at least (\d+)$", refusal({"replay.max_steps": 10}))
    assert found is not None
    enough = int(found[1])
    override(Config("CartPole-v1"), {"replay.max_steps": enough})
    assert "replay.max_steps" in refusal({"replay.max_steps": enough - 1})


def test_every_number_has_a_range():
    for section in [Config, *SECTIONS.values()]:
        numbers = {name for name, hint in typing.get_type_hints(section).items() if hint in (int, float)}
        assert numbers == set(RANGES[section])


def test_every_field_says_what_it_is():
    source = Path(module.__file__).read_text(encoding="utf-8")
    for section in [Config, *SECTIONS.values()]:
        assert section.__doc__
        for name in typing.get_type_hints(section):
            if section is not Config or name not in SECTIONS:
                declaration = source.index(f"\n    {name}: ", source.index(f"class {section.__name__}:"))
                assert source[declaration:].split("\n", 3)[2].startswith('    """'), f"{section.__name__}.{name}"


def test_every_default_is_valid():
    config = Config("CartPole-v1")
    assert validate(config) is config


def test_a_whole_number_does_for_a_number():
    held = override(Config("CartPole-v1"), {"learn.clip_norm": 3}).learn.clip_norm
    assert held == 3.0
    assert isinstance(held, float)


def test_validation_refuses_what_python_lets_through():
    with pytest.raises(ConfigError, match=r"search\.simulations"):
        validate(Config("CartPole-v1", search=SearchConfig(simulations=-1)))


def test_overrides_take_dotted_names_sections_and_dataclasses():
    base = Config("CartPole-v1")
    dotted = override(base, {"search.simulations": 32})
    assert dotted == override(base, {"search": {"simulations": 32}})
    assert dotted == override(base, {"search": SearchConfig(simulations=32)})
    assert base.search.simulations == SearchConfig().simulations


def test_overrides_keep_what_they_do_not_name():
    base = Config("CartPole-v1", learn=LearnConfig(discount=0.9, n_step=3))
    assert override(base, {"learn.n_step": 4}).learn == LearnConfig(discount=0.9, n_step=4)


def test_a_missing_environment_is_said():
    with pytest.raises(ConfigError, match="env_id: missing"):
        config_from_dict({})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_configuration_survives_json(tmp_path, name):
    config = preset(name)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(config)), encoding="utf-8")
    assert load_config(path) == config


def test_a_toml_file_states_only_what_differs(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("env_steps = 500\n[search]\nsimulations = 8\n", encoding="utf-8")
    config = load_config(path, base=preset("Acrobot-v1"))
    assert config == override(preset("Acrobot-v1"), {"env_steps": 500, "search.simulations": 8})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"", "a configuration is a .json or .toml file, not .yaml"),
        ("a.json", b"{", "not valid JSON"),
        ("a.toml", b"a = ", "not valid TOML"),
        ("a.json", b"\xff", "not valid JSON"),
        ("a.json", b"[" * 100_000, "not valid JSON"),
        ("a.json", b"[]", "is not a table of fields"),
        ("a.json", b'{"env_id": "x", "seed": -1}', "seed: -1 is out of range"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.(json|toml|yaml)") as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.json")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
LEAVES = [name for section in SECTIONS.values() for name in typing.get_type_hints(section)]
NEARLY = st.dictionaries(
    st.sampled_from([*typing.get_type_hints(Config)]) | st.text(),
    ANYTHING | st.dictionaries(st.sampled_from(LEAVES) | st.text(), ANYTHING, max_size=4),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING | NEARLY)
def test_any_json_gives_a_config_or_a_config_error(data):
    try:
        config = config_from_dict(data)
    except ConfigError as error:
        assert str(error)
    else:
        assert config_from_dict(to_dict(config)) == config


def test_an_unnamed_environment_gets_its_discount_spells_of_noise_and_fresh_values_from_its_length():
    pytest.importorskip("jax")
    from muzen.types import EnvSpec

    long = EnvSpec("Mine-v0", (4,), "float32", num_actions=3, max_episode_steps=5_000)
    assert preset("Mine-v0", long).learn.discount > preset("Mine-v0").learn.discount
    assert preset("Mine-v0", long).act.noise_steps > preset("Mine-v0").act.noise_steps == 0
    assert preset("Mine-v0", long).reanalyse.values_per_step > preset("Mine-v0").reanalyse.values_per_step == 0
    # Where an inference is a convolution, they cost more than they may bring.
    seen = dataclasses.replace(long, observation_shape=(4, 84, 84), observation_dtype="uint8")
    assert preset("Mine-v0", seen).act.noise_steps > 0 == preset("Mine-v0", seen).reanalyse.values_per_step


def test_presets_share_how_to_learn_but_for_acrobots_optimiser_and_what_cartpole_has_so_little_data_for():
    scale = {"env_steps", "learn.samples_per_step", "learn.discount"}
    scale |= {"reanalyse.positions_per_step", "reanalyse.values_per_step"}
    scale |= {
        "value.limit",
        "value.bins",
        "reward.limit",
        "learn.unseen_end",
        "reward.bins",
        "act.noise_steps",
        "learn.batch_size",
        "learn.unroll_steps",
    }
    hidden = {"network.past_actions"}  # what the environment does not show is no way to learn either
    assert PRESETS["Acrobot-v1"]["learn.optimizer"] == "muon"
    own = {"Acrobot-v1": {"learn.optimizer"}, "CartPole-v1": {"learn.ends", "search.span_floor"}}
    for name, stated in PRESETS.items():
        assert set(stated) <= scale | hidden | own.get(name, set()), name
