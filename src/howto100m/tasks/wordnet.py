"""Rebuild verbs.tsv from WordNet's files: `python -m howto100m.tasks.wordnet /usr/share/wordnet`.

The decisions of people (column `reviewed`) are kept.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from howto100m.shards import whole_file
from howto100m.tasks.verbs import HEADER, VERBS, read_verbs

PHYSICAL = {"29": "body", "30": "change", "34": "consumption", "35": "contact"} | {
    "36": "creation",
    "38": "motion",
}
"""WordNet's lexicographer files of verbs whose senses are mostly bodily acts."""

UNSEEN = 0.2
"""What a sense without any occurrence in WordNet's tagged texts counts for."""


def senses(wordnet: Path) -> dict[str, dict[str, float]]:
    """The lexicographer file number of each sense of each one-word verb, with its tag count."""
    files = {
        line.split(" ", 2)[0]: line.split(" ", 2)[1]
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
            weights[verb][rest.split(":")[1]] += int(count)
    return weights


def _index(path: Path) -> Iterator[tuple[str, list[str]]]:
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        if fields[0].isalpha():
            yield fields[0], fields[-int(fields[2]) :]


def main() -> None:
    """Write verbs.tsv anew, with the shares of this WordNet and the reviewed decisions of old."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--output", type=Path, default=VERBS)
    arguments = parser.parse_args()
    reviewed = {verb: row.reviewed for verb, row in read_verbs(VERBS).items() if row.reviewed}
    shares = {
        verb: sum(n for file, n in files.items() if file in PHYSICAL) / sum(files.values())
        for verb, files in senses(arguments.wordnet).items()
    }
    rows = [
        "\t".join([verb, f"{shares[verb]:.2f}" if verb in shares else "", reviewed.get(verb, "")])
        for verb in sorted(shares.keys() | reviewed.keys())
    ]
    with whole_file(arguments.output) as part:
        part.write_text("\n".join(["\t".join(HEADER), *rows, ""]))


if __name__ == "__main__":
    main()
