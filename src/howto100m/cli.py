"""The sub-commands, one a stage: parse, call, say what went wrong in one line."""

import json
import logging
import os
import sys
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import pyarrow as pa
import typer

from howto100m.examples import WithExamples
from howto100m.kinds import StageStopped, Status, UserError, disk_full
from howto100m.progress import StderrHandler
from howto100m.shards import shard_paths, status_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from howto100m.evaluation.features import Features
    from howto100m.sample.sites import Door
    from howto100m.videos.select import Limits
    from howto100m.videos.youtube import YouTube

log = logging.getLogger("howto100m")

EXIT_CODES = (
    "Exit codes: 0 done; 1 a table is broken (validate), a video failed (extract), or a fault of"
    " ours; 2 you can mend it, and one line says what, where and what to do; 3 the stage had to"
    " stop, and what is done is kept; 130 stopped by Ctrl-C."
)

app = typer.Typer(
    cls=WithExamples,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Output = Annotated[Path, typer.Option(help="Table to write; its status table goes beside it.")]
Folder = Annotated[Path, typer.Option(help="Folder for the shards.")]
Shards = Annotated[int, typer.Option(min=1, help="Number of shards to cut the table into.")]
World = Annotated[
    Path | None, typer.Option(help="Talk to the stand-ins of this sample world, not to the sites.")
]
RequestLog = Annotated[
    Path | None, typer.Option(help="With --world: a file for the stand-ins' log of requests.")
]
YtDlp = Annotated[
    str,
    typer.Option("--yt-dlp", envvar="HOWTO100M_YT_DLP", help="Options for yt-dlp, a JSON object."),
]
PaceOption = Annotated[
    str,
    typer.Option(
        "--pace", envvar="HOWTO100M_PACE", help="Requests an hour and patience, a JSON object."
    ),
]
MaxFailed = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        envvar="HOWTO100M_MAX_FAILED",
        help="Share of items that may fail before the job does.",
    ),
]
MaxRank = Annotated[int, typer.Option(min=1, help="Worst search rank kept.")]
MinViews = Annotated[int, typer.Option(min=0, help="Views a video must have.")]
MaxDuration = Annotated[float, typer.Option(help="Seconds below which a video must be.")]
MaxWords = Annotated[int, typer.Option(min=1, help="Words of a text that count.")]
Device = Annotated[str, typer.Option(envvar="HOWTO100M_DEVICE", help="auto, cpu or cuda.")]
Ties = Annotated[str, typer.Option(help="mean, strict or official.")]
Similarity = Annotated[str, typer.Option(help="cosine; dot for what the loss mil_nce trained.")]
Data = Annotated[Path | None, typer.Option(help="Folder of a benchmark's official files.")]
Features2d = Annotated[
    Path | None, typer.Option(help="2D vectors: a table, a folder of tables, or of .npy files.")
]
Features3d = Annotated[Path | None, typer.Option(help="3D vectors, likewise.")]
Results = Annotated[Path, typer.Option(help="Folder of all the tables.")]
Index = Annotated[Path, typer.Option(help="Folder that `howto100m index` wrote.")]
Mode = Annotated[
    str,
    typer.Option(help="exact: the official extractor's frames; fast: scaled where it computes."),
]
Mean = Annotated[tuple[float, float, float], typer.Option(help="Mean of the 3D input, R G B.")]
FeaturesDevice = Annotated[
    str, typer.Option(envvar="HOWTO100M_FEATURES_DEVICE", help="auto, cpu or cuda.")
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
BatchSize = Annotated[
    int, typer.Option(min=1, envvar="HOWTO100M_BATCH_SIZE", help="Inputs a forward pass.")
]
Workers = Annotated[int, typer.Option(min=1, help="Decoders, and threads that compute.")]
Timeout = Annotated[
    float,
    typer.Option(
        min=1,
        envvar="HOWTO100M_TIMEOUT",
        help="Seconds to wait for a video, beyond those that it has played.",
    ),
]
Longest = Annotated[
    float, typer.Option("--max-duration", min=0, help="Seconds that a video may play.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn at random.")]


@app.callback(epilog=EXIT_CODES)
def options(
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="HOWTO100M_DEBUG", help="Show where an error came from."),
    ] = False,
) -> None:
    """HowTo100M from nothing: each command is a stage, and writes its Parquet table.

    The whole line runs by `snakemake --cores 4`; a command alone does its stage on one's own files,
    as: howto100m clips --vtt subtitles/ --output clips.parquet
    """
    if debug:
        logging.getLogger("howto100m").setLevel(logging.DEBUG)


