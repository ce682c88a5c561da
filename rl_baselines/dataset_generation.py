"""``python -m environments.dataset_generator``: what is asked for, checked and settled before anything is recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from rl_baselines.config import EnvironmentConfig, EnvironmentShortcuts, TrustOptions, setting
from rl_baselines.errors import UsageError

if TYPE_CHECKING:
    from environments.dataset import Origin
    from rl_baselines.config import RunConfig
    from rl_baselines.dataset_recording import EnvMaker, PolicyMaker
    from rl_baselines.layers import Layer
    from rl_baselines.sources import Source


@dataclass(frozen=True)
class DatasetOptions:
    """Dataset"""

    num_episode: int = setting(50, "Number of episodes.")
    num_cpu: int = setting(1, "Processes that record; they change nothing in what is recorded.")
    save_path: str = setting("logs/datasets", "Folder of datasets.", metavar="FOLDER")
    name: str | None = setting(None, "Name of the dataset's folder there. Default: by environment and task.")
    seed: int = setting(0, "Every episode derives from it and its own number.")
    force: bool = setting(False, "Replace a dataset of that name, once the new one is complete.", ("-f",))
    task_label: str | None = setting(None, "What the episodes are labelled with. Default: the task's name.")
    reward_dist: bool = setting(False, "Print at the end how often which reward was given.")

    def __post_init__(self) -> None:
        for name in ("num_episode", "num_cpu"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"--seed must not be negative, got {self.seed}")
        if self.name is not None and (Path(self.name).name != self.name or self.name in ("", "..")):
            raise UsageError(f"--name is a plain name, got {self.name!r}; --save-path is where it lies")


@dataclass(frozen=True)
class ActingOptions:
    """Policy"""

    run_policy: Literal["random", "walker", "custom"] = setting(
        "random", "What acts: chance, a script that leads the robot to its target, or a trained run."
    )
    toward_target_timesteps_proportion: float | None = setting(
        None,
        "Share of the steps in which the script acts, and chance in the others. Default: 0 for random, 1 for walker.",
    )
    log_custom_policy: str | None = setting(
        None,
        "The trained run, as enjoy takes it; with --latest, the folder in which its newest run is taken.",
        metavar="RUN",
    )
    latest: bool = setting(False, "Take the newest run of --log-custom-policy, or else of --log-dir.")
    episode: int = setting(
        -1, "Take the run's last checkpoint that was saved by the end of this training episode; -1: its best model."
    )
    deterministic: bool = setting(False, "The run takes its most likely actions instead of drawing them.")
    algo: str | None = setting(None, "Algorithm of a lone model zip that does not tell it.", metavar="NAME")
    log_dir: str = setting("logs", "Where --latest looks for runs.", metavar="FOLDER")

    def __post_init__(self) -> None:
        of_run = ("log_custom_policy", "latest", "deterministic", "algo")
        given = [name for name in of_run if getattr(self, name)] + (["episode"] if self.episode != -1 else [])
        if self.run_policy != "custom" and given:
            raise UsageError(f"--{given[0].replace('_', '-')} concerns a trained run: give --run-policy custom too")
        if self.run_policy == "custom" and not (self.log_custom_policy or self.latest):
            raise UsageError("--run-policy custom needs a trained run: --log-custom-policy RUN, or --latest")
        if self.episode < -1:
            raise UsageError(f"--episode is the number of a training episode, or -1, got {self.episode}")
        share = self.toward_target_timesteps_proportion
        if share is not None and self.run_policy == "custom":
            raise UsageError("--toward-target-timesteps-proportion mixes a script with chance, not with a trained run")
        if share is not None and not 0 <= share <= 1:
            raise UsageError(f"--toward-target-timesteps-proportion lies between 0 and 1, got {share:g}")


@dataclass(frozen=True)
class DatasetShortcuts:
    """More environment options, in short"""

    multi_view: bool = setting(False, "Pictures of two cameras: --srl-model multi_view.")
    max_distance: float | None = setting(None, "A step farther than this from the button is punished, in metres.")
    short_episodes: bool = setting(False, "End the episodes of --env-kwargs task:reach and task:circle early.")


def _some_of(group: type, left_out: Sequence[str], texts: Mapping[str, str]) -> type:
    """Give a group of settings without some of them, and with other help texts."""
    hints = get_type_hints(group)
    members: list[tuple[str, Any, Any]] = []
    for item in fields(group):
        default: dict[str, Any] = {"default": item.default} if item.default is not MISSING else {}
        if item.default_factory is not MISSING:
            default = {"default_factory": item.default_factory}
        if item.name not in left_out:
            metadata = {**item.metadata, "help": texts.get(item.name, item.metadata["help"])}
            members.append((item.name, hints[item.name], field(**default, metadata=metadata)))
    smaller = make_dataclass(group.__name__, members, frozen=True)
    smaller.__doc__ = group.__doc__
    return smaller


RECORDED_ENVIRONMENT = _some_of(
    EnvironmentConfig,
    ["num_stack", "srl_model_path"],
    {
        "srl_model": "What is observed: ground_truth, joints, joints_position, raw_pixels, multi_view; or native, a "
        "third-party environment's own observation. Default: that of the trained run, else raw_pixels where the "
        "environment has it, else native."
    },
)
"""A frame stack belongs to a policy; what is recorded are single observations."""
GROUPS = (DatasetOptions, ActingOptions, RECORDED_ENVIRONMENT, EnvironmentShortcuts, DatasetShortcuts, TrustOptions)


def options_of(group: type, given: Mapping[str, Any]) -> Any:
    """Build a group of options from the settings that were given."""
    names = {item.name for item in fields(group)}
    return group(**{name: value for name, value in given.items() if name in names})


@dataclass(frozen=True)
class RecordingPlan:
    """All that is settled before anything is recorded.

    :param origin: what the dataset says of its episodes
    :param make_env: makes the environment
    :param make_policy: makes what acts in it
    """

    origin: "Origin"
    make_env: "EnvMaker"
    make_policy: "PolicyMaker"


def plan_recording(given: Mapping[str, Any]) -> RecordingPlan:
    """Settle what is recorded.

    :param given: the settings that were given, of all groups
    :raises UsageError: for the first thing that cannot be done
    """
    acting = options_of(ActingOptions, given)
    environment = _environment_settings(given)
    return (_plan_run if acting.run_policy == "custom" else _plan_script)(given, acting, environment)


def _environment_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of the environment, with those of `DatasetShortcuts` in the form of the others."""
    names = {item.name for group in (RECORDED_ENVIRONMENT, EnvironmentShortcuts) for item in fields(group)}
    settings = {name: value for name, value in given.items() if name in names}
    shortcuts = options_of(DatasetShortcuts, given)
    if shortcuts.multi_view:
        if settings.get("srl_model", "raw_pixels") not in ("raw_pixels", "multi_view"):
            raise UsageError(f"--multi-view gives pictures, --srl-model {settings['srl_model']} none; give one of them")
        settings["srl_model"] = "multi_view"
    kwargs = dict(settings.get("env_kwargs", {}))
    for name, value in (("max_distance", shortcuts.max_distance), ("short_episodes", shortcuts.short_episodes or None)):
        if value is not None and kwargs.setdefault(name, value) != value:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} and --env-kwargs {name}:{kwargs[name]} disagree; give one of them")
    return {**settings, "env_kwargs": kwargs} if kwargs else settings


