"""From titles to media: the commands of the crawl, and those that take its place."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from howto100m.commands.find import find
from howto100m.commands.options import (
    Folder,
    MaxDuration,
    MaxFailed,
    MaxRank,
    MinViews,
    Output,
    PaceOption,
    RequestLog,
    Shards,
    World,
    YtDlp,
    among,
)
from howto100m.kinds import UserError
from howto100m.shards import shard_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from howto100m.sample.sites import Door
    from howto100m.videos.select import Limits
    from howto100m.videos.youtube import YouTube


def tasks(
    output: Annotated[Path, typer.Option(help="Folder for the shards; with --titles the table.")],
    titles: Annotated[
        Path | None, typer.Option(help="TSV or Parquet with a column `title`, not WikiHow.")
    ] = None,
    source: Annotated[
        str, typer.Option("--from", help="wikihow, table or howto100m: where titles come from.")
    ] = "wikihow",
    table: Annotated[
        Path | None, typer.Option(help="With --from table: TSV or Parquet, a column `title`.")
    ] = None,
    howto100m_csv: Annotated[
        Path | None, typer.Option(help="With --from howto100m: HowTo100M_v1.csv.")
    ] = None,
    task_ids_csv: Annotated[
        Path | None, typer.Option(help="With --from howto100m: task_ids.csv.")
    ] = None,
    shards: Shards = 1,
    category: Annotated[
        list[str] | None, typer.Option(help="Top-level category to keep; repeat. None keeps all.")
    ] = None,
    verb: Annotated[
        list[str] | None,
        typer.Option(help="Your own word on a verb, VERB=visual or VERB=abstract; repeat."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Your own word on a task, ID=visual or ID=abstract; repeat."),
    ] = None,
    abstract_objects: Annotated[
        str,
        typer.Option(
            help="Kinds of objects that make a task abstract whatever its verb, with commas"
            " between; empty for none."
        ),
    ] = "screen,paper,people",
    delay: Annotated[
        float,
        typer.Option(min=0, envvar="HOWTO100M_DELAY", help="Seconds between two requests."),
    ] = 3.0,
    user_agent: Annotated[
        str, typer.Option(envvar="HOWTO100M_USER_AGENT", help="Who asks, with a contact.")
    ] = "",
    max_failed: MaxFailed = 0.5,
    world: World = None,
    log: RequestLog = None,
) -> None:
    """WikiHow's titles, and which of them are visual tasks."""
    from howto100m.config import contact_lacks
    from howto100m.tasks.select import Rules, list_tasks, mine_tasks, official_tasks, select_titles
    from howto100m.tasks.verbs import Overrides

    kinds = [kind for kind in abstract_objects.split(",") if kind]
    rules = Rules.of(category or [], Overrides.of(verb or [], task or []), kinds)
    if titles:
        select_titles(titles, output, max_failed, rules)
    elif source == "table" and table:
        list_tasks(table, output, shards, max_failed, rules)
    elif source == "howto100m" and howto100m_csv and task_ids_csv:
        official_tasks(howto100m_csv, task_ids_csv, output, shards, max_failed, rules)
    elif source != "wikihow":
        raise UserError(
            "--from takes wikihow, table (with --table), or howto100m (with --howto100m-csv and"
            f" --task-ids-csv); found {source}"
        )
    elif world is None and (lacks := contact_lacks(user_agent)):
        raise UserError(f"tasks.user_agent (--user-agent) {lacks}")
    else:
        from howto100m.tasks.wikihow import WikiHow

        with _sites(world, log) as door:
            wikihow = WikiHow(user_agent, delay, *((door.proxy, door.ca) if door else ()))
            mine_tasks(wikihow, output, shards, rules)


