"""What a title's verb acts on, where that makes the task abstract: "Use" a saw, or a spreadsheet.

objects.tsv lists, by kind, what nobody can be filmed handling: programs and sites (`screen`), money
and law (`paper`), other people's minds (`people`). A `thing` beside it is handled after all: "Make
a Minecraft Cake".
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from howto100m.kinds import UserError

OBJECTS = Path(__file__).with_name("objects.tsv")
HEADER = ("object", "kind")
KINDS = ("screen", "paper", "people")
THING = "thing"
LONGEST = 3
"""Words of an object that are looked at together."""

_TOKEN = re.compile(r"[^\W_]+")
_GLUED = re.compile(
    r"(?<=[^\W_]{3})(?:with|from|into|your|and|for|the|off|out|if|in|is|of|on|to|as|at|by)$"
)
"""What sticks to an object where a title has lost its blanks ("Moneyin", "Accounton")."""


@dataclass(frozen=True)
class Object:
    """A row of objects.tsv."""

    name: str
    kind: str


def read_objects(kinds: Collection[str] = KINDS, path: Path = OBJECTS) -> dict[str, Object]:
    """The objects of some kinds, and the things, by their names without blanks.

    Raises UserError where a kind is unknown, or that names the malformed line.
    """
    if unknown := sorted({*kinds} - {*KINDS}):
        raise UserError(f"{', '.join(unknown)}: objects are of the kinds {', '.join(KINDS)}")
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    if tuple(head.split("\t")) != HEADER:
        raise UserError(f"{path}: the first line must be {'<TAB>'.join(HEADER)}")
    objects: dict[str, Object] = {}
    for number, line in enumerate(lines, 2):
        name, tab, kind = line.partition("\t")
        if not tab or not name or kind not in (*KINDS, THING):
            raise UserError(
                f"{path}:{number}: expected an object and its kind ({', '.join(KINDS)}, {THING}),"
                f" separated by a tab; found {line!r}"
            )
        if kind == THING or kind in kinds:
            objects["".join(_TOKEN.findall(name))] = Object(name, kind)
    return objects


def abstract_object(text: str, objects: Mapping[str, Object]) -> Object | None:
    """The first object of a text that makes its task abstract; None where a thing outweighs it."""
    found = list(_objects(text, objects))
    if any(object_.kind == THING for object_ in found):
        return None
    return next(iter(found), None)


def _objects(text: str, objects: Mapping[str, Object]) -> Iterator[Object]:
    """The objects of a text: its words, and up to three of them in a row, as they stand or unglued.

    Words are put together without blanks, since "i Phone" and "Power Point" occur as well.
    """
    words = _TOKEN.findall(text.lower())
    bare = [_GLUED.sub("", word) for word in words]
    for start in range(len(words)):
        before = ""
        for end in range(start, min(start + LONGEST, len(words))):
            if found := objects.get(before + words[end]) or objects.get(before + bare[end]):
                yield found
            before += words[end]
