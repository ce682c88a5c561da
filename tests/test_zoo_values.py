"""Values in rl-zoo's files, read without evaluating anything."""

from pathlib import Path
from typing import Any

import pytest

from rl_baselines.algorithms import find_algorithm
from rl_baselines.errors import UsageError
from rl_baselines.foreign.zoo_settings import normalization_of, told_by_config
from rl_baselines.foreign.zoo_values import linear_start, read_zoo_file, zoo_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dict(net_arch=[64, 64])", {"net_arch": [64, 64]}),
        ("dict(a=dict(pi=(1, -2.5)), b='x', c=None, d=True)", {"a": {"pi": (1, -2.5)}, "b": "x", "c": None, "d": True}),
        ("dict(activation_fn=nn.ReLU, cls=Extractor)", {"activation_fn": "nn.ReLU", "cls": "Extractor"}),
        ("{'norm_obs': True, 'norm_reward': False}", {"norm_obs": True, "norm_reward": False}),
        ("(4, 'step')", (4, "step")),
        ("auto", "auto"),
        ("lin_0.1", "lin_0.1"),
        (3, 3),
    ],
)
def test_literals(text: Any, expected: Any) -> None:
    assert zoo_value(text, "it") == expected


@pytest.mark.parametrize(
    "text",
    [
        "dict(a=__import__('os').system('true'))",
        "dict(a=[x for x in ()])",
        "dict(a=2**99)",
        "dict(**{'a': 1})",
        "dict([('a', 1)])",
        "dict(a=open('x'))",
        "dict(a=(lambda: 1)())",
        "[f'{1}']",
        "dict(a=",
    ],
)
def test_what_is_more_than_a_literal_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^it is not a plain value, so it is not read: "):
        zoo_value(text, "it")


@pytest.mark.parametrize(("text", "expected"), [("lin_0.2", 0.2), ("lin_3e-4", 3e-4), ("lin_x", None), (0.2, None)])
def test_linear_values(text: Any, expected: float | None) -> None:
    assert linear_start(text) == expected


def test_ordered_dictionaries_and_tuples_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "!!python/object/apply:collections.OrderedDict\n- - - a\n    - 1\n  - - b\n    - !!python/tuple [2, 3]\n"
    )
    assert read_zoo_file(path) == {"a": 1, "b": (2, 3)}
    assert read_zoo_file(tmp_path / "args.yml") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['true']", r"asks for !!python/object/apply:os.system: only plain values"),
        ("a: !!python/name:os.system ''", r"asks for !!python/name:os.system: only plain values are read from it"),
        ("!!python/object/apply:collections.OrderedDict {a: 1}", r"expected a list of pairs: only plain values"),
        ("a: [", r"is not valid YAML: "),
        ("- 1", r"must hold 'name: value' lines, got a list$"),
    ],
)
def test_other_tags_and_torn_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_zoo_file(tmp_path / "config.yml")
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"norm_obs": False, "norm_reward": False}),
        ({"normalize": False}, {"norm_obs": False, "norm_reward": False}),
        ({"normalize": True}, {"norm_obs": True, "norm_reward": True}),
        ({"normalize": "{'norm_obs': False}"}, {"norm_obs": False, "norm_reward": True}),
        (
            {"normalize": "dict(norm_obs=True, norm_reward=False, clip_obs=5.0)"},
            {"norm_obs": True, "norm_reward": False, "clip_obs": 5.0},
        ),
        ({"normalize": True, "normalize_kwargs": {"norm_reward": False}}, {"norm_obs": True, "norm_reward": False}),
    ],
)
def test_normalization(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert normalization_of(config, "it") == expected


def test_a_whole_file_of_settings() -> None:
    config = {
        "n_timesteps": 1e6,
        "frame_stack": 4,
        "policy": "CnnPolicy",
        "buffer_size": 1e5,
        "train_freq": [1, "episode"],
        "ent_coef": "auto",
        "tau": "lin_0.02",
        "optimize_memory_usage": False,
        "policy_kwargs": "dict(log_std_init=-3, net_arch=[400, 300], optimizer_class=RMSpropTFLike)",
        "vec_env_wrapper": None,
        "monitor_kwargs": {"info_keywords": ("a",)},
    }
    told = told_by_config(config, find_algorithm("sac"), "config.yml")
    assert {name: told.values[name] for name in ("num_timesteps", "num_stack", "policy")} == {
        "num_timesteps": 1_000_000,
        "num_stack": 4,
        "policy": "CnnPolicy",
    }
    assert told.hyperparam == {
        "buffer_size": 100_000,
        "train_freq": (1, "episode"),
        "ent_coef": "auto",
        "tau": 0.02,
        "optimize_memory_usage": False,
    }
    assert told.policy_kwargs == {"log_std_init": -3, "net_arch": [400, 300]}
    assert told.notes == [
        "policy options of config.yml: optimizer_class=RMSpropTFLike",
        "decay of tau (it fell from 0.02 to 0, here it stays at 0.02)",
        'what has no counterpart of config.yml: monitor_kwargs: {"info_keywords": ["a"]}',
    ]
    with pytest.raises(UsageError, match=r"^config.yml: gamma expects a number, got 'much'$"):
        told_by_config({"gamma": "much"}, find_algorithm("sac"), "config.yml")
