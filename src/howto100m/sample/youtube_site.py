"""www.youtube.com and its media host of the sample world: what yt-dlp asks them, and no more."""

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from howto100m.sample.proxy import Request, Response, json_response, missing
from howto100m.sample.records import Track, Video
from howto100m.sample.subtitles import asr_vtt, plain_vtt
from howto100m.sample.world import PAGE, World

Json = dict[str, Any]

ITAG = 133
"""The site's number of its H.264 video-only format of 240 lines."""
LANGUAGES = {"en": "English", "en-GB": "English (United Kingdom)", "es": "Spanish"}
PROBLEMS = {
    "private": ("LOGIN_REQUIRED", "This video is private", ""),
    "removed": ("ERROR", "This video has been removed by the uploader", ""),
    "members": (
        "UNPLAYABLE",
        "Join this channel to get access to members-only content like this video.",
        "",
    ),
    "paid": ("UNPLAYABLE", "This video requires payment to watch", ""),
    "age": (
        "LOGIN_REQUIRED",
        "Sign in to confirm your age",
        "This video may be inappropriate for some users.",
    ),
    "geo": (
        "UNPLAYABLE",
        "Video unavailable",
        "The uploader has not made this video available in your country",
    ),
    "upcoming": ("LIVE_STREAM_OFFLINE", "This live event will begin in 3 hours.", ""),
}
"""Playability status, reason and subreason: the site's own words, which clients go by."""


