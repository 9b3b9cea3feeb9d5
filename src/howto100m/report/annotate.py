"""The paper's manual check: does a clip show something that its line names?

Of 400 pairs that the authors drew at random, 51 % showed an object or action that the line names.
"""

import csv
import logging
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from howto100m.kinds import UserError
from howto100m.report import facts
from howto100m.report.page import render, with_pictures
from howto100m.shards import whole_file

log = logging.getLogger(__name__)

WIDTH = 480
"""Columns of a picture, about."""
SPARE = 20
"""Clips drawn for each that is wanted: those without a video file or a picture drop out."""
CONFIDENCE = 1.959964
"""Standard deviations of a normal distribution that hold 95 % of it, both sides."""


@dataclass(frozen=True)
class Share:
    """How many answers say yes, of how many, and the 95 % interval of the share (Wilson's)."""

    yes: int
    answers: int
    low: float
    high: float

    def __str__(self) -> str:
        """The line that the command says."""
        return (
            f"{self.yes} of {self.answers} pairs show something that the line names:"
            f" {self.yes / self.answers:.1%} (95 %: {self.low:.1%} to {self.high:.1%};"
            " the paper: 51 % of 400)"
        )


def write_annotation_page(results: Path, output: Path, number: int, seed: int) -> None:
    """Write a page with `number` clips drawn at random: picture, line, keys for yes and no.

    The page needs nothing else, keeps its answers in the browser and gives them as a csv. The same
    tables and seed draw the same clips. Raises UserError when no video file is there.
    """
    shown = with_pictures(facts.examples(results, number * SPARE, seed), number, WIDTH)
    if not shown:
        raise UserError(
            f"{results}: no clip's video file is there: set media.keep, and build the media anew"
        )
    if len(shown) < number:
        log.warning("%d of %d pairs: no more clips have a video file here", len(shown), number)
    pairs = [
        {
            "video_id": s.example.video_id,
            "clip": s.example.clip,
            "time": f"{s.example.start:.1f} to {s.example.end:.1f} s",
            "line": s.example.raw_text,
            "text": s.example.text,
            "picture": s.picture,
        }
        for s in shown
    ]
    name = f"{seed}:{len(pairs)}:{pairs[0]['video_id']}:{pairs[-1]['video_id']}"
    page = render("annotate.html.j2", pairs=pairs, name=name, seed=seed)
    with whole_file(output) as part:
        part.write_text(page, encoding="utf-8")
    log.info("%d pairs in %s: open it in a browser", len(pairs), output)


def share_of(answers: Path) -> Share:
    """The share of yes in the page's file of answers (video_id, clip, answer).

    Raises UserError that names the line of an answer that is neither yes, no nor empty, a pair that
    is answered twice, or a file without answers.
    """
    if not answers.is_file():
        raise UserError(f"{answers} is no file")
    found: dict[tuple[str, str], str] = {}
    with answers.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not {"video_id", "clip", "answer"} <= set(rows.fieldnames or ()):
            raise UserError(f"{answers} has no columns video_id, clip, answer")
        for row in rows:
            pair, answer = (row["video_id"], row["clip"]), (row["answer"] or "").strip().lower()
            if answer not in ("yes", "no", ""):
                raise UserError(f"{answers}: line {rows.line_num}: {answer!r} is not yes or no")
            if pair in found:
                raise UserError(f"{answers}: line {rows.line_num}: {':'.join(pair)} comes twice")
            found[pair] = answer
    counts = Counter(found.values())
    if not counts["yes"] + counts["no"]:
        raise UserError(f"{answers} holds no answer yet")
    return wilson(counts["yes"], counts["yes"] + counts["no"])


def wilson(yes: int, answers: int) -> Share:
    """A share with its 95 % score interval (Wilson, 1927)."""
    share, square = yes / answers, CONFIDENCE**2
    middle = (share + square / (2 * answers)) / (1 + square / answers)
    spread = math.sqrt(share * (1 - share) / answers + square / (4 * answers**2))
    half = CONFIDENCE * spread / (1 + square / answers)
    return Share(yes, answers, middle - half, middle + half)
