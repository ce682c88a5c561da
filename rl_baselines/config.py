"""Every setting, written once: its name, type, default, help text and old spellings.

`RunConfig` holds all that decides the numbers of a run and is stored complete in its `config.yaml`; `RunOptions` holds
what must not alter them. The command line, YAML files and the stored configuration all come from the fields below.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

from rl_baselines.algorithms import ALGORITHMS
from rl_baselines.errors import UsageError, unknown
from rl_baselines.literals import coerce, parse_duration

PARTS = ("policy", "critic", "features", "optimizer", "normalizer", "replay-buffer", "entropy")
"""What of a model can be loaded apart."""

MEASURES = {"train": "mean_reward", "eval": "mean_reward", "validation": "validation_loss"}
"""What decides which model is the best, by the rule that ``--best-by`` names."""


USUAL_CROSS_TASKS = ("sc", "cc", "sqc")
USUAL_EPISODE_WINDOW = 400
VISDOM_PORT = 8097
"""Visdom's own."""


def setting(
    default: Any,
    text: str,
    flags: tuple[str, ...] = (),
    metavar: str = "",
    positional: bool = False,
    compare: bool = True,
) -> Any:
    """Declare one setting.

    :param text: its help text
    :param flags: further spellings on the command line, such as ``-c``
    :param metavar: how its value is shown in the help
    :param positional: whether it is given by position instead of by flag
    :param compare: whether groups in which it differs are different
    """
    metadata = {"help": text, "flags": flags, "metavar": metavar, "positional": positional}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata, compare=compare)


@dataclass(frozen=True)
class EnvironmentConfig:
    """Environment"""

    env: str = setting("KukaButtonGymEnv-v0", "Gymnasium id of the environment.", metavar="ID")
    gym_packages: tuple[str, ...] = setting(
        (), "Packages to import first, which register environments (panda_gym ...).", metavar="PACKAGE"
    )
    srl_model: str | None = setting(
        None,
        "What the policy observes: ground_truth, joints, joints_position, raw_pixels, multi_view; or native, a "
        "third-party environment's own observation. Default: ground_truth where the environment has it, else native.",
        metavar="KEY",
    )
    srl_model_path: str | None = setting(
        None,
        "Folder of a learnt representation (state_representation.train): the policy observes its states.",
        metavar="DIR",
        compare=False,  # a run names its own copy
    )
    env_kwargs: dict[str, Any] = setting({}, "Options of the environment.", metavar="NAME:VALUE")
    env_wrapper: tuple[str, ...] = setting(
        (),
        "Wrappers around every environment, the first one innermost: TimeFeatureWrapper, or with arguments "
        "RepeatAction:{num_repeats:2}. Gymnasium's that keep nothing between episodes.",
        metavar="NAME",
    )
    num_stack: int = setting(1, "Number of successive observations stacked into one.")


@dataclass(frozen=True)
class EnvironmentShortcuts:
    """Environment options, in short"""

    continuous_actions: bool | None = setting(None, "Continuous instead of discrete actions.", ("-c",))
    action_joints: bool | None = setting(None, "Actions are offsets of the joints.", ("-joints",))
    random_target: bool | None = setting(None, "A new target position in every episode.", ("-r",))
    shape_reward: bool | None = setting(None, "Dense reward: minus the distance to the target.")
    action_repeat: int | None = setting(None, "Physics steps for which each action is held.")
    simple_continual: bool | None = setting(None, "task:reach with random_target:true.", ("-sc",))
    circular_continual: bool | None = setting(None, "task:circle.", ("-cc",))
    square_continual: bool | None = setting(None, "task:square.", ("-sqc",))
    eight_continual: bool | None = setting(None, "task:eight.", ("-ec",))
    chasing_continual: bool | None = setting(None, "task:chase.", ("-chc",))
    escape_continual: bool | None = setting(None, "task:escape.", ("-esc",))


