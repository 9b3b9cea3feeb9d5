"""How fast YouTube is asked: one queue a kind of request, for all processes of a machine.

A queue is a file with the time of the next free slot, and a lock on it. A process takes a slot in
turn and sleeps until then, so that requests are evenly spaced, whoever makes them, and a process
that is killed leaves no more behind than an unused slot.
"""

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Patience, whole_file

LONGEST = 6 * 3600.0
"""Seconds ahead that a slot can be; one further off is a clock's that was set back."""


class Ask(StrEnum):
    """The kinds of request that YouTube counts apart."""

    SEARCH = "search"
    PLAYER = "player"
    TIMEDTEXT = "timedtext"
    MEDIA = "media"

    @classmethod
    def of(cls, url: str) -> "Ask":
        """The kind of a request; pages and scripts count as the player answers they lead to."""
        address = urlsplit(url)
        if (address.hostname or "").endswith(".googlevideo.com"):
            return cls.MEDIA
        known = {"/youtubei/v1/search": cls.SEARCH, "/api/timedtext": cls.TIMEDTEXT}
        return known.get(address.path, cls.PLAYER)


@dataclass(frozen=True)
class Pace:
    """Requests an hour of each kind (0: as fast as they come), and the patience with an item (s).

    An answer may take `answer_timeout` s from its request to its last byte, a piece of a media file
    (10 MB at most) `media_timeout`. After a bot check or a rate limit nothing is asked for `closed`
    seconds. `folder` holds the queues; "" stands for one of this machine's temporary folder.
    """

    search: float = 500
    player: float = 280
    timedtext: float = 280
    media: float = 600
    tries: int = 3
    pause: float = 30
    long_pause: float = 300
    answer_timeout: float = 120
    media_timeout: float = 900
    closed: float = 3600
    folder: str = ""

    @classmethod
    def of(cls, text: str) -> "Pace":
        """The pace that a JSON object describes. Raises UserError."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            names = ", ".join(field.name for field in fields(cls))
            raise UserError(f"--pace {text!r}: {error}; it takes {names}") from None

    @property
    def patience(self) -> Patience:
        """How an item is tried again."""
        return Patience(self.tries, self.pause, self.long_pause)


class Gate:
    """Lets the requests of a visitor through at their pace, and none while the site wants us gone.

    A visitor is whom the site takes us for: another address, proxy or account has queues of its
    own.
    """

    def __init__(self, pace: Pace, options: Mapping[str, Any]):
        self.pace = pace
        seen = ("proxy", "source_address", "cookiefile", "cookiesfrombrowser", "username")
        visitor = json.dumps([options.get(name) for name in seen], default=str)
        name = blake2b(visitor.encode(), digest_size=6).hexdigest()
        default = Path(tempfile.gettempdir()) / f"howto100m-{os.getuid()}"
        self._folder = (Path(pace.folder) if pace.folder else default) / name
        self._closed = self._folder / "closed.json"

    def wait(self, ask: Ask) -> None:
        """Wait for the next slot of a kind. Raises ItemError (its fate: stop) where closed."""
        self._check()
        if an_hour := float(getattr(self.pace, ask)):
            slot = self._take(ask, 3600 / an_hour)
            time.sleep(max(0.0, slot - time.time()))
            self._check()

    def close(self, error: ItemError) -> None:
        """Let nothing through for a while, in no process of this visitor."""
        if self.pace.closed:
            until = time.time() + self.pace.closed
            self._make_folder()
            with whole_file(self._closed) as part:
                part.write_text(json.dumps([error.kind, error.message, until]))

    def _check(self) -> None:
        try:
            kind, message, until = json.loads(self._closed.read_text())
        except FileNotFoundError:
            return
        if time.time() < until <= time.time() + self.pace.closed:
            clock = time.strftime("%H:%M", time.localtime(until))
            told = f"{message} (nothing is asked before {clock}; delete {self._closed} to try now)"
            raise ItemError(Kind(kind), told)
        self._closed.unlink(missing_ok=True)

    def _take(self, ask: Ask, interval: float) -> float:
        self._make_folder()
        queue = os.open(self._folder / ask, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(queue, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now, told = time.time(), file.read()
            free = float(told) if told else now
            slot = free if now < free < now + LONGEST else now
            file.seek(0)
            file.write(f"{slot + interval:017.6f}")
        return slot

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"pace.folder: {self._folder} cannot be made: {error}") from None
        if self._folder.parent.stat().st_uid != os.getuid() and not self.pace.folder:
            raise UserError(
                f"{self._folder.parent} belongs to someone else: name a folder, pace.folder"
            )
