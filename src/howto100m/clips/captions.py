"""From a WebVTT text to clean lines: the rolling form undone, marks out, stop words out."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import webvtt

from howto100m.kinds import ItemError, Kind

ROLL = 0.02
"""Seconds up to which a cue of the rolling form only moves a line up (YouTube's: 10 ms)."""

_WORD_TIME = re.compile(r"<\d\d:\d\d:\d\d\.\d\d\d>")
_TAG = re.compile(r"</?(?:c|i|b|u|v|lang|ruby|rt|font)\b[^<>]*>|<[\d:.]+>")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_MARK = re.compile(r"\[[^\]]*\]|[♪♫]+|>{2,}|^\s*-\s+|\([^)]*(?:music|applause|laugh)[^)]*\)", re.I)
_SPEAKER = re.compile(r"^\s*[A-Z][A-Z .'-]{1,30}:\s+")
_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True)
class Cue:
    """What a player shows from `start` to `end` (s): one or two lines, tags included."""

    start: float
    end: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A subtitle line with its own time (s): its words as shown, and those that were spoken."""

    start: float
    end: float
    raw_text: str

    @property
    def spoken(self) -> str:
        """The words without marks such as [Music], >> and speaker names."""
        bare = _SPEAKER.sub("", _MARK.sub(" ", self.raw_text).strip())
        return " ".join(bare.split())


def read_cues(vtt: str) -> list[Cue]:
    """The cues of a WebVTT text. Raises ItemError (malformed) when it is none."""
    try:
        captions = webvtt.from_string(vtt.removeprefix("\ufeff")).captions
    except (webvtt.errors.MalformedFileError, webvtt.errors.MalformedCaptionError) as error:
        start = " ".join(vtt[:60].split())
        raise ItemError(Kind.MALFORMED, f"not WebVTT: {start!r}") from error
    return [Cue(_seconds(c.start), _seconds(c.end), tuple(c.lines)) for c in captions]


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = ["0", *stamp.split(":")][-3:]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def lines_of(cues: Sequence[Cue]) -> list[Line]:
    """The lines of a track, each once, in order; the rolling form of ASR tracks is undone."""
    rolling = any(_WORD_TIME.search(line) for cue in cues for line in cue.lines)
    lines = _unroll(cues) if rolling else ((c.start, c.end, " ".join(c.lines)) for c in cues)
    return [
        Line(start, end, text) for start, end, raw in lines if (text := show(raw)) and end > start
    ]


def _unroll(cues: Sequence[Cue]) -> Iterator[tuple[float, float, str]]:
    """The new line of each cue of the rolling form.

    A cue shows the line before and, below it, the line being spoken; a cue of 10 ms in between only
    moves the finished line up.
    """
    before = ""
    for cue in cues:
        if cue.end - cue.start <= ROLL:
            continue
        shown = [show(line) for line in cue.lines]
        new = shown[1:] if len(shown) > 1 and shown[0] in ("", before) else shown
        if text := " ".join(filter(None, new)):
            yield cue.start, cue.end, text
        before = shown[-1] or before


def show(raw: str) -> str:
    """The text of a cue line as a player shows it: tags out, entities resolved, blanks single."""
    text = html.unescape(_TAG.sub("", raw))
    return " ".join(_INVISIBLE.sub("", text).split())


def count_words(lines: Sequence[Line]) -> int:
    """The spoken words of a track."""
    return sum(len(line.spoken.split()) for line in lines)


def content_words(spoken: str) -> str:
    """A caption in the form of the paper's release: lower case, stop words and punctuation out."""
    words = (word.strip("'") for word in _WORD.findall(spoken.lower().replace("’", "'")))
    return " ".join(word for word in words if word and word not in stop_words())


@cache
def stop_words() -> frozenset[str]:
    """English function words, and the fillers of people who talk to a camera."""
    return frozenset(Path(__file__).with_name("stop_words.txt").read_text().split())