class YoutubeSite:
    """Answers requests to www.youtube.com and *.googlevideo.com."""

    def __init__(self, world: World, media: Path):
        self._world = world
        self._media = media

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.host.endswith(".googlevideo.com"):
            return self._playback(request) if request.path == "/videoplayback" else missing()
        match request.path:
            case "/youtubei/v1/search":
                return self._search(request.json())
            case "/youtubei/v1/player":
                name = request.json().get("videoId", "")
                return json_response(self._player(name), "player", name)
            case "/api/timedtext":
                return self._timedtext(request)
            case "/watch":
                name = request.query.get("v", "")
                return Response(_watch_page(self._player(name)), what="watch", video_id=name)
            case "/":
                return Response(_page(_SETTINGS), what="home")
            case path if path.startswith("/s/player/"):
                return Response(b"var g={signatureTimestamp:20472};", "text/javascript")
        return missing()

    def _search(self, asked: Json) -> Response:
        """A page of a query's results; the token of a continuation holds query and position."""
        query, start = str(asked.get("query", "")), 0
        if token := asked.get("continuation"):
            try:
                query, start = json.loads(urlsafe_b64decode(token))
            except ValueError:
                error = {"error": {"code": 400, "message": "Request contains an invalid argument."}}
                body = json.dumps(error).encode()
                return Response(body, "application/json", 400, what="search")
        found = self._world.searches.get(query.lower(), ())
        shown = [_result(self._world.videos[name]) for name in found[start : start + PAGE]]
        nothing = {"messageRenderer": {"text": _text("No more results")}}
        items: list[Json] = [{"itemSectionRenderer": {"contents": shown or [nothing]}}]
        if start + PAGE < len(found):
            following = urlsafe_b64encode(json.dumps([query, start + PAGE]).encode()).decode()
            command = {"continuationCommand": {"token": following}}
            items.append({"continuationItemRenderer": {"continuationEndpoint": command}})
        if start:
            action = {"appendContinuationItemsAction": {"continuationItems": items}}
            return json_response({"onResponseReceivedCommands": [action]}, "search")
        column = {"sectionListRenderer": {"contents": items}}
        contents = {"twoColumnSearchResultsRenderer": {"primaryContents": column}}
        return json_response({"contents": contents}, "search")

    def _player(self, name: str) -> Json:
        video = self._world.videos.get(name)
        if not video:
            return {"playabilityStatus": _verdict("ERROR", "Video unavailable", "")}
        answer: Json = {"videoDetails": _details(video)}
        if video.problem in PROBLEMS:
            return {"playabilityStatus": _verdict(*PROBLEMS[video.problem]), **answer}
        streams: Json = {"adaptiveFormats": [_format(video, self._media)] if video.media else []}
        if video.problem == "dubbed":
            streams["adaptiveFormats"] += [_dubbing(video, *one) for one in enumerate(LANGUAGES)]
        if video.problem == "live":
            manifest = f"https://manifest.googlevideo.com/api/manifest/hls_variant/id/{name}"
            streams = {"hlsManifestUrl": manifest}
        answer |= {"playabilityStatus": {"status": "OK"}, "streamingData": streams}
        if video.tracks:
            answer["captions"] = {"playerCaptionsTracklistRenderer": _captions(video)}
        return answer

    def _timedtext(self, request: Request) -> Response:
        """A subtitle track in WebVTT, or its machine translation into English."""
        query = request.query
        video = self._world.videos.get(query.get("v", ""))
        wanted = (query.get("lang", ""), query.get("kind") == "asr", query.get("name", ""))
        tracks = {(t.language, t.asr, t.name): t for t in video.tracks} if video else {}
        track = tracks.get(wanted)
        if not track or not video or query.get("fmt") != "vtt":
            return missing("timedtext")
        into = query.get("tlang", "")
        if into and not (into == "en" and track.english):
            return missing("timedtext")
        if into:
            text = plain_vtt(track.english, into)
        else:
            text = (asr_vtt if track.asr else plain_vtt)(track.lines, track.language)
        kind = "text/vtt; charset=UTF-8"
        return Response(text.encode(), kind, what="timedtext", video_id=video.video_id)

    def _playback(self, request: Request) -> Response:
        """The bytes of a video's file that a Range header asks for, or all of them."""
        name = request.query.get("id", "")
        video = self._world.videos.get(name)
        if not video or not video.media:
            return Response(status=403, what="videoplayback", video_id=name)
        body = (self._media / f"{name}.mp4").read_bytes()
        headers = {"Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        if not asked:
            return Response(body, "video/mp4", 200, headers, "videoplayback", name)
        first, last = int(asked[1]), min(int(asked[2] or len(body) - 1), len(body) - 1)
        if first > last:
            headers["Content-Range"] = f"bytes */{len(body)}"
            return Response(b"", "video/mp4", 416, headers, "videoplayback", name)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return Response(body[first : last + 1], "video/mp4", 206, headers, "videoplayback", name)


_SETTINGS: Json = {
    "INNERTUBE_CONTEXT": {"client": {"clientName": "WEB", "clientVersion": "2.20260708.00.00"}},
    "INNERTUBE_CLIENT_NAME": "WEB",
    "STS": 20472,
    "VISITOR_DATA": "CgtzYW1wbGV3b3JsZCiA8N7LBg%3D%3D",
    "PLAYER_JS_URL": "/s/player/5a3b1e00/player_ias.vflset/en_US/base.js",
}


def _page(settings: Json, **data: Json) -> bytes:
    scripts = [f"ytcfg.set({json.dumps(settings)});"]
    scripts += [f"var {name} = {json.dumps(value)};" for name, value in data.items()]
    body = "".join(f"<script>{script}</script>" for script in scripts)
    return f"<!DOCTYPE html><html><head>{body}</head><body></body></html>".encode()


def _watch_page(player: Json) -> bytes:
    columns: Json = {"twoColumnWatchNextResults": {"results": {"results": {"contents": []}}}}
    return _page(_SETTINGS, ytInitialPlayerResponse=player, ytInitialData={"contents": columns})


def _text(text: str) -> Json:
    return {"runs": [{"text": text}]}


def _channel_id(video: Video) -> str:
    return (
        "UC"
        + urlsafe_b64encode(blake2b(video.channel.encode(), digest_size=18).digest())[:22].decode()
    )


def _result(video: Video) -> Json:
    """A video among the results of a search."""
    handle = "/@" + video.channel.replace(" ", "")
    endpoint = {
        "browseEndpoint": {"browseId": _channel_id(video), "canonicalBaseUrl": handle},
        "commandMetadata": {"webCommandMetadata": {"url": handle}},
    }
    result: Json = {
        "videoId": video.video_id,
        "title": _text(video.title),
        "shortBylineText": {"runs": [{"text": video.channel, "navigationEndpoint": endpoint}]},
    }
    if video.problem == "live":
        badge = {"style": "BADGE_STYLE_TYPE_LIVE_NOW", "label": "LIVE"}
        result["badges"] = [{"metadataBadgeRenderer": badge}]
        result["viewCountText"] = {"runs": [{"text": f"{video.views:,}"}, {"text": " watching"}]}
        result["thumbnailOverlays"] = [_overlay("LIVE", "LIVE")]
    elif video.problem == "upcoming":
        result["upcomingEventData"] = {"startTime": str(int(time.time()) + 3 * 3600)}
        result["thumbnailOverlays"] = [_overlay("UPCOMING", "UPCOMING")]
    else:
        minutes, seconds = divmod(video.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        result["lengthText"] = {"simpleText": clock}
        result["thumbnailOverlays"] = [_overlay(clock, "DEFAULT")]
        if video.listed:
            plural = "" if video.views == 1 else "s"
            views = f"{video.views:,} view{plural}" if video.views else "No views"
            result["viewCountText"] = {"simpleText": views}
    return {"videoRenderer": result}


def _overlay(text: str, style: str) -> Json:
    return {"thumbnailOverlayTimeStatusRenderer": {"text": {"simpleText": text}, "style": style}}


def _verdict(status: str, reason: str, subreason: str) -> Json:
    """Why a video does not play."""
    screen: Json = {"reason": {"simpleText": reason}}
    if subreason:
        screen["subreason"] = _text(subreason)
    return {
        "status": status,
        "reason": reason,
        "errorScreen": {"playerErrorMessageRenderer": screen},
    }


def _details(video: Video) -> Json:
    return {
        "videoId": video.video_id,
        "title": video.title,
        "lengthSeconds": "0" if video.problem in ("live", "upcoming") else str(video.seconds),
        "viewCount": str(video.views),
        "author": video.channel,
        "channelId": _channel_id(video),
        "shortDescription": "",
        "isLive": video.problem == "live",
        "isUpcoming": video.problem == "upcoming",
        "isLiveContent": video.problem in ("live", "upcoming"),
    }


def _format(video: Video, media: Path) -> Json:
    """The one format that a video has: its picture without sound."""
    size = (media / f"{video.video_id}.mp4").stat().st_size
    query = {"id": video.video_id, "itag": ITAG, "mime": "video/mp4", "clen": size}
    query["expire"] = int(time.time()) + 6 * 3600
    return {
        "itag": ITAG,
        "url": f"https://rr1---sn-sample.googlevideo.com/videoplayback?{urlencode(query)}",
        "mimeType": 'video/mp4; codecs="avc1.640015"',
        "bitrate": size * 8 // video.seconds,
        "width": video.width,
        "height": video.height,
        "fps": video.fps,
        "contentLength": str(size),
        "quality": "small",
        "qualityLabel": f"{video.height}p",
        "approxDurationMs": str(video.seconds * 1000),
    }


def _dubbing(video: Video, number: int, language: str) -> Json:
    """A sound track of a video that is dubbed, or its original one."""
    query = {"id": f"{video.video_id}.{language}", "itag": 140, "mime": "audio/mp4"}
    return {
        "itag": 140,
        "url": f"https://rr1---sn-sample.googlevideo.com/videoplayback?{urlencode(query)}",
        "mimeType": 'audio/mp4; codecs="mp4a.40.2"',
        "bitrate": 128_000,
        "quality": "tiny",
        "contentLength": str(16_000 * video.seconds),
        "audioTrack": {
            "id": f"{language}.{4 if number == 0 else 3}",
            "displayName": LANGUAGES[language] + (" original" if number == 0 else ""),
            "audioIsDefault": number == 0,
        },
        "approxDurationMs": str(video.seconds * 1000),
    }


def _captions(video: Video) -> Json:
    return {
        "captionTracks": [_caption_track(video, track) for track in video.tracks],
        "translationLanguages": [
            {"languageCode": code, "languageName": _text(LANGUAGES[code])} for code in ("en", "es")
        ],
    }


def _caption_track(video: Video, track: Track) -> Json:
    query = {"v": video.video_id, "expire": str(int(time.time()) + 7 * 3600)}
    query |= {"kind": "asr"} if track.asr else {}
    query |= {"lang": track.language}
    query |= {"name": track.name} if track.name else {}
    shown = f"{LANGUAGES[track.language]} (auto-generated)" if track.asr else track.name
    return {
        "baseUrl": f"https://www.youtube.com/api/timedtext?{urlencode(query)}",
        "name": _text(shown or LANGUAGES[track.language]),
        "vssId": _vss_id(track),
        "languageCode": track.language,
        **({"kind": "asr"} if track.asr else {}),
        "isTranslatable": bool(track.english),
        "trackName": track.name,
    }


def _vss_id(track: Track) -> str:
    """The site's name of a track: ".en", "a.en", ".en.k3Jd81sQz0o" for one with a name."""
    parts = ["a" if track.asr else "", track.language]
    if track.name:
        digest = blake2b(track.name.encode(), digest_size=8).digest()
        parts.append(urlsafe_b64encode(digest)[:11].decode())
    return ".".join(parts)
