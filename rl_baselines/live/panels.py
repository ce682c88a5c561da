"""The panels that show a run: which series stand in which, with their axes, units and names, the same for every run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Literal

import numpy as np

from rl_baselines.live.board import Board
from rl_baselines.live.series import Series
from rl_baselines.plots import RUN_COLOURS

EPISODE_REWARD = "episode/reward"
MEAN_REWARD = "rollout/ep_rew_mean"
PARENT = "parent/"
"""Before the name of a series: it is of the parent, at timesteps below 0."""
EVALUATION = "eval/"
"""Before the name of a series: it is of evaluations; those on other tasks have the label of the task next."""
TIMESTEPS = "environment timesteps"
TIMESTEPS_OF_CHILD = "environment timesteps (0: hand-over from the parent)"

BLUE, ORANGE, GREEN = "#1f5fa8", "#d95f02", "#2a8a57"
TASK_COLOURS = (*RUN_COLOURS, "#c2185b", "#5d6d7e")
FAINT = 0.3

Style = Literal["line", "points", "dashed"]


@dataclass(frozen=True, eq=False)
class Trace:
    """One line or cloud of points.

    :param x: float64, (n,)
    :param y: float64, (n,), NaN where there is a gap
    :param colour: as #rrggbb
    :param opacity: from 0 to 1
    :param low: float64, (n,), the lower edge of a band around it; None for none
    :param high: its upper edge
    :param band: what the band is
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    style: Style = "line"
    opacity: float = 1.0
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    band: str = ""


@dataclass(frozen=True)
class Panel:
    """One plot.

    :param key: the same in every run
    :param y_label: with its unit
    :param log: whether the y axis is logarithmic
    :param share: whether y is a share from 0 to 1
    :param hand_over: whether a line at 0 parts the parent's timesteps from the run's own
    """

    key: str
    title: str
    y_label: str
    traces: tuple[Trace, ...]
    x_label: str = TIMESTEPS
    log: bool = False
    share: bool = False
    hand_over: bool = False


@dataclass(frozen=True)
class _Lines:
    """Makes a panel in which series stand as they are.

    :param names: of the traces, by the names of the series
    :param sign: what values are multiplied by
    :param parents: whether the parent's series of the same names are drawn
    :param bands: by series, those of the lower and the upper edge around it, and what they are
    """

    title: str
    y_label: str
    names: Mapping[str, str]
    log: bool = False
    share: bool = False
    sign: float = 1.0
    parents: bool = False
    bands: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)

    @property
    def reads(self) -> frozenset[str]:
        """The series that stand in the panel."""
        return frozenset(self.names) | {PARENT + name for name in self.names if self.parents}

    def make(self, key: str, board: Board) -> Panel | None:
        """Give the panel; None where none of its series has a point."""
        traces: list[Trace] = []
        has_parent = False
        for colour, (series, name) in zip(cycle((BLUE, ORANGE, GREEN)), self.names.items(), strict=False):
            parent = board.series.get(PARENT + series) if self.parents else None
            if parent is not None:
                has_parent = True
                x, y = parent.extremes()
                traces.append(Trace(f"parent's {name}", x, self.sign * y, colour, "dashed"))
            if series in board.series:
                traces.append(self._trace(series, name, colour, board))
        if not traces:
            return None
        x_label = TIMESTEPS_OF_CHILD if has_parent else TIMESTEPS
        return Panel(
            *(key, self.title, self.y_label, tuple(traces), x_label), self.log, self.share, hand_over=has_parent
        )

    def _trace(self, series: str, name: str, colour: str, board: Board) -> Trace:
        x, y = board.series[series].extremes()
        low_name, high_name, band = self.bands.get(series, ("", "", ""))
        low, high = _values_at(board.series.get(low_name), x), _values_at(board.series.get(high_name), x)
        if low is None or high is None:
            return Trace(name, x, self.sign * y, colour)
        return Trace(name, x, self.sign * y, colour, low=low, high=high, band=band)

    def has_any(self, series: Set[str]) -> bool:
        """Tell whether any of some series stands in the panel."""
        return bool(self.reads & series)


