"""Rebuild verbs.tsv from WordNet's files: `python -m howto100m.tasks.wordnet /usr/share/wordnet`.

The decisions of people (column `reviewed`) are kept.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from howto100m.shards import whole_file
from howto100m.tasks.verbs import HEADER, VERBS, Verb, read_verbs

CLASSES = (
    "body change cognition communication competition consumption contact creation emotion motion"
    " perception possession social stative weather"
).split()
"""WordNet's lexicographer files of verbs, from number 29 on."""
PHYSICAL = frozenset("body change consumption contact creation motion".split())
"""Those whose senses are mostly bodily acts."""
FIRST = 29
TOLD = 0.2
"""Share from which a class is named among the reasons."""

UNSEEN = 0.2
"""What a sense without any occurrence in WordNet's tagged texts counts for."""


def senses(wordnet: Path) -> dict[str, dict[str, float]]:
    """How often each one-word verb occurs in each class of senses, by WordNet's tagged texts."""
    files = {
        line.split(" ", 2)[0]: CLASSES[int(line.split(" ", 2)[1]) - FIRST]
        for line in (wordnet / "data.verb").read_text().splitlines()
        if not line.startswith(" ")
    }
    weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for verb, offsets in _index(wordnet / "index.verb"):
        for offset in offsets:
            weights[verb][files[offset]] += UNSEEN
    for line in (wordnet / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        verb, rest = key.split("%")
        if rest.startswith("2:") and verb in weights:
            weights[verb][CLASSES[int(rest.split(":")[1]) - FIRST]] += int(count)
    return weights


def _index(path: Path) -> Iterator[tuple[str, list[str]]]:
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        if fields[0].isalpha():
            yield fields[0], fields[-int(fields[2]) :]


def row_of(verb: str, classes: Mapping[str, float], reviewed: str) -> str:
    """The verb's line of verbs.tsv; `classes` is empty where WordNet has no such verb."""
    whole = sum(classes.values())
    told = sorted(classes.items(), key=lambda item: (-item[1], item[0]))
    reason = ", ".join(f"{name} {n / whole:.0%}" for name, n in told if n >= TOLD * whole)
    # Rounded first: the decision must follow from what the file says.
    share = (
        f"{sum(classes[name] for name in PHYSICAL & classes.keys()) / whole:.2f}" if whole else ""
    )
    row = Verb(float(share) if share else None, reviewed)
    return "\t".join((verb, share, reason, row.decision, reviewed))


def main() -> None:
    """Write verbs.tsv anew, with the shares of this WordNet and the reviewed decisions of old."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--output", type=Path, default=VERBS)
    arguments = parser.parse_args()
    reviewed = {verb: row.reviewed for verb, row in read_verbs(VERBS).items() if row.reviewed}
    found = senses(arguments.wordnet)
    rows = [
        row_of(verb, found.get(verb, {}), reviewed.get(verb, ""))
        for verb in sorted(found.keys() | reviewed.keys())
    ]
    with whole_file(arguments.output) as part:
        part.write_text("\n".join(["\t".join(HEADER), *rows, ""]))


if __name__ == "__main__":
    main()