@app.command()
def sample(
    output: Annotated[Path, typer.Option(help="Folder for the world.")],
    seed: Seed = 1,
    videos: Annotated[int, typer.Option(min=1, help="Good videos, of about 20 s.")] = 40,
    held_out: Annotated[int, typer.Option(min=1, help="Videos of the benchmarks.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 1,
) -> None:
    """Make the sample world: tasks, videos, subtitles, benchmarks."""
    from howto100m.sample.make import make_sample

    make_sample(output, seed, videos, held_out, workers)


@app.command()
def weights(
    network: Annotated[str, typer.Option(help="resnet152 or resnext101.")],
    output: Annotated[Path, typer.Option(help="State-dict file to write.")],
    source: Annotated[str, typer.Option(help="A path, a URL, or `random`.")],
    frames: Annotated[
        Path | None, typer.Option(help="With random: folder of videos to calibrate on.")
    ] = None,
    seed: Seed = 1,
) -> None:
    """Bring a network's weights: copy, download, or make seeded random ones."""
    from howto100m.features.weights import fetch_weights, make_weights

    if source != "random":
        fetch_weights(source, output)
    elif frames is None:
        raise UserError("--source random needs --frames, a folder of videos to calibrate on")
    else:
        make_weights(network, sorted(frames.glob("*.mp4"))[:16], seed, output)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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
    unit: Annotated[str, typer.Option(help="line, or sentence: lines joined.")] = "line",
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


@app.command()
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


@app.command()
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


@app.command()
def features(
    media: Annotated[Path, typer.Option(help="Shard of the media table.")],
    resnet152: Annotated[Path, typer.Option(help="Weights of ResNet-152.")],
    resnext101: Annotated[Path, typer.Option(help="Weights of the 3D ResNeXt-101.")],
    output_2d: Annotated[Path, typer.Option(help="Table of the 2D vectors, 1 a second.")],
    output_3d: Annotated[Path, typer.Option(help="Table of the 3D vectors, 1.5 a second.")],
    status: Annotated[Path, typer.Option(help="Status table.")],
    mode: Mode = "exact",
    mean: Mean = (110.6, 103.2, 96.3),
    device: FeaturesDevice = "auto",
    dtype: Dtype = "auto",
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    timeout: Timeout = 120.0,
    longest: Longest = 7200.0,
    discard_media: Annotated[
        bool,
        typer.Option(
            "--discard-media/--keep-media",
            envvar="HOWTO100M_DISCARD_MEDIA",
            help="Delete the files when the tables are written.",
        ),
    ] = False,
    max_failed: MaxFailed = 0.5,
) -> None:
    """ResNet-152 and 3D ResNeXt-101 vectors of every video, from one decode."""
    from howto100m.features.engine import Settings
    from howto100m.features.extract import extract_features

    extract_features(
        media,
        resnet152,
        resnext101,
        output_2d,
        output_3d,
        status,
        Settings(mode, device, dtype, batch_size, mean, workers, timeout, longest),
        discard_media=discard_media,
        max_failed=max_failed,
    )


@app.command()
def extract(
    source: Annotated[
        Path,
        typer.Option(
            "--input", help="A video, a folder of them, or a .csv: video_path,feature_path."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the vectors, and status.parquet.")],
    kind: Annotated[
        str,
        typer.Option("--format", help="parquet, or npy: the official extractor's files."),
    ] = "parquet",
    resnet152: Annotated[Path | None, typer.Option(help="Weights of ResNet-152.")] = None,
    resnext101: Annotated[Path | None, typer.Option(help="Weights of the 3D ResNeXt-101.")] = None,
    networks: Annotated[str, typer.Option(help="2d (ResNet-152), 3d (ResNeXt-101) or 2d,3d.")] = (
        "2d,3d"
    ),
    mode: Mode = "exact",
    mean: Mean = (110.6, 103.2, 96.3),
    device: FeaturesDevice = "auto",
    dtype: Dtype = "auto",
    batch_size: BatchSize = 32,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Decoders, and threads that compute; all processors' if left out."
        ),
    ] = None,
    timeout: Timeout = 120.0,
    longest: Longest = 7200.0,
) -> None:
    """Vectors of anyone's videos, without the workflow; what is there already is left as it is.

    Ends with 1 where a video failed: each is named, and status.parquet has all.
    """
    from howto100m.features.engine import Settings
    from howto100m.features.own import chosen_weights, extract_own, summary

    weights = chosen_weights(networks, {"2d": resnet152, "3d": resnext101})
    threads = workers or len(os.sched_getaffinity(0))
    settings = Settings(mode, device, dtype, batch_size, mean, threads, timeout, longest)
    outcomes = extract_own(source, output, kind, weights, settings)
    lines = summary(outcomes)
    for line in lines:
        typer.echo(line)
    if any(outcome.status is Status.FAILED for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def vectors(
    videos: Annotated[Path, typer.Option(help="Shard of the videos table.")],
    status: Annotated[Path, typer.Option(help="Status table.")],
    folder_2d: Annotated[Path | None, typer.Option(help="Folder of 2D <video_id>.npy.")] = None,
    output_2d: Annotated[Path | None, typer.Option(help="Table of the 2D vectors.")] = None,
    folder_3d: Annotated[Path | None, typer.Option(help="Folder of 3D <video_id>.npy.")] = None,
    output_3d: Annotated[Path | None, typer.Option(help="Table of the 3D vectors.")] = None,
    folder_s3d: Annotated[Path | None, typer.Option(help="Folder of <video_id>.mp4.npy.")] = None,
    output_s3d: Annotated[Path | None, typer.Option(help="Table of the S3D vectors.")] = None,
    max_failed: MaxFailed = 0.5,
) -> None:
    """Feature tables from .npy files that one has: 2D, 3D, S3D."""
    from howto100m.release.vectors import import_vectors

    given = {
        "2d": (folder_2d, output_2d),
        "3d": (folder_3d, output_3d),
        "s3d": (folder_s3d, output_s3d),
    }
    for network, (folder, output) in given.items():
        if (folder is None) != (output is None):
            raise UserError(f"--folder-{network} and --output-{network} go together")
    folders = {network: folder for network, (folder, _) in given.items() if folder}
    if not folders:
        raise UserError("give a folder of .npy files: --folder-2d, --folder-3d or --folder-s3d")
    outputs = {network: output for network, (_, output) in given.items() if output}
    import_vectors(videos, folders, outputs, status, max_failed)


@app.command()
def export(
    to: Annotated[str, typer.Option(help="howto100m, webdataset or npy.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")] = Path("results"),
    normalise: Annotated[
        bool, typer.Option(help="Vectors of length 1, as the official extractor's.")
    ] = False,
) -> None:
    """Files that other training code reads: the official release's, webdataset's, .npy."""
    from howto100m.release.export import export_arrays, export_release, export_webdataset

    if to == "howto100m":
        export_release(results, output)
    elif to == "webdataset":
        export_webdataset(results, output, normalise=normalise)
    elif to == "npy":
        export_arrays(results, output, normalise=normalise)
    else:
        raise UserError(f"--to is {to}: give howto100m, webdataset or npy")


@app.command()
def vocabulary(
    clips: Annotated[Path, typer.Option(help="Folder of the clips table.")],
    output: Output,
    vectors: Annotated[str, typer.Option(help="Path or URL of word vectors, or `train`.")],
    min_count: Annotated[int, typer.Option(min=1, help="Times a word must occur.")] = 1,
    fold_case: Annotated[bool, typer.Option(help="Look words up in lower case.")] = False,
    seed: Seed = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
) -> None:
    """The words of the captions, with their vectors."""
    from howto100m.embedding.vocabulary import build_vocabulary

    build_vocabulary(
        shard_paths(clips),
        output,
        status_path(output),
        vectors=vectors,
        min_count=min_count,
        seed=seed,
        workers=workers,
        fold_case=fold_case,
    )


@app.command()
def pairs(
    vocabulary: Annotated[Path, typer.Option(help="The vocabulary.")],
    output: Output,
    clips: Annotated[Path | None, typer.Option(help="Shard of the clips table.")] = None,
    features_2d: Features2d = None,
    features_3d: Features3d = None,
    annotations: Annotated[
        Path | None, typer.Option(help="A benchmark's training clips (.csv) instead.")
    ] = None,
    official: Annotated[
        str | None, typer.Option(help="msrvtt, youcook2 or lsmdc: its training files in --data.")
    ] = None,
    data: Data = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a benchmark's training clips.")
    ] = 1.0,
    min_seconds: Annotated[float, typer.Option(min=0, help="Seconds to grow a clip to.")] = 5.0,
    min_words: Annotated[int, typer.Option(min=0, help="Words to grow a clip to.")] = 0,
    max_words: MaxWords = 20,
    max_failed: MaxFailed = 0.5,
) -> None:
    """Training pairs: grown clips, their pooled features, their word ids."""
    from howto100m.features.pairs import pair_clips

    if sum(source is not None for source in (clips, annotations, official)) != 1:
        raise UserError("give one of --clips (the table), --annotations, --official (a benchmark)")
    if clips and features_2d and features_3d:
        pair_clips(
            clips,
            features_2d,
            features_3d,
            vocabulary,
            output,
            status_path(output),
            min_seconds=min_seconds,
            min_words=min_words,
            max_words=max_words,
            max_failed=max_failed,
        )
        return
    from howto100m.evaluation.questions import from_clips
    from howto100m.evaluation.training import official_training, pair_sentences

    features = _features(features_2d, features_3d)
    if official and data:
        training = official_training(official, data)
    elif annotations and features:
        training = from_clips(annotations, features)
    else:
        raise UserError("give --data to --official, or --features-2d and --features-3d")
    pair_sentences(training, vocabulary, output, share=share, max_words=max_words)


@app.command()
def embedding(
    pairs: Annotated[Path, typer.Option(help="Folder of the pairs table.")],
    vocabulary: Annotated[Path, typer.Option(help="The vocabulary.")],
    output: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    curve: Annotated[Path, typer.Option(help="Table of the loss.")],
    status: Annotated[Path, typer.Option(help="Status table.")],
    run: Annotated[str, typer.Option(help="Name of this training run.")] = "run",
    dim: Annotated[int, typer.Option(min=1, help="Width of the joint space.")] = 4096,
    max_words: MaxWords = 20,
    videos_per_batch: Annotated[int, typer.Option(min=1, help="Videos a batch.")] = 32,
    pairs_per_video: Annotated[int, typer.Option(min=1, help="Pairs of each video.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Draws from every video.")] = 15,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-4,
    lr_decay: Annotated[float, typer.Option(help="Factor on it after each epoch.")] = 0.9,
    loss: Annotated[str, typer.Option(help="max_margin or mil_nce.")] = "max_margin",
    margin: Annotated[float, typer.Option(min=0, help="Margin of max_margin.")] = 0.1,
    intra_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of negatives from the same video.")
    ] = 0.5,
    weighting: Annotated[str, typer.Option(help="code or paper.")] = "code",
    candidates: Annotated[
        int, typer.Option(min=1, help="Captions a clip, nearest in time, for mil_nce.")
    ] = 1,
    every_pair: Annotated[
        bool, typer.Option(help="An epoch is every pair once, a batch so many pairs.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from; it sets the width.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, tf32 (GPU) or bfloat16.")] = "float32",
    processes: Annotated[
        int,
        typer.Option(min=1, envvar="HOWTO100M_PROCESSES", help="Processes, one a GPU (torchrun)."),
    ] = 1,
    save_every: Annotated[
        float, typer.Option(min=0, help="Seconds between two saves of where training stands.")
    ] = 600.0,
    tensorboard: Annotated[
        str, typer.Option(envvar="HOWTO100M_TENSORBOARD", help="Folder for TensorBoard, if wanted.")
    ] = "",
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the videos table, for --max-rank.")
    ] = None,
    max_rank: Annotated[
        int | None, typer.Option(min=1, help="Train on videos of this search rank or better.")
    ] = None,
    seed: Seed = 1,
    device: Device = "auto",
) -> None:
    """Train the joint text-video embedding, or fine-tune one; stopped, the same call goes on."""
    from howto100m.embedding.data import ranked_videos
    from howto100m.embedding.parallel import relaunch
    from howto100m.embedding.train import train_embedding

    if (videos is None) != (max_rank is None):
        raise UserError("--videos and --max-rank go together")
    relaunch(processes)
    train_embedding(
        shard_paths(pairs),
        vocabulary,
        output,
        curve,
        status,
        run=run,
        dim=dim,
        max_words=max_words,
        videos_per_batch=videos_per_batch,
        pairs_per_video=pairs_per_video,
        epochs=epochs,
        lr=lr,
        lr_decay=lr_decay,
        loss=loss,
        margin=margin,
        intra_share=intra_share,
        weighting=weighting,
        candidates=candidates,
        every_pair=every_pair,
        init=init,
        dtype=dtype,
        only=ranked_videos(videos, max_rank) if videos and max_rank else None,
        save_every=save_every,
        tensorboard=Path(tensorboard) if tensorboard else None,
        seed=seed,
        device=device,
    )


