"""From a WebVTT text to its lines: each once, as shown, with its own time and its words' times.

webvtt-py takes the text apart. What it would lose or let through silently is put right before
(`_mended`) or refused with the name of the cue.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import webvtt

from howto100m.clips.marks import BREAK, TAG, is_hesitation, spoken_words
from howto100m.kinds import ItemError, Kind

ROLL = 0.02
"""Seconds up to which a cue of the rolling form only moves a line up (YouTube's: 10 ms)."""

_STAMP = r"(?:\d+:)?\d{1,2}:(?:\d{1,2}[.,]\d+|\d\d)|\d+[.,]\d+"
_TIMES = re.compile(rf"\s*({_STAMP})\s*-->\s*({_STAMP})(?![\w:.,])")
_STRICT = re.compile(r"(?:\d\d:)?[0-5]\d:[0-5]\d\.\d{3} --> (?:\d\d:)?[0-5]\d:[0-5]\d\.\d{3}(?!\S)")
_LIKE_TIMES = re.compile(r"\d[:.,]\d.*-->|-->.*\d[:.,]\d")
_NO_CUE = re.compile(r"(?:NOTE|STYLE|REGION)(?!\S)")
_BROKEN = re.compile(
    r"(?:[^\n]*\n)?\s*(?:(?:\d+:)?\d{1,2}:\d\d[.,]\d|(?=[\d.,]*:)[\d:.,]+[\s>-]*\Z)"
)
_SRT = re.compile(rf"\s*(?:\d+\s*\n)?\s*(?:{_STAMP})\s*-->\s*(?:{_STAMP})")
_WORD_TIME = re.compile(r"<(\d\d:\d\d:\d\d\.\d\d\d)>")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


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
    word_starts: tuple[float, ...] | None = None
    """When each word of `raw_text` begins (s), where the track says so (ASR)."""

    @cached_property
    def spoken(self) -> str:
        """The words without marks such as [Music], >> and speaker names."""
        return spoken_words(self.raw_text)


def read_cues(vtt: str) -> list[Cue]:
    """The cues of a WebVTT (or SubRip) text, in order of start.

    Raises ItemError (malformed) when it is neither, or when the times of a cue cannot be read; the
    message names the cue.
    """
    try:
        captions = webvtt.from_string(_mended(vtt)).captions
    except (webvtt.errors.MalformedFileError, webvtt.errors.MalformedCaptionError) as error:
        raise ItemError(Kind.MALFORMED, f"not WebVTT: {_quoted(vtt)}") from error
    cues = [Cue(_seconds(c.start), _seconds(c.end), tuple(c.lines)) for c in captions]
    return sorted(dict.fromkeys(cues), key=lambda cue: cue.start)


def _mended(vtt: str) -> str:
    """The text with what webvtt-py loses put right.

    * SubRip gets the head it lacks; CR and CRLF become LF.
    * Times with commas, short ones (`05.000`, `1:02.5`) and long fractions become `HH:MM:SS.mmm`.
    * `-->` in the text of a cue or a note is escaped.
    * A paragraph behind a blank line goes on with the cue before it: editors that strip blanks make
      an empty line of YouTube's upper row of one blank.

    Raises ItemError (malformed) that names the cue whose times cannot be read.
    """
    text = vtt.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.startswith("WEBVTT") and _SRT.match(text):
        text = f"WEBVTT\n\n{text}"
    blocks: list[str] = []
    cues, last = 0, -1
    for number, block in enumerate(re.split(r"\n{2,}", text)):
        arrows = block.count("-->")
        if arrows == 1 and _STRICT.match(block):
            cues, last = cues + 1, len(blocks)
        elif arrows:
            block, found = _with_strict_times(block, cues)
            if found:
                cues, last = cues + found, len(blocks)
        elif number and _BROKEN.match(block):
            raise ItemError(Kind.MALFORMED, f"cue {cues + 1}: no times: {_quoted(block)}")
        elif number and last >= 0 and block.strip("0123456789\n") and not _NO_CUE.match(block):
            blocks[last] += f"\n{block}"
            continue
        blocks.append(block)
    return "\n\n".join(blocks)


def _with_strict_times(block: str, before: int) -> tuple[str, int]:
    """A block with its times in full and every other arrow escaped, and its number of cues.

    `before` counts the cues above the block.
    """
    lines, cues, may_hold_text = [], 0, bool(_NO_CUE.match(block))
    for line in block.split("\n"):
        if times := _TIMES.match(line):
            cues += 1
            may_hold_text = True
            start, end = (_strict(stamp, line, before + cues) for stamp in times.groups())
            line = f"{start} --> {end}{line[times.end() :]}"
        elif "-->" in line:
            if not may_hold_text and _LIKE_TIMES.search(line):
                raise ItemError(
                    Kind.MALFORMED, f"cue {before + cues + 1}: no times: {_quoted(line)}"
                )
            line = line.replace("-->", "--&gt;")
        lines.append(line)
    return "\n".join(lines), cues


def _strict(stamp: str, line: str, cue: int) -> str:
    """A time as WebVTT wants it. Raises ItemError (malformed) for minutes or seconds above 59."""
    whole, _, fraction = stamp.replace(",", ".").partition(".")
    *larger, seconds = (int(part) for part in whole.split(":"))
    if larger and (seconds > 59 or any(minutes > 59 for minutes in larger[1:])):
        raise ItemError(Kind.MALFORMED, f"cue {cue}: more than 59 s or min: {_quoted(line)}")
    hours, minutes = (0, 0, *larger)[-2:]
    total = (hours * 60 + minutes) * 60 + seconds
    clock = f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}"
    return f"{clock}.{(fraction + '000')[:3]}"