def search(
    sentence: Annotated[str | None, typer.Argument(hidden=True)] = None,
    tasks: Annotated[Path | None, typer.Option(help="Shard of the tasks table.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Table to write; its status table goes beside it.")
    ] = None,
    results: Annotated[int, typer.Option(min=1, help="Results to keep a task.")] = 200,
    yt_dlp: YtDlp = "{}",
    pace: PaceOption = "{}",
    max_failed: MaxFailed = 0.5,
    world: World = None,
    log: RequestLog = None,
) -> None:
    """The first results of YouTube for every task.

    To find clips by a sentence: howto100m find "cut the onion".
    """
    if sentence is not None and tasks is None and output is None:
        find(sentence)
        return
    if sentence is not None or tasks is None or output is None:
        raise UserError('give --tasks and --output; to find clips: howto100m find "cut the onion"')
    from howto100m.videos.search import search_tasks

    with _youtube(yt_dlp, pace, world, log) as youtube:
        search_tasks(tasks, output, youtube, results=results, max_failed=max_failed)


def videos(
    output: Folder,
    search: Annotated[Path | None, typer.Option(help="Folder of the search table.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="Folder of the tasks table.")] = None,
    release: Annotated[
        Path | None, typer.Option(help="HowTo100M_v1.csv, in place of --search and --tasks.")
    ] = None,
    shards: Shards = 1,
    max_rank: MaxRank = 200,
    min_views: MinViews = 100,
    max_duration: MaxDuration = 2000.0,
) -> None:
    """One row a video: rank, views, duration, live state; de-duplicated over tasks."""
    from howto100m.release.listing import import_videos
    from howto100m.videos.select import select_videos

    limits = _limits(max_rank, min_views, max_duration)
    if release:
        import_videos(release, output, shards, limits)
        return
    if search is None or tasks is None:
        raise UserError("give --search and --tasks (tables), or --release (HowTo100M_v1.csv)")
    select_videos(shard_paths(search), shard_paths(tasks), output, shards, limits)


def subtitles(
    videos: Annotated[Path, typer.Option(help="Shard of the videos table.")],
    output: Output,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of track that counts; repeat, best first.")
    ] = None,
    min_words: Annotated[int, typer.Option(min=0, help="Spoken words a video must have.")] = 100,
    max_rank: MaxRank = 200,
    min_views: MinViews = 100,
    max_duration: MaxDuration = 2000.0,
    yt_dlp: YtDlp = "{}",
    pace: PaceOption = "{}",
    max_failed: MaxFailed = 0.5,
    world: World = None,
    log: RequestLog = None,
) -> None:
    """The English track of every video: manual, ASR or translated."""
    from howto100m.clips.subtitles import KINDS, fetch_subtitles

    with _youtube(yt_dlp, pace, world, log) as youtube:
        fetch_subtitles(
            videos,
            output,
            youtube,
            kinds=kind or KINDS,
            min_words=min_words,
            limits=_limits(max_rank, min_views, max_duration),
            max_failed=max_failed,
        )


def captions(
    output: Folder,
    clean: Annotated[
        Path | None, typer.Option(help="caption.json, or a folder of <video_id>.csv.")
    ] = None,
    raw: Annotated[
        Path | None, typer.Option(help="raw_caption.json or raw_caption_superclean.json.")
    ] = None,
    shards: Shards = 1,
) -> None:
    """The official release's captions, cut into shards."""
    from howto100m.release.captions import import_captions

    if clean is None and raw is None:
        raise UserError("give --clean, --raw or both")
    import_captions(clean, raw, output, shards)


def clips(
    output: Output,
    subtitles: Annotated[Path | None, typer.Option(help="Shard of the subtitles table.")] = None,
    vtt: Annotated[
        list[Path] | None, typer.Option(help="VTT files or folders of one's own; repeat.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Shard of the captions of the official release.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(help="With --captions: the shard of the videos table.")
    ] = None,
    media: Annotated[
        Path | None, typer.Option(help="With --vtt: media table that knows the videos' lengths.")
    ] = None,
    unit: Annotated[
        str,
        typer.Option(
            help="line, or sentence: lines joined.", autocompletion=among("line", "sentence")
        ),
    ] = "line",
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="FILE or FILE:COLUMN of videos to leave out, a benchmark's; repeat."),
    ] = None,
    max_failed: MaxFailed = 0.5,
) -> None:
    """A clip a subtitle line, with its caption."""
    from howto100m.clips.excluded import excluded_videos
    from howto100m.clips.pairing import UNITS, cut_clips, cut_files
    from howto100m.release.captions import cut_captions

    if sum(source is not None for source in (subtitles, vtt, captions)) != 1:
        raise UserError("give one of --subtitles, --captions (tables), --vtt (files or folders)")
    if captions and videos is None:
        raise UserError("--captions needs --videos, the shard of the videos table")
    if unit not in UNITS:
        raise UserError(f"--unit is {unit}: give one of {', '.join(UNITS)}")
    out = excluded_videos(exclude or [])
    if subtitles:
        cut_clips(subtitles, output, unit=unit, excluded=out, max_failed=max_failed)
    elif captions and videos:
        cut_captions(captions, videos, output, excluded=out, max_failed=max_failed)
    else:
        cut_files(vtt or [], media, output, unit=unit, excluded=out, max_failed=max_failed)