@dataclass(frozen=True)
class _Derived:
    """Makes a panel from what is reckoned from series.

    :param reads: the series
    :param make: gives the panel; None where there is nothing to show
    """

    reads: frozenset[str]
    make: Callable[[str, Board], Panel | None]

    def has_any(self, series: Set[str]) -> bool:
        """Tell whether any of some series stands in the panel."""
        return bool(self.reads & series)


@dataclass(frozen=True)
class _ByTask:
    """Makes a panel with a line for each task that a run tells of, in the order in which they were first told.

    :param before: what stands before the task in the names of the series
    :param after: what follows it
    :param low: what follows it in the name of the lower end of its interval; empty for none
    :param high: of the upper end
    :param whole: the series of all tasks together, drawn first
    """

    title: str
    y_label: str
    before: str
    after: str = ""
    low: str = ""
    high: str = ""
    whole: str = ""
    share: bool = False

    def has_any(self, series: Set[str]) -> bool:
        """Tell whether any of some series stands in the panel."""
        return any(self._name_of(name) is not None for name in series)

    def make(self, key: str, board: Board) -> Panel | None:
        """Give the panel; None where nothing was told of any task."""
        found = {series: name for series in board.series if (name := self._name_of(series)) is not None}
        traces = []
        for colour, (series, name) in zip(cycle(TASK_COLOURS), found.items(), strict=False):
            x, y = board.series[series].extremes()
            low, high = (
                _values_at(board.series.get(f"{self.before}{name}{end}") if end else None, x)
                for end in (self.low, self.high)
            )
            traces.append(Trace(name, x, y, colour, low=low, high=high, band="95 % interval"))
        return Panel(key, self.title, self.y_label, tuple(traces), share=self.share) if traces else None

    def _name_of(self, series: str) -> str | None:
        """Give what a series is called in this panel; None for those that do not stand in it."""
        if series == self.whole:
            return "all"
        name = series.removeprefix(self.before).removesuffix(self.after)
        return name if name and series == f"{self.before}{name}{self.after}" else None


def _values_at(series: Series | None, x: np.ndarray) -> np.ndarray | None:
    """Give the values of a series at some places, NaN where it has none."""
    if series is None:
        return None
    own_x, own_y = series.points()
    found = dict(zip(own_x.tolist(), own_y.tolist(), strict=True))
    return np.array([found.get(place, np.nan) for place in x.tolist()])


def _smoothed_reward(key: str, board: Board) -> Panel | None:
    series = board.series.get(MEAN_REWARD)
    if series is None:
        return None
    band = series.band()
    low, high = band.mean - band.std, band.mean + band.std
    trace = Trace("mean", band.x, band.mean, BLUE, low=low, high=high, band="+- 1 standard deviation")
    return Panel(key, "Training reward, smoothed", "mean reward of 100 episodes", (trace,))


def _episodes(key: str, board: Board) -> Panel | None:
    series, parent = board.series.get(EPISODE_REWARD), board.series.get(PARENT + EPISODE_REWARD)
    window = board.episode_window
    traces = []
    if parent is not None:
        traces.append(Trace(f"parent, mean of {window}", *parent.average(window), ORANGE, "dashed"))
    if series is not None:
        traces.append(Trace("episode", *series.extremes(), BLUE, "points", FAINT))
        traces.append(Trace(f"mean of {window}", *series.average(window), ORANGE))
    if not traces:
        return None
    x_label = TIMESTEPS if parent is None else TIMESTEPS_OF_CHILD
    return Panel(key, "Training episodes", "reward of an episode", tuple(traces), x_label, hand_over=parent is not None)