@app.command()
def evaluation(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint of an embedding.")],
    vocabulary: Annotated[Path, typer.Option(help="The vocabulary.")],
    benchmark: Annotated[str, typer.Option(help="Name of the benchmark.")],
    metrics: Annotated[Path, typer.Option(help="Table of figures to write.")],
    rankings: Annotated[Path, typer.Option(help="Table of queries to write.")],
    status: Annotated[Path, typer.Option(help="Status table.")],
    protocol: Annotated[
        str, typer.Option(help="With --annotations: retrieval or localization.")
    ] = "retrieval",
    annotations: Annotated[
        Path | None, typer.Option(help="Clip list (.csv), or folder of a CrossTask release.")
    ] = None,
    official: Annotated[
        str | None, typer.Option(help="msrvtt, youcook2, lsmdc or crosstask: read --data.")
    ] = None,
    data: Data = None,
    features_2d: Features2d = None,
    features_3d: Features3d = None,
    run: Annotated[str, typer.Option(help="Name of the training run.")] = "run",
    max_words: MaxWords = 20,
    ties: Ties = "mean",
    similarity: Similarity = "cosine",
    seed: Seed = 1,
    device: Device = "auto",
) -> None:
    """Test an embedding on one benchmark: retrieval, or step localization."""
    from howto100m.evaluation.evaluate import evaluate_embedding
    from howto100m.evaluation.questions import from_lists, from_official

    features = _features(features_2d, features_3d)
    if official and data:
        questions = from_official(official, data, features)
    elif annotations and features:
        questions = from_lists(protocol, annotations, features)
    else:
        raise UserError("give --official and --data, or --annotations and both --features")
    evaluate_embedding(
        checkpoint,
        vocabulary,
        benchmark,
        questions,
        run=run,
        max_words=max_words,
        ties=ties,
        similarity=similarity,
        seed=seed,
        device=device,
    ).write(metrics, rankings, status)


