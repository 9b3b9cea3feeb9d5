"""What the sample world is made of: pages of WikiHow, videos of YouTube, what they show and say."""

from dataclasses import dataclass
from typing import Literal

Problem = Literal[
    "", "private", "removed", "members", "age", "geo", "paid", "upcoming", "live", "dubbed"
]


@dataclass(frozen=True)
class Page:
    """A page of WikiHow; `reason` is the kind it is left out for, "" for a task to keep."""

    page_id: int
    title: str
    categories: tuple[str, ...]
    redirect: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Scene:
    """What is to be seen: a thing of `catalogue.THINGS` in a colour, doing a motion."""

    thing: str
    colour: str
    motion: str


@dataclass(frozen=True)
class Step:
    """A stretch of a video, in seconds; without a scene only the background is to be seen."""

    start: float
    end: float
    background: str
    scene: Scene | None = None


@dataclass(frozen=True)
class Line:
    """A line of speech, in seconds. Its words are separated by single blanks."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Track:
    """A subtitle track; `english` is what its machine translation says, empty where none is had."""

    language: str
    asr: bool
    lines: tuple[Line, ...]
    name: str = ""
    english: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Video:
    """A video of YouTube.

    `listed` says whether search results show the views, or the player alone. `reason` is the kind
    it is left out for, "" for a good one.
    """

    video_id: str
    title: str
    channel: str
    views: int
    seconds: int
    listed: bool = True
    problem: Problem = ""
    width: int = 320
    height: int = 240
    fps: int = 25
    steps: tuple[Step, ...] = ()
    tracks: tuple[Track, ...] = ()
    reason: str = ""

    @property
    def media(self) -> bool:
        """Whether the video has anything to show."""
        return bool(self.steps)
