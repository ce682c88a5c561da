"""``python -m rl_baselines.enjoy RUN``: watch a saved policy act, film it, measure it. Nothing of the run changes."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import EnvironmentConfig, EnvironmentShortcuts, TrustOptions, setting

if TYPE_CHECKING:
    from rl_baselines.evaluation import EvaluationResult
    from rl_baselines.layers import Layer
    from rl_baselines.sources import Source

DESCRIPTION = "Watch a saved policy act, film it, measure it. The environment is its run's, unless changed by flags."
MAX_ENVS = 8


@dataclass(frozen=True)
class EnjoyOptions:
    """Enjoy"""

    run: str = setting(
        "latest",
        "A run folder (its best model), RUN@last, RUN@step:N, a model zip, an rl-zoo folder, or latest.",
        positional=True,
    )
    n_episodes: int = setting(10, "Number of episodes.", ("-n",))
    algo: str | None = setting(None, "Algorithm, where a lone zip does not tell it.", metavar="NAME")
    stochastic: bool = setting(False, "Sample actions instead of taking the most likely ones.")
    render: bool = setting(False, "Show a window.")
    video: tuple[str, ...] = setting((), "Film the episodes into these files, .mp4 or .gif.", metavar="FILE")
    video_episodes: int = setting(3, "Episodes in the film.")
    json: bool = setting(False, "Print one JSON object on standard output.")
    log_dir: str = setting("logs", "Where latest is looked for.", metavar="FOLDER")


def layers_of(source: "Source", given: dict[str, Any]) -> "list[Layer]":
    """Give the settings under which a saved policy acts: its own, and above them what was given.

    :param given: settings of the environment, and `algo`
    """
    from rl_baselines.layers import Layer
    from rl_baselines.transfer.inheritance import inherited_layer

    return [inherited_layer(source, given)[0], Layer("flags", given)]


def measure(source: "Source", given: dict[str, Any], options: EnjoyOptions) -> "EvaluationResult":
    """Let the policy act for the episodes asked for, all environments at once."""
    from rl_baselines.evaluation import evaluate, evaluation_seeds
    from rl_baselines.model_building import load_to_act
    from rl_baselines.screen import episode_progress

    n_envs = 1 if options.render else min(MAX_ENVS, options.n_episodes)
    policy, env = load_to_act(source, layers_of(source, given), n_envs, "human" if options.render else None)
    try:
        seeds = evaluation_seeds(options.n_episodes, "enjoy")
        with episode_progress(options.n_episodes) as on_episode:
            return evaluate(policy, env, seeds, not options.stochastic, on_episode)
    finally:
        env.close()


def film(source: "Source", given: dict[str, Any], options: EnjoyOptions) -> None:
    """Film the first of the same episodes, without a window."""
    import gymnasium as gym

    from rl_baselines.errors import UsageError
    from rl_baselines.evaluation import evaluation_seeds
    from rl_baselines.model_building import load_to_act
    from rl_baselines.video import record

    policy, env = load_to_act(source, layers_of(source, given), 1, "rgb_array")
    try:
        seeds = evaluation_seeds(min(options.video_episodes, options.n_episodes), "enjoy")
        record(policy, env, seeds, [Path(name) for name in options.video], deterministic=not options.stochastic)
    except (ValueError, OSError, gym.error.Error) as error:
        raise UsageError(f"cannot film: {error}") from None
    finally:
        env.close()


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    groups = (EnjoyOptions, EnvironmentConfig, EnvironmentShortcuts, TrustOptions)
    given = parse(groups, argv, "python -m rl_baselines.enjoy", DESCRIPTION)
    names = EnjoyOptions.__dataclass_fields__
    options = EnjoyOptions(**{name: value for name, value in given.items() if name in names})
    trusted = given.pop("trust_source", False)
    environment = {name: value for name, value in given.items() if name not in names}
    if options.algo is not None:
        environment["algo"] = options.algo

    from rl_baselines.errors import UsageError
    from rl_baselines.screen import standard_output_kept
    from rl_baselines.sources import resolve
    from rl_baselines.video import check_suffix

    if options.n_episodes < 1 or options.video_episodes < 1:
        raise UsageError("--n-episodes and --video-episodes must be at least 1")
    for name in options.video:
        check_suffix(Path(name))
    source = resolve(options.run, Path(options.log_dir), trusted)
    with standard_output_kept(options.json):
        result = measure(source, environment, options)
        if options.video:
            film(source, environment, options)
    _show(source, result, options)
    return 0


def _show(source: "Source", result: "EvaluationResult", options: EnjoyOptions) -> None:
    from rl_baselines.reports import describe

    if options.json:
        print(json.dumps({"source": source.path, "selection": source.selection, **result.summary()}))
        return
    print(f"model:  {source}")
    print(f"result: {describe(result)}; deviation {result.std_reward:.3g}, mean length {result.mean_length:.0f} steps")
    for name in options.video:
        print(f"film:   {name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
