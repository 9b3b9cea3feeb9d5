"""Player answers on their way from the subtitles to the media: no video is asked for them twice."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Streams = Mapping[str, Any]

MARGIN = 600.0
"""Seconds before their end in which URLs are no longer begun with."""


def streams_path(subtitles: Path) -> Path:
    """The file beside a shard of the subtitles table; no declared output, as a journal."""
    return subtitles.with_suffix(".streams.jsonl")


def keep_streams(path: Path, video_id: str, streams: Streams) -> None:
    """Add a video's line. A kill costs the line in the making, and that one more request."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(json.dumps([video_id, streams]).encode() + b"\n")


def read_streams(path: Path) -> dict[str, Streams]:
    """Video id to the streams whose URLs have not expired."""
    return {video_id: streams for video_id, streams in _lines(path) if _fresh(streams)}


def _lines(path: Path) -> Iterator[tuple[str, Streams]]:
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                video_id, streams = json.loads(line)
            except ValueError:  # cut short by a kill, and written on
                continue
            yield video_id, streams


def _fresh(streams: Streams) -> bool:
    ends = [
        float(end)
        for found in streams["formats"]
        for end in parse_qs(urlsplit(found["url"]).query).get("expire", ["0"])[:1]
    ]
    return bool(ends) and min(ends) > time.time() + MARGIN
