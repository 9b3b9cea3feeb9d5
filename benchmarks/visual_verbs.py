"""How the verb filter decides on lists of real titles, and how fast.

    python benchmarks/visual_verbs.py --official OFFICIAL.tsv --titles TITLES.txt

OFFICIAL.tsv has a column `title` of tasks in the official list (they should be kept); TITLES.txt a
title of any category a line (few should be). A digit at an official title's end is a part number.
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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from howto100m.tasks.verbs import decide, read_verbs

SPEED_TITLES = 200_000


def share_kept(titles: Sequence[str]) -> tuple[float, Counter[str]]:
    """The share of titles that is kept, and the verbs of those that are not."""
    verbs = read_verbs()
    decisions = [decide(title, verbs) for title in titles]
    dropped = Counter(d.verb or "(no verb)" for d in decisions if not d.visual)
    return 1 - dropped.total() / len(titles), dropped


def time_command(number: int) -> tuple[float, float]:
    """Seconds and peak GB of `howto100m tasks --titles` on so many made-up titles."""
    draw = random.Random(1)
    verbs = sorted(read_verbs())
    with tempfile.TemporaryDirectory() as folder:
        titles, output = Path(folder, "titles.tsv"), Path(folder, "tasks.parquet")
        lines = (f"How to {draw.choice(verbs)} the thing {i}" for i in range(number))
        titles.write_text("\n".join(["title", *lines, ""]))
        command = [sys.executable, "-m", "howto100m", "tasks", "--titles", titles]
        started = time.monotonic()
        subprocess.run([*command, "--output", output], check=True)
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
        f"{SPEED_TITLES} titles in {seconds:.1f} s, {memory:.2f} GB\n"
    )


if __name__ == "__main__":
    main()
