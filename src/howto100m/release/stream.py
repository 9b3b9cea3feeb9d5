"""Read a JSON object of gigabytes a member at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

CHUNK = 1 << 20
LARGEST = 1 << 26
"""Signs of the largest value: a file that goes on longer is damaged."""


def stream_object(file: TextIO, chunk: int = CHUNK) -> Iterator[tuple[str, Any]]:
    """The keys and values of one JSON object, one after the other, in the memory of one.

    Python's own decoder does it, since the release may hold what Python wrote: NaN, for a caption
    that pandas found empty, is no JSON to ijson and its like. Raises ValueError where the text is
    no such object, with the sign's number.
    """
    text = _Text(file, chunk)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        key = text.value()
        text.expect(":")
        value = text.value()
        if not isinstance(key, str):
            raise ValueError(f"a key is no text, near sign {text.read}")
        yield key, value
        if text.peek() == "}":
            return
        text.expect(",")


@dataclass
class _Text:
    """What is read of a file and not yet used: from `place` on in `held`."""

    file: TextIO
    chunk: int
    held: str = ""
    place: int = 0
    read: int = 0
    decoder: json.JSONDecoder = field(default_factory=json.JSONDecoder)

    def more(self) -> bool:
        part = self.file.read(max(self.chunk, len(self.held) - self.place))
        self.held, self.place = self.held[self.place :] + part, 0
        self.read += len(part)
        return bool(part)

    def peek(self) -> str:
        while True:
            while self.place < len(self.held) and self.held[self.place].isspace():
                self.place += 1
            if self.place < len(self.held) or not self.more():
                return self.held[self.place : self.place + 1]

    def expect(self, sign: str) -> None:
        if (found := self.peek()) != sign:
            raise ValueError(
                f"{sign!r} expected, not {found or 'the end'!r}, near sign {self.read}"
            )
        self.place += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.held, self.place)
            except json.JSONDecodeError as error:
                if len(self.held) - self.place > LARGEST or not self.more():
                    raise ValueError(f"{error.msg}, near sign {self.read}") from None
                continue
            self.place = end
            return value