def media(
    output: Output,
    subtitles: Annotated[
        Path | None,
        typer.Option(help="Shard of the subtitles (or videos) table: its videos are fetched."),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Folder to download into.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Take the video files of a folder of one's own instead.")
    ] = None,
    height: Annotated[int, typer.Option(help="Lines of the stream, or the nearest below.")] = 360,
    yt_dlp: YtDlp = "{}",
    pace: PaceOption = "{}",
    max_failed: MaxFailed = 0.5,
    world: World = None,
    log: RequestLog = None,
) -> None:
    """The video files: downloaded, or one's own."""
    from howto100m.videos.download import collect_media, download_media

    if folder:
        collect_media(folder, output)
        return
    if subtitles is None or store is None:
        raise UserError("give --subtitles and --store to download, or --folder")
    with _youtube(yt_dlp, pace, world, log) as youtube:
        download_media(subtitles, output, store, youtube, height=height, max_failed=max_failed)


def retry(
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")] = Path("results"),
    store: Annotated[Path, typer.Option(help="Folder of the media's folders.")] = Path("media"),
    stage: Annotated[
        list[str] | None, typer.Option(help="search, subtitles or media; repeat. None: all.")
    ] = None,
    yt_dlp: YtDlp = "{}",
    pace: PaceOption = "{}",
    world: World = None,
    log: RequestLog = None,
) -> None:
    """Ask YouTube again for what failed and is worth another try, and for nothing else."""
    from howto100m.retry import STAGES, retry_failures

    if unknown := [name for name in stage or () if name not in STAGES]:
        raise UserError(f"--stage is {unknown[0]}: give one of {', '.join(STAGES)}")
    with _youtube(yt_dlp, pace, world, log) as youtube:
        retry_failures(results, store, youtube, tuple(stage or STAGES))


@contextmanager
def _sites(world: Path | None, requests: Path | None) -> "Iterator[Door | None]":
    """The stand-ins of a sample world while the block runs, or nothing: then the real sites."""
    if world is None:
        yield None
        return
    from howto100m.sample.sites import sites

    with sites(world, log=requests) as door:
        yield door


@contextmanager
def _youtube(
    options: str, pace: str, world: Path | None, requests: Path | None
) -> "Iterator[YouTube]":
    from howto100m.videos.pace import Pace
    from howto100m.videos.youtube import YouTube

    try:
        given = json.loads(options)
    except ValueError as error:
        raise UserError(f"--yt-dlp {options!r} is no JSON object: {error}") from None
    with _sites(world, requests) as door:
        # A stand-in of this process needs no queue, unless one asks for it.
        paced = None if world and pace == "{}" else Pace.of(pace)
        yield YouTube(given, door.proxy if door else None, paced)


def _limits(max_rank: int, min_views: int, max_duration: float) -> "Limits":
    from howto100m.videos.select import Limits

    return Limits(max_rank, min_views, max_duration)
