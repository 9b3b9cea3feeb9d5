"""Fetch each video's English track, and keep the videos that say enough (section 3.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from howto100m import tables
from howto100m.clips.captions import count_words, lines_of, read_cues
from howto100m.crawl import crawl_shard, open_journal
from howto100m.kinds import ItemError, Kind
from howto100m.shards import Row, read_table
from howto100m.videos.select import Limits
from howto100m.videos.streams import keep_streams, streams_path
from howto100m.videos.youtube import Track, YouTube

KINDS = ("manual", "asr", "translated")
"""The kinds of track that the paper accepts."""


def choose_track(tracks: Iterable[Track], kinds: Sequence[str]) -> Track | None:
    """The best English track: the first of `kinds` that there is, and in it the plainest.

    "en" goes before a region's ("en-GB"), that before one with a name of its own, of which yt-dlp
    puts the site's mark behind the language ("en-eEY6OEpapPo"). It lists an English ASR track
    twice, as "en" and "en-orig"; a translation as "en", of a track that people wrote as "en-es".
    """
    english = [t for t in tracks if t.language.split("-")[0] == "en" and t.kind in kinds]
    return min(english, key=lambda t: (kinds.index(t.kind), _distance(t.language)), default=None)


def _distance(language: str) -> int:
    region = language.removeprefix("en").removeprefix("-")
    return 2 if len(region) > 4 else bool(region)


def fetch_subtitles(
    videos: Path,
    output: Path,
    youtube: YouTube,
    *,
    kinds: Sequence[str],
    min_words: int,
    limits: Limits,
    max_failed: float,
) -> None:
    """Fetch the English track of every video of a shard; write its shard of the subtitles table.

    A video costs one request for its player answer, which settles views and duration where the
    search did not say them, and one for its track. The streams that the answer names are kept
    beside the shard for `media`, which then asks for no other one.
    """
    settings = {"kinds": list(kinds), "min_words": min_words, **asdict(limits)}
    columns = ["video_id", "rank", "views", "duration"]
    wanted = {v["video_id"]: v for v in read_table(videos, columns).to_pylist()}

    def fetch(video: Row) -> list[Row]:
        player = youtube.player(video["video_id"])
        views = video["views"] if player.views is None else player.views
        duration = video["duration"] if player.duration is None else player.duration
        if refusal := limits.refuse(video["rank"], views, duration, player.live):
            raise refusal
        if views is None or duration is None:
            what = "views" if views is None else "duration"
            raise ItemError(Kind.TOO_FEW_VIEWS if views is None else Kind.LIVE, f"{what} hidden")
        track = choose_track(player.tracks, kinds)
        if track is None:
            languages = sorted({t.language for t in player.tracks if t.kind != "translated"})
            raise ItemError(Kind.NO_SUBTITLES, f"tracks: {' '.join(languages[:20]) or 'none'}")
        vtt = youtube.subtitles(track)
        words = count_words(lines_of(read_cues(vtt)))
        if words < min_words:
            raise ItemError(Kind.TOO_FEW_WORDS, f"{words} words")
        keep_streams(streams_path(output), player.video_id, player.streams)
        return [
            {
                "video_id": video["video_id"],
                "language": track.language,
                "kind": track.kind,
                "vtt": vtt,
                "words": words,
                "views": views,
                "duration": float(duration),
            }
        ]

    crawl_shard(
        "tracks fetched",
        wanted,
        fetch,
        output,
        tables.SUBTITLES,
        journal=open_journal(output, settings),
        patience=youtube.pace.patience,
        max_failed=max_failed,
    )
