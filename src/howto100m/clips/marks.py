"""What a caption says without its marks, and in the form of the paper's release.

The rules, in this order, on a line as a player shows it:

1. Tags that a converter left as text (`<i>`, `{\\an8}`) go.
2. Whatever stands in square brackets goes: `[Music]`, `[ __ ]`; so do `♪`, `♫`, and asterisks.
3. A parenthesis goes when it names a sound or a way of speaking: `(upbeat music)`.
4. `>>` goes, and so does a dash at the head of the line.
5. A speaker's name at the head goes: capitals (`MAN:`, `DR. LEE:`), a role (`Narrator:`), or, after
   `>>` or a dash, any one or two words (`>> Ann:`).
6. Then the caption in the paper's form: lower case, words only, without stop words and fillers.
"""

import re
from functools import cache
from pathlib import Path

TAG = re.compile(
    r"</?(?:c|i|b|u|s|v|em|strong|span|small|lang|ruby|rt|font|a|sub|sup)\b[^<>]*>|<[\d:.]+>", re.I
)
"""A WebVTT or HTML tag, or a word's time; not `1 < 2 and 3 > 2`."""
BREAK = re.compile(r"</?(?:br|p|div)\b[^<>]*>", re.I)

_SOUNDS = (
    "music|applau|laugh|chuckl|cheer|sigh|gasp|cough|bell|ding|beep|click|sizzl|inaudible|crosstalk"
    "|whisper|indistinct|silence|foreign|speaks|speaking|singing"
)
_MARK = re.compile(rf"\{{\\[^}}]*\}}|\[[^\]]*\]|[♪♫*]+|\([^)]*\b(?:{_SOUNDS})[^)]*\)", re.I)
_TURN = re.compile(r"^\s*-+\s+|>{2,}")
_NAME = re.compile(
    r"^\s*(?:[A-Z][A-Z .'-]{1,30}|(?i:narrator|host|interviewer|announcer|speaker|instructor)"
    r"(?: \d+)?):\s+"
)
_TURN_NAME = re.compile(r"(?:^\s*-+\s+|>{2,}\s*)\w[\w.'-]*(?: \w[\w.'-]*)?:\s+")
_WORD = re.compile(r"[\w']+")
_HESITATION = re.compile(r"u+h+|u+m+|e+r+m?|a+h+|h+m+|m+", re.I)


def spoken_words(shown: str) -> str:
    """The words of a line without its marks (rules 1 to 5)."""
    bare = BREAK.sub(" ", TAG.sub("", shown)) if "<" in shown else shown
    bare = _MARK.sub(" ", bare)
    bare = _TURN.sub(" ", _TURN_NAME.sub(" ", bare))
    return " ".join(_NAME.sub("", bare).split())


def content_words(spoken: str) -> str:
    """A caption in the form of the paper's release: lower case, stop words and punctuation out."""
    words = (word.strip("'") for word in _WORD.findall(spoken.lower().replace("’", "'")))
    stops = stop_words()
    return " ".join(word for word in words if word and word not in stops)


def is_hesitation(shown: str) -> bool:
    """Whether a line is but "uh", "um" or the like."""
    return bool(_HESITATION.fullmatch(shown))


def opens_turn(shown: str) -> bool:
    """Whether a line starts with another speaker: a dash, `>>` or a name."""
    return bool(_TURN.match(shown.lstrip()) or _NAME.match(shown))


@cache
def stop_words() -> frozenset[str]:
    """English function words, and the fillers of people who talk to a camera."""
    return frozenset(Path(__file__).with_name("stop_words.txt").read_text().split())