@app.command()
def evaluate(
    checkpoint: Annotated[
        Path, typer.Option(help="Checkpoint of an embedding, or an official one.")
    ],
    benchmark: Annotated[str, typer.Option(help="msrvtt, youcook2, lsmdc or crosstask.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's official files.")],
    vectors: Annotated[
        Path, typer.Option(help="Word vectors (.bin, .bin.gz, .txt) or a vocabulary (.parquet).")
    ],
    features_2d: Features2d = None,
    features_3d: Features3d = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the tables of figures, queries and items.")
    ] = None,
    max_words: MaxWords = 20,
    ties: Ties = "mean",
    similarity: Similarity = "cosine",
    seed: Seed = 1,
    device: Device = "auto",
) -> None:
    """Evaluate a checkpoint on a benchmark's official files, and say how others fared."""
    from howto100m.evaluation.evaluate import evaluate_embedding
    from howto100m.evaluation.published import beside_published
    from howto100m.evaluation.questions import from_official

    result = evaluate_embedding(
        checkpoint,
        vectors,
        benchmark,
        from_official(benchmark, data, _features(features_2d, features_3d)),
        run=checkpoint.stem,
        max_words=max_words,
        ties=ties,
        similarity=similarity,
        seed=seed,
        device=device,
    )
    if output:
        result.write(*(output / f"{name}.parquet" for name in ("metrics", "rankings", "status")))
    for line in beside_published(benchmark, result.metrics):
        typer.echo(line)