def _quoted(text: str) -> str:
    return repr(" ".join(text[:80].split()))


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = ["0", *stamp.split(":")][-3:]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def lines_of(cues: Sequence[Cue]) -> list[Line]:
    """The lines of a track, each once, in order; the rolling form of ASR tracks is undone.

    Cues that overlap keep their times, as in the paper; one that does not end after its start is
    never shown, and left out.
    """
    shown = [cue for cue in cues if cue.end > cue.start]
    return list(_unrolled(shown) if is_rolling(shown) else _plain(shown))


def is_rolling(cues: Sequence[Cue]) -> bool:
    """Whether a track has YouTube's rolling form.

    It has when its words have times, or when a cue of 10 ms repeats the line before it (a track
    whose lines are of one word each has no word times).
    """
    if any(_WORD_TIME.search(line) for cue in cues for line in cue.lines):
        return True
    return any(
        after.end - after.start <= ROLL and show(after.lines[0]) == show(cue.lines[-1]) != ""
        for cue, after in pairwise(cues)
        if cue.lines and after.lines
    )


def _plain(cues: Sequence[Cue]) -> Iterator[Line]:
    for cue in cues:
        if text := show(" ".join(cue.lines)):
            yield Line(cue.start, cue.end, text)


def _unrolled(cues: Sequence[Cue]) -> Iterator[Line]:
    """The new line of each cue of the rolling form.

    A cue shows the line before and, below it, the line being spoken; a cue of 10 ms in between only
    moves the finished line up. So there are as many lines as longer cues, whatever the lines say: a
    word that is spoken twice in a row, each time as a line of its own, is two lines, though nothing
    in the second one's cue tells it from the first's (a line of one word has no word times). Only a
    hesitation counts once however long it lasts ("uh", "uh").
    """
    before = ""
    for cue in cues:
        if cue.end - cue.start <= ROLL or not cue.lines:
            continue
        shown = [show(line) for line in cue.lines]
        new = slice(1 if len(shown) > 1 and shown[0] in ("", before) else 0, None)
        text = " ".join(filter(None, shown[new]))
        if text and not (text == before and is_hesitation(text)):
            raw = " ".join(cue.lines[new])
            yield Line(cue.start, cue.end, text, tuple(_word_starts(raw, cue.start)))
        before = shown[-1] or before


def _word_starts(raw: str, start: float) -> Iterator[float]:
    """When each word of a line begins: at the time tag before it, the first at `start`."""
    time, glued = start, False
    for number, part in enumerate(_WORD_TIME.split(raw)):
        if number % 2:
            time = _seconds(part)
            continue
        text = _bare(part)
        words = len(text.split())
        yield from [time] * (words - (glued and words > 0 and not text[0].isspace()))
        if text:
            glued = not text[-1].isspace()


def show(raw: str) -> str:
    """The text of a cue line as a player shows it: tags out, entities resolved, blanks single."""
    return " ".join(_bare(raw).split())


def _bare(raw: str) -> str:
    if "<" in raw:
        raw = BREAK.sub(" ", TAG.sub("", raw))
    if "&" in raw:
        raw = html.unescape(raw)
    return raw if raw.isascii() else _INVISIBLE.sub("", raw)


def count_words(lines: Sequence[Line]) -> int:
    """The spoken words of a track."""
    return sum(len(line.spoken.split()) for line in lines)
