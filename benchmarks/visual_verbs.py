"""How the verb filter decides on lists of real titles, and how fast.

    python benchmarks/visual_verbs.py --official OFFICIAL.tsv --titles TITLES.txt

OFFICIAL.tsv has a column `title` of tasks in the official list (they should be kept); TITLES.txt a
title of any category a line (few should be). A digit at an official title's end is a part number.
People reviewed verbs.tsv with such titles before them, so a second figure says what titles that
nobody saw would give: a list of verbs learned from one half alone decides on the other half.
The speed is that of the command itself, start-up included, on titles made up here.
"""

import argparse
import csv
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from howto100m.tasks.verbs import Verb, decide, read_verbs

SPEED_TITLES = 200_000
PASS_RATE, SPLITS = 0.45, 40


def share_kept(titles: Sequence[str]) -> tuple[float, Counter[str]]:
    """The share of titles that is kept, and the verbs of those that are not."""
    verbs = read_verbs()
    decisions = [decide(title, verbs) for title in titles]
    dropped = Counter(d.verb or "(no verb)" for d in decisions if not d.visual)
    return 1 - dropped.total() / len(titles), dropped


def learn(official: Sequence[str], everything: Sequence[str]) -> dict[str, float]:
    """How much more often each verb occurs in the official list than in all titles.

    Smoothed by half a title towards what verbs of the same share of physical senses have; what
    people reviewed does not count. Verbs that no title has get the figure of their share.
    """
    verbs = read_verbs()
    seen, all_seen = Counter(official), Counter(everything)
    scale = len(official) / len(everything)
    in_class: Counter[int] = Counter()
    all_in_class: Counter[int] = Counter()
    for verb, number in seen.items():
        in_class[share_class(verb, verbs)] += number
    for verb, number in all_seen.items():
        all_in_class[share_class(verb, verbs)] += number
    figures: dict[str, float] = {}
    for verb in verbs.keys() | {""}:
        same = share_class(verb, verbs)
        prior = (in_class[same] + 0.3) / (all_in_class[same] + 1) / scale
        figures[verb] = (seen[verb] + 0.5 * prior) / (all_seen[verb] * scale + 0.5)
    return figures


def share_class(verb: str, verbs: Mapping[str, Verb]) -> int:
    """Verbs of about the same share of physical senses are in one class; no verb is in its own."""
    share = verbs[verb].share if verb else -1.0
    return bisect_right(
        (0.0, 0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95), 0.5 if share is None else share
    )


def held_out(official: Sequence[str], everything: Sequence[str], splits: int) -> float:
    """The share of the unseen official titles kept where PASS_RATE of the unseen others pass."""
    verbs, draw, recalls = read_verbs(), random.Random(1), []
    wanted = [decide(title, verbs).verb for title in official]
    found = [decide(title, verbs).verb for title in everything]
    for _ in range(splits):
        draw.shuffle(wanted)
        draw.shuffle(found)
        half, other = len(wanted) // 2, len(found) // 2
        figures = learn(wanted[:half], found[:other])
        least = sorted((figures[verb] for verb in found[other:]), reverse=True)
        # Verbs whose figure equals the last one's stay out, so that no more than the share pass.
        bound = least[int(PASS_RATE * len(least))]
        recalls.append(sum(figures[verb] > bound for verb in wanted[half:]) / len(wanted[half:]))
    return sum(recalls) / splits


def time_command(number: int) -> tuple[float, float]:
    """Seconds and peak GB of `howto100m tasks --titles` on so many made-up titles."""
    draw = random.Random(1)
    verbs = sorted(read_verbs())
    with tempfile.TemporaryDirectory() as folder:
        titles, output = Path(folder, "titles.tsv"), Path(folder, "tasks.parquet")
        lines = (f"How to {draw.choice(verbs)} the thing {i}" for i in range(number))
        titles.write_text("\n".join(["title", *lines, ""]))
        command = [sys.executable, "-m", "howto100m", "tasks", "--titles", str(titles)]
        started = time.monotonic()
        subprocess.run([*command, "--output", str(output)], check=True)
        seconds = time.monotonic() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    """Print recall, pass rate, the verbs behind them, and the speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--titles", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.official.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        official = [re.sub(r"\d$", "", row["title"]) for row in rows]
    everything = arguments.titles.read_text(encoding="utf-8").splitlines()
    recall, missed = share_kept(official)
    passed, _ = share_kept(everything)
    seconds, memory = time_command(SPEED_TITLES)
    sys.stdout.write(
        f"recall {recall:.3f} of {len(official)} official titles\n"
        f"pass rate {passed:.3f} of {len(everything)} titles of all categories\n"
        f"missed most: {', '.join(f'{verb} {n}' for verb, n in missed.most_common(12))}\n"
        f"learned on half, tested on the other ({SPLITS} splits): recall"
        f" {held_out(official, everything, SPLITS):.3f} at a pass rate of {PASS_RATE}\n"
        f"{SPEED_TITLES} titles in {seconds:.1f} s, {memory:.2f} GB\n"
    )


if __name__ == "__main__":
    main()