@app.command()
def metrics(
    evaluations: Annotated[
        list[Path] | None, typer.Argument(help="Figures of one run on one benchmark each.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Table to write.")] = Path("metrics.parquet"),
) -> None:
    """The figures of all evaluations in one table."""
    from howto100m import tables
    from howto100m.shards import merge_tables

    merge_tables(evaluations or [], output, tables.METRICS)


@app.command()
def study(
    metrics: Annotated[
        list[Path], typer.Argument(help="Figures of one run on one benchmark each.")
    ],
    output: Annotated[Path, typer.Option(help="Table to write.")],
) -> None:
    """The figures of training runs that differ in one thing, in one table."""
    from howto100m.evaluation.studies import collect_study

    collect_study(metrics, output)


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")],
    output: Annotated[Path, typer.Option(help="HTML page to write.")],
    settings: Annotated[str, typer.Option(help="The settings that made them, as JSON.")] = "{}",
    datasheet: Annotated[
        Path | None, typer.Option(help="Datasheet (Markdown) to write, too; needs --settings.")
    ] = None,
) -> None:
    """One page: what came in, what was lost and why, what was learned."""
    from howto100m.report.page import write_datasheet, write_report

    write_report(results, output, json.loads(settings))
    if datasheet:
        write_datasheet(results, datasheet, json.loads(settings))


