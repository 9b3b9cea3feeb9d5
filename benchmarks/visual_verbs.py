"""How the verb filter decides on lists of real titles, and how fast.

    python benchmarks/visual_verbs.py --official OFFICIAL.tsv --titles TITLES.txt

OFFICIAL.tsv has a column `title` of tasks in the official list (they should be kept); TITLES.txt a
title of any category a line (few should be). A digit at an official title's end is a part number.
People reviewed verbs and objects with such titles before them. What titles that nobody saw would
give, the held-out line says: it is of one half of both lists, with only those reviewed verbs and
objects that the other half shows; all other verbs go by the rule. The speed is that of the command
itself, start-up included, on titles made up here.
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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from howto100m.tasks.objects import THING, Object, abstract_object, read_objects
from howto100m.tasks.verbs import Decision, Verb, decide, read_verbs

SPEED_TITLES = 200_000
SPLITS = 40


def share_kept(decisions: Sequence[Decision]) -> float:
    """The share of titles that is kept."""
    return sum(decision.visual for decision in decisions) / len(decisions)


def halves(titles: Sequence[str], draw: random.Random) -> tuple[list[str], list[str]]:
    """The titles in two halves, by lot."""
    shuffled = draw.sample(titles, len(titles))
    return shuffled[: len(titles) // 2], shuffled[len(titles) // 2 :]


def known_from(
    titles: Iterable[str], verbs: dict[str, Verb], objects: dict[str, Object]
) -> tuple[dict[str, Verb], dict[str, Object]]:
    """What a reviewer who saw these titles alone could have decided; phrases are verbs too."""
    seen_verbs: set[str] = set()
    seen_objects: set[Object] = set()
    for title in titles:
        seen_verbs.add(decide(title, verbs).verb)
        if found := abstract_object(title, objects):
            seen_objects.add(found)
    by_rule = {
        name: verb if name in seen_verbs else replace(verb, reviewed="")
        for name, verb in verbs.items()
        if name in seen_verbs or " " not in name
    }
    return by_rule, {n: o for n, o in objects.items() if o in seen_objects or o.kind == THING}


def held_out(official: Sequence[str], everything: Sequence[str]) -> tuple[float, float]:
    """Recall and pass rate on the halves that the reviewers are taken not to have seen."""
    verbs, objects, draw = read_verbs(), read_objects(), random.Random(1)
    figures = []
    for _ in range(SPLITS):
        (wanted, unseen_wanted), (found, unseen) = halves(official, draw), halves(everything, draw)
        known = known_from([*wanted, *found], verbs, objects)
        figures.append(
            [share_kept([decide(t, *known) for t in titles]) for titles in (unseen_wanted, unseen)]
        )
    recalls, rates = zip(*figures, strict=True)
    return fmean(recalls), fmean(rates)


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
    verbs, objects = read_verbs(), read_objects()
    wanted = [decide(title, verbs, objects) for title in official]
    found = [decide(title, verbs, objects) for title in everything]
    missed = Counter(d.verb or "(no verb)" for d in wanted if not d.visual)
    by_verb = [share_kept([decide(t, verbs) for t in titles]) for titles in (official, everything)]
    unseen = held_out(official, everything)
    seconds, memory = time_command(SPEED_TITLES)
    sys.stdout.write(
        f"{len(official)} official titles, {len(everything)} of all categories\n"
        f"recall {share_kept(wanted):.3f} at a pass rate of {share_kept(found):.3f}\n"
        f"without objects: recall {by_verb[0]:.3f} at a pass rate of {by_verb[1]:.3f}\n"
        f"held out ({SPLITS} splits): recall {unseen[0]:.3f} at a pass rate of {unseen[1]:.3f}\n"
        f"missed most: {', '.join(f'{verb} {n}' for verb, n in missed.most_common(12))}\n"
        f"{SPEED_TITLES} titles in {seconds:.1f} s, {memory:.2f} GB\n"
    )


if __name__ == "__main__":
    main()
