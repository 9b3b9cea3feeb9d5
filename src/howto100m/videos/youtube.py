"""The only door to YouTube, and the only importer of yt_dlp."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.networking.impersonate import ImpersonateTarget

from howto100m.kinds import ItemError, Kind
from howto100m.videos.verdicts import verdict

log = logging.getLogger(__name__)

# One request a video: this client needs no page, no script and no token.
_ONE_REQUEST: dict[str, list[str]] = {
    "player_client": ["visionos"],
    "player_skip": ["webpage", "configs", "js", "initial_data"],
    "skip": ["hls", "dash", "translated_subs"],
}


@dataclass(frozen=True)
class Hit:
    """A search result: views and duration (s) are None where the site does not say them.

    `live` is "", "is_live", "was_live" or "is_upcoming".
    """

    video_id: str
    title: str
    views: int | None
    duration: float | None
    channel: str
    live: str


@dataclass(frozen=True)
class Track:
    """A subtitle track: `kind` is manual, asr or translated; the URL expires after some hours."""

    language: str
    kind: str
    url: str


@dataclass(frozen=True)
class Player:
    """What the player answer says of a video, and its English-capable tracks."""

    video_id: str
    views: int | None
    duration: float | None
    live: str
    tracks: tuple[Track, ...]


class _Warnings:
    """yt-dlp's logger: warnings are kept, since errors after them often do not say the cause."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def debug(self, message: str) -> None:
        log.debug(message)

    info = debug

    def warning(self, message: str) -> None:
        log.debug(message)
        self.texts.append(message)

    error = debug


class YouTube:
    """Search, player answers, subtitles and media.

    `options` go to yt-dlp unchanged and win over ours; `proxy` leads to a stand-in of the site.
    Every method raises ItemError.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, proxy: str | None = None):
        self._warnings = _Warnings()
        self._options: dict[str, Any] = {
            "quiet": True,
            "noprogress": True,
            "logger": self._warnings,
            "cachedir": False,
            # yt-dlp's library defaults are no tries at all.
            "retries": 3,
            "fragment_retries": 3,
            "extractor_retries": 2,
            "file_access_retries": 2,
            "socket_timeout": 30,
            "extractor_args": {"youtube": _ONE_REQUEST, "youtubetab": {"skip": ["webpage"]}},
            **(options or {}),
        }
        if proxy:
            self._options |= {"proxy": proxy, "nocheckcertificate": True}
        self._site = yt_dlp.YoutubeDL(self._options)

    @contextmanager
    def _verdicts(self) -> Iterator[None]:
        """Turn whatever yt-dlp raises into an ItemError."""
        self._warnings.texts.clear()
        try:
            yield
        except (yt_dlp.utils.YoutubeDLError, RequestError, OSError) as error:
            raise verdict(str(error), " ".join(self._warnings.texts)) from error

    def search(self, query: str, results: int) -> Iterator[Hit]:
        """The first `results` hits as they come, 20 a request; an id may come twice."""
        with self._verdicts():
            found = self._site.extract_info(
                f"ytsearch{results}:{query}", download=False, process=False
            )
            for entry in found["entries"]:
                yield Hit(
                    video_id=entry["id"],
                    title=entry.get("title") or "",
                    views=entry.get("view_count"),
                    duration=entry.get("duration"),
                    channel=entry.get("channel") or "",
                    live=entry.get("live_status") or "",
                )

    def player(self, video_id: str) -> Player:
        """Views, duration and subtitle tracks of a video: one request."""
        with self._verdicts():
            info = self._site.extract_info(_watch(video_id), download=False, process=False)
        return Player(
            video_id=video_id,
            views=info.get("view_count"),
            duration=info.get("duration"),
            live=info.get("live_status") or "",
            tracks=tuple(_tracks(info)),
        )

    def subtitles(self, track: Track) -> str:
        """The text of a track, in WebVTT: one request."""
        with self._verdicts():
            # A browser's TLS handshake: without it timedtext answers 429 far more often.
            request = Request(track.url, extensions={"impersonate": ImpersonateTarget()})
            body = self._site.urlopen(request).read().decode("utf-8", "replace")
        if not body.strip():
            raise ItemError(Kind.NETWORK, "timedtext answered with an empty body")
        return str(body)

    def download(self, video_id: str, folder: Path, height: int) -> Path:
        """Fetch the video stream alone, of `height` lines or the nearest below, into `folder`."""
        options = self._options | {
            "format": "bv/bv*",
            "format_sort": [f"res:{height}", "vcodec:h264"],
            "outtmpl": {"default": str(folder / "%(id)s.%(ext)s")},
            "overwrites": True,
        }
        with self._verdicts(), yt_dlp.YoutubeDL(options) as site:
            info = site.extract_info(_watch(video_id), download=True)
        return Path(info["requested_downloads"][0]["filepath"])


def _watch(video_id: str) -> str:
    return f"https://www.youtube.com/watch?v={video_id}"


def _tracks(info: Mapping[str, Any]) -> Iterator[Track]:
    for language, formats in (info.get("subtitles") or {}).items():
        if url := _vtt(formats):
            yield Track(language, "manual", url)
    for language, formats in (info.get("automatic_captions") or {}).items():
        if url := _vtt(formats):
            yield Track(
                language, "translated" if "tlang" in parse_qs(urlsplit(url).query) else "asr", url
            )


def _vtt(formats: list[dict[str, Any]]) -> str | None:
    return next((f["url"] for f in formats if f.get("ext") == "vtt"), None)