@dataclass(frozen=True)
class HyperparameterShortcuts:
    """Hyperparameters, in short"""

    ent_coef: str | None = setting(None, "Entropy coefficient: a number, auto, or auto_0.1.", metavar="X")


@dataclass(frozen=True)
class VectorConfig:
    """Parallel environments and normalization"""

    n_envs: int | None = setting(
        None, "Number of environments. Default: --num-cpu if given, else 8 on-policy and 1 off-policy."
    )
    num_cpu: int | None = setting(None, "Number of processes that step the environments.")
    vec_env: Literal["dummy", "processes"] | None = setting(
        None, "Step the environments in this process or in --num-cpu others. Default: dummy unless --num-cpu is given."
    )
    norm_obs: bool | None = setting(None, "Normalize low-dimensional observations by running mean and variance.")
    norm_reward: bool = setting(False, "Scale rewards by the running deviation of the return.")
    clip_obs: float = setting(10.0, "Normalized observations are clipped to plus and minus this.")
    clip_reward: float = setting(10.0, "Normalized rewards are clipped to plus and minus this.")


@dataclass(frozen=True)
class AlgorithmConfig:
    """Algorithm"""

    algo: str = setting("ppo", f"Algorithm: {', '.join(ALGORITHMS)}.", metavar="NAME")
    policy: str | None = setting(None, "Policy class. Default: by the observation space.", metavar="NAME")
    policy_kwargs: dict[str, Any] = setting(
        {}, "Policy options: net_arch:[64,64] activation:leaky_relu ...", metavar="NAME:VALUE"
    )
    hyperparam: dict[str, Any] = setting(
        {}, "Hyperparameters, by the names of the algorithm's constructor: n_steps:256 ...", metavar="NAME:VALUE"
    )
    her: bool = setting(False, "Hindsight experience replay (goal environments, off-policy algorithms).")
    lr_decay: Literal["linear", "constant", "cosine"] | None = setting(
        None, "How the learning rate falls over the run. Default: linear for ppo, else constant; a parent's kind."
    )
    lr_warmup: int = setting(0, "Timesteps over which the learning rate rises to its initial value.")
    lr_scale: dict[str, Any] = setting(
        {}, "Factors of the learning rate for parts: policy, critic, features, entropy.", metavar="PART:FACTOR"
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.", metavar="NAME")
    torch_threads: int | None = setting(None, "Threads of torch. Default: 1 for small networks, all cores for images.")


@dataclass(frozen=True)
class TrainingConfig:
    """Training"""

    num_timesteps: int = setting(1_000_000, "Environment timesteps to train, rounded up to whole rollouts.")
    seed: int = setting(0, "Every random draw of the run derives from it.")
    stop_value: float | None = setting(None, "Stop when a periodic evaluation's mean reward reaches this.")


@dataclass(frozen=True)
class EvaluationConfig:
    """Best model and evaluation"""

    best_by: Literal["train", "eval", "validation"] = setting(
        "train",
        "Best model by the mean of the last 100 training episodes, by periodic evaluation, or by the loss in episodes "
        "that were kept apart, which is the default of distillation from datasets.",
    )
    min_episodes_save: int = setting(100, "Training episodes before a best model is saved (--best-by train).")
    eval_freq: int | None = setting(
        None, "Timesteps between deterministic evaluations; 0: none. Default: a twentieth of the run."
    )
    eval_episodes: int = setting(10, "Episodes of each evaluation, with the same start seeds every time.")
    perform_cross_evaluation_cc: bool = setting(False, "Evaluate on several tasks too, while it trains on one.")
    eval_episode_window: int | None = setting(
        None, f"Training episodes between those evaluations. Default: {USUAL_EPISODE_WINDOW}."
    )
    cross_tasks: tuple[str, ...] = setting(
        (),
        "Tasks of those evaluations: sc cc sqc ec chc esc, a task's name, or an environment's id; each perhaps with "
        f"options: circle,max_steps:100. Default: {' '.join(USUAL_CROSS_TASKS)}.",
        metavar="TASK",
    )

    def check_cross_evaluation(self) -> None:
        """Refuse settings of a cross-evaluation that is not asked for.

        :raises UsageError: naming the first one
        """
        window, flag = self.eval_episode_window, flag_of("perform_cross_evaluation_cc")
        if window is not None and window < 1:
            raise UsageError(f"{flag_of('eval_episode_window')} must be at least 1, got {window}")
        for name in ("eval_episode_window", "cross_tasks"):
            if getattr(self, name) and not self.perform_cross_evaluation_cc:
                raise UsageError(f"{flag_of(name)} is of the evaluation on several tasks: give {flag} too")


@dataclass(frozen=True)
class FineTuningConfig:
    """Fine-tuning"""

    load_rl_model_path: str | None = setting(
        None,
        "Start from this model: a run folder, RUN@best, RUN@last, RUN@step:N, a checkpoint folder, a model zip, an "
        "rl-zoo folder, or latest. Settings come from its run unless given.",
        metavar="SOURCE",
    )
    new_lr: float | None = setting(
        None,
        "Initial learning rate of the fine-tune. Default: one hundredth of the initial rate of the oldest ancestor.",
    )
    compare_episodes: int = setting(50, "Episodes of the evaluations before and after the fine-tune; 0: none.")
    load_parts: tuple[str, ...] = setting(
        (),
        f"Parts to load: {', '.join(PARTS)}; separated by commas or spaces. Default: all that the source has and that "
        "fits.",
        metavar="PART",
    )
    reset_optimizer: bool = setting(False, "Forget the moments of the optimisers.")
    reset_std: bool = setting(False, "Let the policy's standard deviation start anew.")
    norm: Literal["keep", "freeze", "adapt", "fresh"] | None = setting(
        None,
        "Normalization statistics of the source: go on with their full count, stand still, adapt with their count cut "
        "to 10,000 observations, or begin anew. Default: adapt; freeze with --retain or the source's replay buffer.",
    )
    freeze: tuple[str, ...] = setting(
        (), "Parameters that stay as loaded: policy, critic, features, or patterns of names.", metavar="PATTERN"
    )
    freeze_until: int | None = setting(None, "Timesteps from which they are trained after all. Default: never.")
    critic_warmup: str = setting(
        "auto",
        "Train only the critic at first: for N timesteps, off, or auto: where the critic starts anew or the "
        "environment is another one, until it explains half of the returns' variance.",
        metavar="auto|N|off",
    )
    residual: bool = setting(
        False, "Freeze the loaded policy and learn a correction to its actions, which is zero at first."
    )
    replay_mix: float | None = setting(
        None, "Share of each batch that is drawn from the source's replay buffer, kept apart, such as .5."
    )
    retain: Literal["none", "bc", "kl", "l2sp", "ewc", "replay"] = setting(
        "none", "Hold the policy near its parent: on stored states, on its own states, or in its parameters."
    )
    retain_coef: float | None = setting(None, "Weight of what --retain adds to the loss. Default: by its kind.")
    retain_decay: Literal["constant", "linear"] = setting("constant", "How that weight falls over the fine-tune.")


@dataclass(frozen=True)
class DistillationConfig:
    """Distillation (--algo distillation)"""

    teacher_data_folder: tuple[str, ...] = setting(
        (), "Datasets that teachers recorded; the student learns to do what they do there.", metavar="DIR"
    )
    epochs_distillation: int | None = setting(None, "Passes over what is learnt from the datasets. Default: 30.")
    distillation_training_set_size: int = setting(
        -1, "States to learn from, drawn from the datasets' without those kept apart; -1: all."
    )
    teachers: tuple[str, ...] = setting(
        (),
        "Trained runs that tell what they would do in the states that the student itself comes to, in place of "
        "datasets; each one in its own task.",
        metavar="RUN",
    )


@dataclass(frozen=True)
class RunOptions:
    """Records (these never alter the numbers)"""

    log_dir: str = setting("logs", "Folder under which runs are stored.", metavar="FOLDER")
    save_interval: int | None = setting(
        None, "Timesteps between checkpoints. Default: a twentieth of the run, and at most a minute."
    )
    keep_checkpoints: int = setting(3, "Checkpoints kept beside the best, the last and the milestones; 0: all.")
    save_replay_buffer: Literal["all", "none"] = setting(
        "all", "Whether checkpoints hold the replay buffer; without it a run cannot be resumed exactly."
    )
    memory_states: int = setting(
        4096, "States stored at the end with what the policy does there, for later retention and distillation."
    )
    stop_after: str | None = setting(
        None, "Save and stop after this time, to be resumed: 90s, 30m, 5h50m, 2d.", metavar="TIME"
    )
    episode_window: int = setting(40, "Episodes in the moving average of the learning curve.")
    vis: bool = setting(True, "Show the run live in a browser.")
    port: int = setting(VISDOM_PORT, "Port of the live view on this machine; its server is started where none answers.")
    vis_server: str | None = setting(
        None,
        "A visdom server elsewhere to show the run on; the environment variables VISDOM_USERNAME and VISDOM_PASSWORD "
        "log in.",
        metavar="http://HOST:PORT",
    )
    track: Literal["none", "wandb"] = setting("none", "Record the run with an experiment tracker too.")


@dataclass(frozen=True)
class ResumeOptions:
    """Resuming"""

    resume: str | None = setting(
        None,
        "Go on with this run, in its folder, exactly as if it had never stopped: a run folder, RUN@step:N, or latest. "
        "Only --num-timesteps and the records can be changed.",
        metavar="RUN",
    )
    auto_resume: bool = setting(
        False, "Go on with the run that this same command line has begun, if there is one; else begin it."
    )


@dataclass(frozen=True)
class TrustOptions:
    """Trust"""

    trust_source: bool = setting(
        False, "Load the pickled objects of a source too, which runs whatever code they hold. Not for a stranger's."
    )


@dataclass(frozen=True)
class RunConfig:
    """All that decides the numbers of a run, by subject."""

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    vector: VectorConfig = field(default_factory=VectorConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    fine_tuning: FineTuningConfig = field(default_factory=FineTuningConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def __post_init__(self) -> None:
        """Check what one setting alone can get wrong.

        :raises UsageError: naming the first such setting
        """
        flat = to_flat(self)
        at_least_1 = ("num_timesteps", "n_envs", "num_cpu", "num_stack", "eval_episodes", "torch_threads")
        for name in (*at_least_1, "epochs_distillation"):
            if flat[name] is not None and flat[name] < 1:
                raise UsageError(f"{flag_of(name)} must be at least 1, got {flat[name]}")
        at_least_0 = ("min_episodes_save", "eval_freq", "compare_episodes", "seed")
        for name in (*at_least_0, "lr_warmup", "freeze_until", "retain_coef"):
            if flat[name] is not None and flat[name] < 0:
                raise UsageError(f"{flag_of(name)} must not be negative, got {flat[name]}")
        for name in ("clip_obs", "clip_reward", "new_lr"):
            if flat[name] is not None and not 0 < flat[name] < float("inf"):
                raise UsageError(f"{flag_of(name)} must be a positive number, got {flat[name]}")
        for part, factor in flat["lr_scale"].items():
            number = coerce(factor, float, f"--lr-scale {part}")
            if not 0 <= number < float("inf"):
                raise UsageError(f"--lr-scale {part} must be a number of at least 0, got {number:g}")
        if flat["replay_mix"] is not None and not 0 < flat["replay_mix"] < 1:
            raise UsageError(f"--replay-mix is a share between 0 and 1, got {flat['replay_mix']}")
        if flat["retain"] == "none" and (flat["retain_coef"] is not None or flat["retain_decay"] != "constant"):
            raise UsageError("--retain-coef and --retain-decay are of a retention: give --retain too")
        if flat["freeze_until"] is not None and not flat["freeze"]:
            raise UsageError("--freeze-until says when what --freeze names is trained: give --freeze too")
        if flat["eval_freq"] == 0 and (flat["best_by"] == "eval" or flat["stop_value"] is not None):
            raise UsageError("--best-by eval and --stop-value need evaluations: leave out --eval-freq 0")
        self.evaluation.check_cross_evaluation()
        size = flat["distillation_training_set_size"]
        if size != -1 and size < 1:
            raise UsageError(f"--distillation-training-set-size is a number of states, or -1 for all, got {size}")
        if flat["seed"] >= 2**31:
            raise UsageError(f"--seed must be below 2**31 = {2**31}, got {flat['seed']}")


CONFIG_GROUPS: dict[str, type] = {
    "environment": EnvironmentConfig,
    "vector": VectorConfig,
    "algorithm": AlgorithmConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "fine_tuning": FineTuningConfig,
    "distillation": DistillationConfig,
}
TRAIN_GROUPS: tuple[type, ...] = (
    EnvironmentConfig,
    EnvironmentShortcuts,
    VectorConfig,
    AlgorithmConfig,
    HyperparameterShortcuts,
    TrainingConfig,
    EvaluationConfig,
    FineTuningConfig,
    DistillationConfig,
    RunOptions,
)


def flag_of(name: str) -> str:
    """Spell a setting as a flag."""
    return "--" + name.replace("_", "-")


def settings_of(groups: tuple[type, ...]) -> Iterator[tuple[Field[Any], Any]]:
    """Yield every setting of some groups with its type hint."""
    for group in groups:
        hints = get_type_hints(group)
        for item in fields(group):
            yield item, hints[item.name]


def default_of(item: Field[Any]) -> Any:
    """Give a setting's default value."""
    return item.default if item.default is not MISSING else {}


def check_settings(values: Mapping[str, Any], where: str, groups: tuple[type, ...] = TRAIN_GROUPS) -> dict[str, Any]:
    """Check names and types of settings that come from a file.

    :param where: the file, for the error message
    :return: the same settings, each of its field's type
    :raises UsageError: for an unknown name or a value of another type
    """
    hints = {item.name: hint for item, hint in settings_of(groups)}
    checked = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in hints:
            raise unknown("setting", str(key), hints, where)
        checked[name] = coerce(value, hints[name], f"{where}: {name}")
    return checked


def to_flat(config: RunConfig) -> dict[str, Any]:
    """Give all settings of a run in one dictionary."""
    return {
        item.name: getattr(getattr(config, group), item.name)
        for group, cls in CONFIG_GROUPS.items()
        for item in fields(cls)
    }


def from_flat(values: Mapping[str, Any]) -> RunConfig:
    """Build the configuration from one dictionary; names of other groups are left aside."""
    return RunConfig(**{group: _build(cls, values) for group, cls in CONFIG_GROUPS.items()})


def options_from_flat(values: Mapping[str, Any]) -> RunOptions:
    """Build the options from one dictionary; names of other groups are left aside.

    :raises UsageError: for a value out of range
    """
    options: RunOptions = _build(RunOptions, values)
    if options.save_interval is not None and options.save_interval < 1:
        raise UsageError(f"--save-interval must be at least 1, got {options.save_interval}")
    if options.stop_after is not None:
        parse_duration(options.stop_after, flag_of("stop_after"))
    if options.keep_checkpoints < 0 or options.memory_states < 0 or options.episode_window < 1:
        raise UsageError("--keep-checkpoints and --memory-states must not be negative, and --episode-window at least 1")
    return options


def _build(cls: type, values: Mapping[str, Any]) -> Any:
    names = {item.name for item in fields(cls)}
    return cls(**{name: value for name, value in values.items() if name in names})


def changed(config: RunConfig, **values: Any) -> RunConfig:
    """Give the configuration with some settings, named flat, set anew."""
    groups = {}
    for group, cls in CONFIG_GROUPS.items():
        own = {item.name for item in fields(cls)} & values.keys()
        if own:
            groups[group] = replace(getattr(config, group), **{name: values[name] for name in own})
    return replace(config, **groups)