def _plan_script(given: Mapping[str, Any], acting: ActingOptions, environment: dict[str, Any]) -> RecordingPlan:
    """Settle a recording of chance and script."""
    from environments.recording import Walker
    from environments.registry import ENVIRONMENTS
    from rl_baselines.layers import Layer
    from rl_baselines.resolution import complete

    is_ours = environment.get("env", EnvironmentConfig.env) in ENVIRONMENTS
    pictures = Layer("default", {"srl_model": "raw_pixels"} if is_ours else {})
    config = complete([pictures, Layer("flags", environment)])[0]
    share = acting.toward_target_timesteps_proportion
    if share is None:
        share = 1.0 if acting.run_policy == "walker" else 0.0
    description = {"kind": acting.run_policy, "toward_target_timesteps_proportion": share}
    make_policy = partial(Walker, proportion=share) if share or acting.run_policy == "walker" else _random_policy
    return _plan(given, config, description, make_policy)


def _random_policy(env: Any) -> Any:
    from environments.recording import RandomPolicy

    return RandomPolicy(env.action_space)


def _plan_run(given: Mapping[str, Any], acting: ActingOptions, environment: dict[str, Any]) -> RecordingPlan:
    """Settle a recording of a trained run, in its own environment unless another one was asked for."""
    from rl_baselines.layers import Layer, without_shortcuts
    from rl_baselines.resolution import complete
    from rl_baselines.transfer.inheritance import inherited_layer

    source = _find_source(acting, bool(given.get("trust_source", False)))
    algo = {} if acting.algo is None else {"algo": acting.algo}
    flags = without_shortcuts(Layer("flags", environment))
    asked = {**{name: value for name, value in flags.items() if name != "srl_model"}, "device": "cpu", **algo}
    layers = [inherited_layer(source, asked)[0], Layer("flags", asked)]
    own = complete(layers)[0]
    settings = {item.name: getattr(own.environment, item.name) for item in fields(RECORDED_ENVIRONMENT)}
    settings["srl_model"] = _taken_kind(own)
    recorded = complete([Layer("parent", settings), Layer("flags", flags)])[0]
    description = {
        "kind": "run",
        "run": source.run_id or source.path,
        "algo": own.algorithm.algo,
        "timesteps": source.timesteps,
        "identity": source.identity,
        "deterministic": acting.deterministic,
    }
    kind = _seen_kind(source, own, recorded)
    make_policy = partial(_recorded_policy, source, layers, acting.deterministic, kind)
    return _plan(given, recorded, {**description, **({"sees": kind} if kind else {})}, make_policy)