@app.command()
def validate(
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")] = Path("results"),
) -> None:
    """Check every table: schema, items, duplicates, shards, vectors; exit 1 where one is broken."""
    from howto100m.validate import validate as faults_of

    sound = True
    for line in faults_of(results):
        typer.echo(line)
        sound = False
    if not sound:
        raise typer.Exit(1)
    typer.echo(f"{results}: every table holds what it promises")


@app.command()
def status(
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")] = Path("results"),
) -> None:
    """How far each stage is: shards, items, losses, rate, what is left; also while jobs run."""
    from howto100m.status import lines, standings

    for line in lines(standings(results)):
        typer.echo(line)


@app.command()
def index(
    results: Results = Path("results"),
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint of a run; the first of the results if absent.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; RESULTS/index if absent.")
    ] = None,
    max_words: MaxWords = 20,
    exact_up_to: Annotated[
        int, typer.Option(min=0, help="Clips up to which a search goes through all; then FAISS.")
    ] = 1_000_000,
    seed: Seed = 1,
    device: Device = "auto",
) -> None:
    """Embed all clips, so that `find` and `serve` find them by a sentence."""
    from howto100m.find.index import index_clips

    if checkpoint is None:
        checkpoint = next(iter(sorted((results / "embedding").glob("*.pth"))), None)
    if checkpoint is None:
        raise UserError(f"{results}/embedding holds no checkpoint: train one, or give --checkpoint")
    index_clips(
        results,
        checkpoint,
        output or results / "index",
        max_words=max_words,
        exact_up_to=exact_up_to,
        seed=seed,
        device=device,
    )


