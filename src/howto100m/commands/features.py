"""Videos to vectors."""

import os
from pathlib import Path
from typing import Annotated

import typer

from howto100m.commands.options import (
    BatchSize,
    Dtype,
    FeaturesDevice,
    Longest,
    MaxFailed,
    Mean,
    Mode,
    Seed,
    Timeout,
    Tune,
    Workers,
    among,
)
from howto100m.kinds import Status, UserError


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
    tune: Tune = "quick",
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
        Settings(mode, device, dtype, batch_size, mean, workers, timeout, longest, tune),
        discard_media=discard_media,
        max_failed=max_failed,
    )


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
        typer.Option(
            "--format",
            help="parquet, or npy: the official extractor's files.",
            autocompletion=among("parquet", "npy"),
        ),
    ] = "parquet",
    resnet152: Annotated[Path | None, typer.Option(help="Weights of ResNet-152.")] = None,
    resnext101: Annotated[Path | None, typer.Option(help="Weights of the 3D ResNeXt-101.")] = None,
    networks: Annotated[
        str,
        typer.Option(
            help="2d (ResNet-152), 3d (ResNeXt-101) or 2d,3d.",
            autocompletion=among("2d", "3d", "2d,3d"),
        ),
    ] = ("2d,3d"),
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
    tune: Tune = "quick",
) -> None:
    """Vectors of anyone's videos, without the workflow; what is there already is left as it is.

    Ends with 1 where a video failed: each is named, and status.parquet has all.
    """
    from howto100m.features.engine import Settings
    from howto100m.features.own import chosen_weights, extract_own, summary

    weights = chosen_weights(networks, {"2d": resnet152, "3d": resnext101})
    threads = workers or len(os.sched_getaffinity(0))
    settings = Settings(mode, device, dtype, batch_size, mean, threads, timeout, longest, tune)
    outcomes = extract_own(source, output, kind, weights, settings)
    lines = summary(outcomes)
    for line in lines:
        typer.echo(line)
    if any(outcome.status is Status.FAILED for outcome in outcomes):
        raise typer.Exit(1)


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