PANELS: Mapping[str, _Lines | _Derived | _ByTask] = {
    "reward": _Lines("Training reward", "mean reward of 100 episodes", {MEAN_REWARD: "training"}),
    "reward_smoothed": _Derived(frozenset({MEAN_REWARD}), _smoothed_reward),
    "episodes": _Derived(frozenset({EPISODE_REWARD, PARENT + EPISODE_REWARD}), _episodes),
    "evaluation": _Lines(
        *("Evaluation", "mean reward of an episode", {"eval/mean_reward": "evaluation"}),
        parents=True,
        bands={"eval/mean_reward": ("eval/reward_low", "eval/reward_high", "95 % interval")},
    ),
    "tasks": _ByTask(
        *("Evaluation on several tasks", "mean reward of an episode", EVALUATION),
        *("/mean_reward", "/reward_low", "/reward_high"),
    ),
    "success": _Lines(
        *("Success", "share of episodes", {"eval/success_rate": "evaluation", "rollout/success_rate": "training"}),
        share=True,
        parents=True,
        bands={"eval/success_rate": ("eval/success_low", "eval/success_high", "95 % interval")},
    ),
    "length": _Lines(
        *("Episode length", "steps of an episode"),
        {"rollout/ep_len_mean": "training, mean of 100 episodes", "eval/mean_length": "evaluation"},
    ),
    "distillation": _Lines(
        *("Distillation loss", "loss"),
        {"distillation/loss": "training", "distillation/validation_loss": "episodes kept apart"},
        log=True,
    ),
    "agreement": _ByTask(
        *("Agreement with the teachers", "share of states", "distillation/agreement/"),
        whole="distillation/agreement",
        share=True,
    ),
    "action_gap": _ByTask(
        *("Gap to the teachers' actions", "root of the mean squared gap", "distillation/action_gap/"),
        whole="distillation/action_gap",
    ),
    "fitness": _Lines(
        *("Fitness of a generation", "mean reward of a candidate's episodes"),
        {"rollout/fitness_mean": "mean", "rollout/fitness_best": "best"},
    ),
    "step_size": _Lines(
        *("Step size of the search", "standard deviation of a parameter", {"train/sigma": "step size"})
    ),
    "value_loss": _Lines(
        *("Value loss", "loss", {"train/value_loss": "value", "train/critic_loss": "critic", "train/loss": "total"}),
        log=True,
    ),
    "policy_loss": _Lines(
        *("Policy loss", "loss"),
        {
            "train/policy_gradient_loss": "policy gradient",
            "train/actor_loss": "actor",
            "train/policy_loss": "policy",
        },
    ),
    "update": _Lines(
        *("Size of a policy update", "divergence in nats; share of samples"),
        {
            "train/approx_kl": "KL divergence, estimated",
            "train/clip_fraction": "share of clipped samples",
            "train/kl_divergence_loss": "KL divergence",
        },
    ),
    "entropy": _Lines("Entropy of the policy", "nats", {"train/entropy_loss": "entropy"}, sign=-1.0),
    "exploration": _Lines(
        *("Exploration", "coefficient; standard deviation; share"),
        {
            "train/ent_coef": "entropy coefficient",
            "train/std": "standard deviation of actions",
            "rollout/exploration_rate": "share of random actions",
        },
    ),
    "learning_rate": _Lines("Learning rate", "learning rate", {"train/learning_rate": "learning rate"}, log=True),
    "retention": _Lines("Retention", "coefficient", {"retention/coefficient": "coefficient"}),
    "speed": _Lines("Speed", "environment steps per second", {"time/fps": "mean since the start"}),
}
"""All panels, in their order."""


def panels(board: Board, keys: Iterable[str] = PANELS) -> Iterator[Panel]:
    """Yield the panels of a run in their order, those without a point left out.

    :param keys: of the panels to be made
    """
    wanted = set(keys)
    for key, maker in PANELS.items():
        panel = maker.make(key, board) if key in wanted else None
        if panel is not None:
            yield panel


def compared(boards: Mapping[str, Board]) -> Iterator[Panel]:
    """Yield panels with the lines of several runs, a colour for each run, without bands, single episodes and parents.

    :param boards: by what the runs are called
    """
    colours = dict(zip(boards, cycle(RUN_COLOURS), strict=False))
    for key, maker in PANELS.items():
        found = {name: maker.make(key, board) for name, board in boards.items()}
        shown = {name: panel for name, panel in found.items() if panel is not None}
        traces = [
            Trace(f"{name}: {trace.name}", trace.x, trace.y, colours[name], "line" if not i else "dashed")
            for name, panel in shown.items()
            for i, trace in enumerate(trace for trace in panel.traces if trace.style == "line")
        ]
        if traces:
            any_panel = next(iter(shown.values()))
            yield replace(any_panel, traces=tuple(traces), x_label=TIMESTEPS, hand_over=False)


def panels_with(series: Set[str]) -> set[str]:
    """Give the keys of the panels in which any of some series stands."""
    return {key for key, maker in PANELS.items() if maker.has_any(series)}