def _taken_kind(own: "RunConfig") -> str | None:
    """Give what a run takes from its environment: pictures, where it encodes them."""
    if own.environment.srl_model_path is None:
        return own.environment.srl_model
    return "multi_view" if own.environment.env_kwargs.get("multi_view") else "raw_pixels"


def _seen_kind(source: "Source", own: "RunConfig", recorded: "RunConfig") -> str | None:
    """Give the observation that a run takes where another one is recorded, or None where both are one.

    :raises UsageError: when it cannot be had beside the recorded one
    """
    from environments.registry import ENVIRONMENTS
    from state_representation.registry import NATIVE, STATE_REPRESENTATIONS

    seen, wanted = _taken_kind(own) or NATIVE, recorded.environment.srl_model
    if seen == wanted:
        return None
    is_low_dimensional = own.environment.env in ENVIRONMENTS and not STATE_REPRESENTATIONS[seen].needs_images
    if own.environment.env_wrapper or not is_low_dimensional:
        raise UsageError(f"{source} takes {seen} and nothing else can be recorded beside that: leave --srl-model out")
    return seen


def _recorded_policy(
    source: "Source", layers: "Sequence[Layer]", deterministic: bool, kind: str | None, env: Any
) -> Any:
    from rl_baselines.recorded_policy import RecordedPolicy

    return RecordedPolicy(source, layers, deterministic, None if kind is None else (env.unwrapped, kind))


def _find_source(acting: ActingOptions, trusted: bool) -> "Source":
    """Find the model that acts."""
    from rl_baselines.sources import of_run, resolve
    from rl_baselines.training_episodes import checkpoint_after

    if acting.latest:
        source = resolve("latest", Path(acting.log_custom_policy or acting.log_dir), trusted)
    else:
        source = resolve(acting.log_custom_policy or "", Path(acting.log_dir), trusted)
    if acting.episode == -1:
        return source
    if source.run is None:
        raise UsageError(f"--episode needs a run folder, which knows its training episodes; {source} is none")
    return of_run(source.run, f"step:{checkpoint_after(source.run, acting.episode)}")


def _plan(
    given: Mapping[str, Any], config: "RunConfig", policy: dict[str, Any], make_policy: "PolicyMaker"
) -> RecordingPlan:
    """Build environment and policy once, and write down what they are."""
    from environments.dataset import Origin
    from environments.registry import ENVIRONMENTS, task_of
    from environments.space_records import record_space
    from rl_baselines.env_wrappers import make_env

    chosen, options = config.environment, options_of(DatasetOptions, given)
    kwargs, task = dict(chosen.env_kwargs), options.task_label
    if chosen.env in ENVIRONMENTS:
        name = str(task_of(chosen.env, kwargs))
        task, kwargs = task or name, {**ENVIRONMENTS[chosen.env].option_defaults(name), **kwargs}
    maker = partial(make_env, chosen.env, chosen.gym_packages, chosen.env_kwargs, chosen.env_wrapper)
    env = maker()
    try:
        acting = make_policy(env)
        origin = Origin(
            env_id=chosen.env,
            env_kwargs=kwargs,
            observation_space=record_space(env.observation_space),
            action_space=record_space(env.action_space),
            policy=policy,
            task=task,
            teacher=getattr(acting, "teacher", None),
            feature_names=() if chosen.env_wrapper else tuple(getattr(env.unwrapped, "feature_names", ())),
            seed=options.seed,
            gym_packages=chosen.gym_packages,
            env_wrapper=chosen.env_wrapper,
        )
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{chosen.env}: {error}") from None
    finally:
        env.close()
    return RecordingPlan(Origin.from_record(origin.to_record()), maker, make_policy)
