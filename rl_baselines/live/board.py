"""What is known of a run at one moment: all that was told of it, kept within bounds."""

from collections.abc import Iterable

from rl_baselines.live.events import Event, Matrix, Path, Picture, Scalars, Text
from rl_baselines.live.series import Series


class Board:
    """The series by name, and the newest of everything else.

    :param events: told so far
    :param episode_window: episodes in moving averages
    """

    def __init__(self, events: Iterable[Event] = (), episode_window: int = 40) -> None:
        self.episode_window = episode_window
        self.series: dict[str, Series] = {}
        self.texts: dict[str, str] = {}
        self.matrices: dict[str, Matrix] = {}
        self.picture: Picture | None = None
        self.path: Path | None = None
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case Scalars():
                for name, value in event.values.items():
                    if name not in self.series:
                        self.series[name] = Series()
                    self.series[name].add(event.timesteps, value)
            case Text():
                self.texts[event.name] = event.text
            case Matrix():
                self.matrices[event.name] = event
            case Picture():
                self.picture = event
            case Path():
                self.path = event
