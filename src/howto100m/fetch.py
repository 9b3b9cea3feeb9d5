"""Files that a setting names by path or URL: the door to plain downloads."""

import logging
import shutil
from pathlib import Path

import requests

from howto100m.kinds import UserError, disk_full
from howto100m.shards import Progress, whole_file

log = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds a download may stand still."""
PIECE = 1 << 20


def is_url(source: str) -> bool:
    """Whether a setting names a file by URL."""
    return source.startswith(("http://", "https://"))


def fetch_file(source: str, path: Path) -> None:
    """Copy or download a file, whole or not at all. Raises UserError when it cannot be had."""
    with whole_file(path) as part:
        try:
            if is_url(source):
                _download(source, part)
            else:
                shutil.copyfile(source, part)
        except (OSError, requests.RequestException) as error:
            if disk_full(error):
                raise
            raise UserError(f"{source} cannot be had: {error}") from None


def _download(url: str, path: Path) -> None:
    with requests.get(url, stream=True, timeout=TIMEOUT) as answer, path.open("wb") as file:
        answer.raise_for_status()
        announced = int(answer.headers.get("Content-Length", 0))
        encoded = "Content-Encoding" in answer.headers
        progress = Progress(f"MiB of {url}", 0 if encoded else announced // PIECE)
        for piece in answer.iter_content(PIECE):
            file.write(piece)
            more = file.tell() // PIECE - progress.counts.total()
            if progress.total and more:
                progress.add(more)
    size = path.stat().st_size
    if announced and not encoded and size != announced:
        raise OSError(f"{size} bytes arrived of {announced} announced")
    log.info("%s: %d bytes", url, size)
