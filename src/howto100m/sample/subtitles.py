"""Subtitle files as YouTube serves them."""

from collections.abc import Sequence

from howto100m.sample.records import Line


def asr_vtt(lines: Sequence[Line], language: str) -> str:
    """Recognised speech, in the rolling two-line form with a time for every word.

    Every line is to be seen three times: growing word by word, whole for 10 ms, and as the upper
    row while the next one grows.
    """
    cues, above = [], " "
    for line, following in zip(lines, [*lines[1:], None], strict=False):
        end = min(line.end, following.start) if following else line.end
        cues.append(_cue(line.start, end - 0.01, f"{above}\n{_timed(line)}", _PLACE))
        cues.append(_cue(end - 0.01, end, f"{line.text}\n ", _PLACE))
        above = line.text
    return _file(cues, language)


def plain_vtt(lines: Sequence[Line], language: str) -> str:
    """Subtitles written by a person, or translated: a cue a line."""
    return _file([_cue(line.start, line.end, line.text) for line in lines], language)


_PLACE = " align:start position:0%"


def _timed(line: Line) -> str:
    """The line's words with their times: the longer a word, the longer it takes."""
    first, *words = line.text.split(" ")
    spoken, text = len(first) + 1, first
    for word in words:
        start = line.start + (line.end - line.start) * spoken / (len(line.text) + 1)
        text += f"<{_stamp(start)}><c> {word}</c>"
        spoken += len(word) + 1
    return text


def _cue(start: float, end: float, text: str, place: str = "") -> str:
    return f"{_stamp(start)} --> {_stamp(end)}{place}\n{text}\n"


def _file(cues: Sequence[str], language: str) -> str:
    return "\n".join([f"WEBVTT\nKind: captions\nLanguage: {language}\n", *cues, ""])


def _stamp(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
