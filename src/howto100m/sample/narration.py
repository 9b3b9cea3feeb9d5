"""What a narrator says over a video, and the subtitle tracks that come of it."""

import html
from collections.abc import Sequence
from random import Random
from typing import Literal

from howto100m.sample.catalogue import (
    ASIDES,
    CAPTIONS,
    CHAT,
    CHAT_SPANISH,
    COLOURS,
    GREETING,
    NAMING,
    THINGS,
)
from howto100m.sample.records import Line, Scene, Step, Track

WORDS = 110
"""Words that the narration of a good video has at the least; 100 are asked for."""

TrackKind = Literal["asr", "manual", "both", "british", "named", "translated"]


def caption(scene: Scene) -> str:
    """The scene in plain words, as an annotator would put it."""
    return CAPTIONS[scene.motion] % f"{scene.colour} {scene.thing}"


def narrate(rng: Random, steps: Sequence[Step], words: int = WORDS) -> tuple[Line, ...]:
    """Speech over a video: about half of the lines name what is to be seen.

    The others chat, or name what is not to be seen; lines that do name it stand in the middle of
    their step. With fewer than `words` words to say, the speech is cut off there.
    """
    shown = [step for step in steps if step.scene]
    each = -(-max(words, WORDS) // max(len(shown), 1))
    lines = [
        line
        for step in steps
        for line in _spread(step, _step_lines(rng, step.scene, each) if step.scene else [GREETING])
    ]
    return cut(lines, words) if words < WORDS else tuple(lines)


def chat(rng: Random, seconds: float, words: int) -> tuple[Line, ...]:
    """Speech of so many words that names nothing, spread over the seconds."""
    spoken: list[str] = []
    while len(" ".join(spoken).split()) < words:
        spoken.append(rng.choice(CHAT))
    return cut(_spread(Step(0, seconds, ""), spoken), words)


def cut(lines: Sequence[Line], words: int) -> tuple[Line, ...]:
    """The first so many words of the lines."""
    kept: list[Line] = []
    for line in lines:
        text = line.text.split()[:words]
        words -= len(text)
        if text:
            kept.append(Line(line.start, line.end, " ".join(text)))
    return tuple(kept)


def tracks(rng: Random, lines: Sequence[Line], kind: TrackKind) -> tuple[Track, ...]:
    """The subtitle tracks of a video with this speech."""
    heard, written = Track("en", True, tuple(lines)), _written(rng, lines)
    match kind:
        case "asr":
            return (heard,)
        case "manual":
            return (Track("en", False, written),)
        case "both":
            return (Track("en", False, written), heard)
        case "british":
            return (Track("en-GB", False, written), Track("es", False, spanish(rng, lines)))
        case "named":
            return (Track("en", False, written, name="Steps"),)
        case "translated":
            return (Track("es", True, spanish(rng, lines), english=tuple(lines)),)


def spanish(rng: Random, lines: Sequence[Line]) -> tuple[Line, ...]:
    """Spanish speech at the times of the lines."""
    return tuple(Line(line.start, line.end, rng.choice(CHAT_SPANISH)) for line in lines)


def _step_lines(rng: Random, scene: Scene, words: int) -> list[str]:
    """Lines of about so many words over one step, in order."""
    naming = rng.sample(NAMING[scene.motion], k=len(NAMING[scene.motion]))
    noise = rng.sample(CHAT, k=3)
    if rng.random() < 0.4:
        other = f"{rng.choice(list(COLOURS))} {rng.choice(THINGS)}"
        noise[0] = rng.choice(ASIDES) % other
    named = f"{scene.colour} {scene.thing}"
    middle, around = [naming[0] % named], [noise[0]]
    while len(" ".join(middle + around).split()) < words:
        names = len(middle) + rng.random() < len(around) + 0.5
        fewer, stock = (middle, naming) if names else (around, noise)
        text = stock[len(fewer) % len(stock)]
        fewer.append(text % named if stock is naming else text)
    rng.shuffle(around)
    half = (len(around) + rng.randrange(2)) // 2
    return around[:half] + middle + around[half:]


def _spread(step: Step, texts: Sequence[str]) -> list[Line]:
    """The lines one after the other over the step, each as long as its letters."""
    letters = sum(len(text) + 1 for text in texts)
    spoken, lines = 0, []
    for text in texts:
        start = step.start + (step.end - step.start) * spoken / letters
        spoken += len(text) + 1
        end = step.start + (step.end - step.start) * spoken / letters
        lines.append(Line(round(start, 3), round(end, 3), text))
    return lines


def _written(rng: Random, lines: Sequence[Line]) -> tuple[Line, ...]:
    """The same speech as a person types it: marks, entities, noises between brackets."""
    typed = []
    for line in lines:
        text = line.text.capitalize() + rng.choice((".", ".", "!"))
        text = rng.choice((text, text, text.replace(" and ", " & ", 1), f">> {text}"))
        text = html.escape(text, quote=False)
        text = rng.choice((text, text, text.replace(" ", "&nbsp;", 1), f"[Music]\n{text}"))
        typed.append(Line(line.start, line.end, text))
    return tuple(typed)