@app.command()
def find(
    query: Annotated[str, typer.Argument(help="What the clip should show, in words.")],
    k: Annotated[int, typer.Option("-k", help="Clips to print, up to 100.")] = 10,
    category: Annotated[str, typer.Option(help="Only clips of this category.")] = "",
    index: Index = Path("results/index"),
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a clip.")] = False,
) -> None:
    """Print the clips that show best what a sentence says."""
    from dataclasses import asdict

    from howto100m.find.finder import Finder, as_line

    log.setLevel(max(log.level, logging.WARNING) if log.level != logging.DEBUG else log.level)
    finder = Finder.open(index)
    asked = finder.read(query, k, category)
    if asked.unknown:
        logging.warning("not in the vocabulary, and left out: %s", ", ".join(asked.unknown))
    for clip in finder.find([asked])[0]:
        typer.echo(json.dumps(asdict(clip)) if as_json else as_line(clip))


@app.command()
def serve(
    index: Index = Path("results/index"),
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
) -> None:
    """The search page: type a sentence, see the clips, play them from their second."""
    try:
        from howto100m.find.serve import serve as serve_index
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install 'howto100m[serve]'") from None
    serve_index(index, host, port)


@app.command()
def annotate(
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("annotate.html"),
    number: Annotated[int, typer.Option(min=1, help="Pairs to draw.")] = 400,
    seed: Seed = 1,
    answers: Annotated[
        Path | None, typer.Option(help="The page's file of answers: say their share of yes.")
    ] = None,
) -> None:
    """A page to judge random pairs by hand; with --answers, the share that was right."""
    from howto100m.report.annotate import share_of, write_annotation_page

    if answers:
        typer.echo(str(share_of(answers)))
    else:
        write_annotation_page(results, output, number, seed)


def _features(features_2d: Path | None, features_3d: Path | None) -> "Features | None":
    from howto100m.evaluation.features import Features

    if features_2d and features_3d:
        return Features.open(features_2d, features_3d)
    if features_2d or features_3d:
        raise UserError("--features-2d and --features-3d go together")
    return None


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


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ImportError("hidden for a moment")


def _hide_pandas_from_pyarrow() -> None:
    """Let pyarrow look for pandas now, in vain: it looks once, and importing it takes a second.

    Snakemake's Slurm executor brings pandas; nothing here uses it.
    """
    hidden = _NoPandas()
    sys.meta_path.insert(0, hidden)
    pa.array([0])
    sys.meta_path.remove(hidden)


def main() -> None:
    """Run a sub-command; what goes wrong is one line, and an exit code (see EXIT_CODES).

    Of a fault of ours the traceback follows with --debug, and where no person watches.
    """
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("gensim").setLevel(logging.WARNING)
    _hide_pandas_from_pyarrow()
    try:
        app()
    except (UserError, StageStopped) as error:
        log.debug("where it came from:", exc_info=error)
        _fail(str(error), 2 if isinstance(error, UserError) else 3)
    except Exception as error:
        if disk_full(error):
            log.debug("where it came from:", exc_info=error)
            reason = " ".join(str(error).split())
            _fail(f"the disk is full ({reason}): what is done is kept; make room and run again", 3)
        if isinstance(error, OSError):
            log.debug("where it came from:", exc_info=error)
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror or error}", 2)
        watched = sys.stderr.isatty()
        log.log(logging.DEBUG if watched else logging.ERROR, "where it came from:", exc_info=error)
        _fail(f"a fault of ours, please report it (--debug shows where): {error!r}", 1)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"howto100m: {message}\n")
    sys.exit(code)
