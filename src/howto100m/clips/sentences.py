"""Join subtitle lines to sentences, where punctuation or pauses allow."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from howto100m.clips.captions import Line
from howto100m.clips.marks import opens_turn

PAUSE = 0.7
"""Seconds of silence that end a sentence."""
LONGEST = 15.0
"""Seconds after which a sentence ends with its line."""
WORD_SECONDS, LETTER_SECONDS = 0.3, 0.08
"""A word takes at most 0.3 s and 80 ms a letter: what ASR leaves until the next is silence."""

_END = re.compile(r"[.?!…][\"'”’)\]]*$")
_ABBREVIATION = re.compile(
    r"(?:\d+|[a-z]|e\.g|i\.e|a\.m|p\.m|mr|mrs|ms|dr|st|vs|no|approx|tbsp|tsp|oz|lb|min|max)\.$",
    re.I,
)


@dataclass(frozen=True)
class _Word:
    text: str
    start: float
    end: float
    timed: bool
    breaks: bool
    """Whether a sentence ends with it for the sake of its line (another speaker, a mark alone)."""
    ends_line: bool


def sentences_of(lines: Sequence[Line]) -> list[Line]:
    """The words of `lines`, in their order, as sentences with their own times.

    A sentence ends at its full stop, question or exclamation mark, at a pause of 0.7 s, before
    another speaker and around a line that is only a mark; one that lasts 15 s ends with its line.
    A word's time is the ASR's, or interpolated by letters within its line.
    """
    words = [word for place in range(len(lines)) for word in _words(lines, place)]
    sentences: list[Line] = []
    first = 0
    for place, word in enumerate(words):
        if place + 1 == len(words) or _ends(words[first], word, words[place + 1]):
            sentences.append(_line(words[first : place + 1]))
            first = place + 1
    return sentences


def _words(lines: Sequence[Line], place: int) -> Iterator[_Word]:
    line = lines[place]
    texts = line.raw_text.split()
    after = lines[place + 1] if place + 1 < len(lines) else None
    breaks = not line.spoken or (after is not None and _stands_apart(after))
    for number, (text, (start, end)) in enumerate(zip(texts, _times(line, texts), strict=True)):
        last = number + 1 == len(texts)
        yield _Word(text, start, end, line.word_starts is not None, last and breaks, last)


def _stands_apart(line: Line) -> bool:
    return not line.spoken or opens_turn(line.raw_text)


def _times(line: Line, texts: Sequence[str]) -> Iterator[tuple[float, float]]:
    """Start and end (s) of each word of a line."""
    if line.word_starts is not None:
        ends = [*line.word_starts[1:], line.end]
        for text, start, end in zip(texts, line.word_starts, ends, strict=True):
            yield start, min(end, start + WORD_SECONDS + LETTER_SECONDS * len(text))
        return
    bounds = [0]
    for text in texts:
        bounds.append(bounds[-1] + len(text) + 1)
    seconds = (line.end - line.start) / bounds[-1]
    for start, end in pairwise(bounds):
        yield line.start + start * seconds, line.start + end * seconds


def _ends(first: _Word, word: _Word, following: _Word) -> bool:
    """Whether the sentence that `first` opens ends with `word`."""
    if word.breaks or following.start - word.end > PAUSE:
        return True
    if _END.search(word.text) and not _ABBREVIATION.match(word.text):
        return True
    return word.ends_line and word.end - first.start >= LONGEST


def _line(words: Sequence[_Word]) -> Line:
    text = " ".join(word.text for word in words)
    starts = tuple(word.start for word in words) if all(w.timed for w in words) else None
    return Line(words[0].start, max(word.end for word in words), text, starts)
