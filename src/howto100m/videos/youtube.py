"""The only door to YouTube: search, player answers, subtitles and media, through yt-dlp."""

import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yt_dlp
from yt_dlp.extractor.youtube import YoutubeSearchIE
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.networking.impersonate import ImpersonateTarget

from howto100m.kinds import Fate, ItemError, Kind
from howto100m.videos.deadline import Deadline, Late
from howto100m.videos.options import options_of
from howto100m.videos.pace import Ask, Gate, Pace
from howto100m.videos.verdicts import no_vtt, one_line, verdict

log = logging.getLogger(__name__)

_INTO_ENGLISH = re.compile(r"\btlang=en-[\w-]+")
VIDEO_ID = re.compile(r"[\w-]{11}", re.ASCII)
"""The form of an id; what has another one never comes near a URL or a path."""


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
class Page:
    """The hits of one search request, and the token that asks for the following ones ("": none)."""

    hits: tuple[Hit, ...]
    following: str = ""


@dataclass(frozen=True)
class Track:
    """A subtitle track: `kind` is manual, asr or translated; the URL expires after some hours."""

    language: str
    kind: str
    url: str


@dataclass(frozen=True)
class Player:
    """What the player answer says of a video, and its English-capable tracks.

    `streams` is what `download` takes in place of another player answer; its URLs expire after some
    hours, and hold for the address that asked.
    """

    video_id: str
    views: int | None
    duration: float | None
    live: str
    tracks: tuple[Track, ...]
    streams: Mapping[str, Any] = field(default_factory=dict)


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


class _Site(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """yt-dlp, each of whose requests waits for its turn and has a time of its own."""

    def __init__(
        self, options: Mapping[str, Any], gate: Gate | None, deadline: Deadline, pace: Pace
    ):
        self._gate, self._deadline, self._pace = gate, deadline, pace
        super().__init__(dict(options))

    def urlopen(self, req: Any) -> Any:
        """Send a request. Raises ItemError while the gate is closed, and Late."""
        ask = Ask.of(req if isinstance(req, str) else req.url)
        self._deadline.set(0)
        if self._gate:
            self._gate.wait(ask)
        media = ask is Ask.MEDIA
        self._deadline.set(self._pace.media_timeout if media else self._pace.answer_timeout)
        return super().urlopen(req)


class _SearchIE(YoutubeSearchIE):  # type: ignore[misc]
    """yt-dlp's search, which can start at any page: a request's token says where it goes on."""

    def __init__(self, site: _Site, token: str):
        super().__init__(site)
        self.token = token

    def _extract_response(self, item_id: str, query: Mapping[str, Any], **other: Any) -> Any:
        if "continuation" not in query and self.token:
            query = {**query, "continuation": self.token}
        self.token = query.get("continuation", "")
        return super()._extract_response(item_id=item_id, query=query, **other)


class YouTube:
    """Search, player answers, subtitles and media.

    `options` go to yt-dlp unchanged and win over ours; `proxy` leads to a stand-in of the site.
    Without a pace requests go as fast as they come, and nothing is known of other processes.
    Every method raises ItemError, of a fate STOP when the site wants us gone.
    """

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        proxy: str | None = None,
        pace: Pace | None = None,
    ):
        self._warnings = _Warnings()
        self._options = options_of(options or {}) | {"logger": self._warnings}
        if proxy:
            self._options |= {"proxy": proxy, "nocheckcertificate": True}
        self.pace = pace or Pace()
        self._gate = Gate(pace, self._options) if pace else None
        self._deadline = Deadline()
        self._site = self._open(self._options)

    def _open(self, options: Mapping[str, Any]) -> _Site:
        return _Site(options, self._gate, self._deadline, self.pace)

    @contextmanager
    def _verdicts(self) -> Iterator[None]:
        """Turn whatever yt-dlp raises into an ItemError; close the gate where the site says so."""
        self._warnings.texts.clear()
        try:
            with self._deadline.guard():
                yield
        except Late:
            self._site = self._open(self._options)  # the old one is in the middle of something
            raise ItemError(Kind.TIMEOUT, "no whole answer in the time that one may take") from None
        except (yt_dlp.utils.YoutubeDLError, RequestError, OSError) as error:
            found = verdict(str(error), " ".join(self._warnings.texts))
            if self._gate and found.kind.fate is Fate.STOP:
                self._gate.close(found)
            raise found from error

    def search(self, query: str, results: int, token: str = "") -> Iterator[Page]:
        """The first `results` hits, a page a request, as they come; an id may come twice.

        A page's `following` starts another search behind it. Where a page fails, the ones before
        it have come.
        """
        pages = _SearchIE(self._site, token)
        with self._verdicts():
            entries = iter(pages.extract(f"ytsearch{results}:{query}")["entries"])
        hits: list[Hit] = []
        asked = token
        while True:
            try:
                with self._verdicts():
                    entry = next(entries, None)
            except ItemError:
                if hits and pages.token != asked:
                    yield Page(tuple(hits), pages.token)
                raise
            if hits and (entry is None or pages.token != asked):
                yield Page(tuple(hits), "" if entry is None else pages.token)
                hits = []
            if entry is None:
                return
            asked = pages.token
            hits.append(_hit(entry))

    def player(self, video_id: str) -> Player:
        """Views, duration and subtitle tracks of a video: one request."""
        address = _watch(video_id)
        with self._verdicts():
            info = self._site.extract_info(address, download=False, process=False)
        if all(info.get(fact) is None for fact in ("title", "duration", "view_count")):
            raise ItemError(Kind.NETWORK, "the player's answer says nothing of the video")
        return Player(
            video_id=video_id,
            views=_views(info.get("view_count")),
            duration=_seconds(info.get("duration")),
            live=one_line(info.get("live_status")).replace("not_live", ""),
            tracks=tuple(_tracks(info)),
            streams=_streams(self._site.sanitize_info(info)),
        )

    def subtitles(self, track: Track) -> str:
        """The text of a track, in WebVTT: one request."""
        if pause := self._options.get("sleep_interval_subtitles"):
            time.sleep(pause)
        with self._verdicts():
            # A browser's TLS handshake: without it timedtext answers 429 far more often.
            target = self._options.get("impersonate") or ImpersonateTarget()
            request = Request(track.url, extensions={"impersonate": target})
            with self._site.urlopen(request) as answer:
                body = str(answer.read().decode("utf-8", "replace"))
        if fault := no_vtt(body):
            raise fault
        return body

    def download(
        self, video_id: str, folder: Path, height: int, streams: Mapping[str, Any] | None = None
    ) -> Path:
        """Fetch the video stream alone, of `height` lines or the nearest below, into `folder`.

        With the `streams` of a player answer that was had before, no other one is asked for.
        """
        address = _watch(video_id)
        options = self._options | {
            "format": "bv/bv*",
            "format_sort": [f"res:{height}", "vcodec:h264"],
            "outtmpl": {"default": str(folder / video_id).replace("%", "%%") + ".%(ext)s"},
            "overwrites": True,
            "writeautomaticsub": False,
        }
        with self._verdicts(), self._open(options) as site:
            if streams:
                info = site.process_ie_result(dict(streams), download=True)
            else:
                info = site.extract_info(address, download=True)
        path = Path(info["requested_downloads"][0]["filepath"])
        if path.resolve().parent != folder.resolve():
            raise ItemError(
                Kind.MALFORMED, f"the file's name leads elsewhere: {one_line(str(path))}"
            )
        return folder / path.name


