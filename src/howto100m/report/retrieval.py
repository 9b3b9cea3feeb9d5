"""What sentences find, as in the paper's figure 6: the best clips of the whole corpus."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from howto100m.features.decode import still
from howto100m.find.finder import Finder, Found
from howto100m.kinds import ItemError, UserError
from howto100m.report import plots

log = logging.getLogger(__name__)

CLIPS = 4
"""Clips shown for a sentence."""


@dataclass(frozen=True)
class Seen:
    """A clip that was found, and its picture: a data: URL, "" where its file is not here."""

    clip: Found
    picture: str


@dataclass(frozen=True)
class Answer:
    """A sentence, and the best clips for it."""

    query: str
    seen: tuple[Seen, ...]


def answers(results: Path, queries: Sequence[str]) -> list[Answer]:
    """The best clips of the index under `results`; a sentence of unknown words is left out, and
    logged. Without sentences the index need not be there."""
    if not queries:
        return []
    finder, found = Finder.open(results / "index"), []
    for text in queries:
        try:
            query = finder.read(text, CLIPS)
        except UserError as error:
            log.warning("%s", error)
            continue
        clips = finder.find([query])[0]
        found.append(Answer(text, tuple(Seen(clip, _picture(clip)) for clip in clips)))
    return found


def _picture(clip: Found) -> str:
    if not clip.path or not Path(clip.path).is_file():
        return ""
    try:
        return plots.picture(still(Path(clip.path), (clip.start + clip.end) / 2))
    except ItemError as error:
        log.warning("no picture of %s: %s", clip.video_id, error)
        return ""