def _watch(video_id: str) -> str:
    if not VIDEO_ID.fullmatch(video_id):
        raise ItemError(Kind.MALFORMED, f"no id of a video: {one_line(video_id, 80)!r}")
    return f"https://www.youtube.com/watch?v={video_id}"


def _hit(entry: Mapping[str, Any]) -> Hit:
    return Hit(
        video_id=str(entry.get("id") or ""),
        title=one_line(entry.get("title")),
        views=_views(entry.get("view_count")),
        duration=_seconds(entry.get("duration")),
        channel=one_line(entry.get("channel")),
        live=one_line(entry.get("live_status")).replace("not_live", ""),
    )


def _views(told: Any) -> int | None:
    return told if isinstance(told, int) and 0 <= told < 1 << 63 else None


def _seconds(told: Any) -> float | None:
    good = isinstance(told, int | float) and math.isfinite(told) and told >= 0
    return told if good else None


def _tracks(info: Mapping[str, Any]) -> Iterator[Track]:
    for language, formats in (info.get("subtitles") or {}).items():
        if url := _vtt(formats):
            yield Track(language, "manual", url)
    for language, formats in (info.get("automatic_captions") or {}).items():
        if url := _vtt(formats):
            translated = "tlang" in parse_qs(urlsplit(url).query)
            # yt-dlp asks for the language "en-es" where "en" of a Spanish track is meant.
            url = _INTO_ENGLISH.sub("tlang=en", url)
            yield Track(language, "translated" if translated else "asr", url)


def _streams(info: Mapping[str, Any]) -> dict[str, Any]:
    """A player answer without what a download of the picture has no use for."""
    kept = ("id", "title", "duration", "extractor", "extractor_key", "webpage_url", "live_status")
    pictures = [f for f in info.get("formats") or () if f.get("vcodec") not in (None, "none")]
    return {key: info[key] for key in kept if key in info} | {"formats": pictures}


def _vtt(formats: list[dict[str, Any]]) -> str | None:
    return next((f["url"] for f in formats if f.get("ext") == "vtt"), None)
