"""Clips and vectors to a trained embedding."""

from pathlib import Path
from typing import Annotated

import typer

from howto100m.commands.options import (
    Data,
    Device,
    Features2d,
    Features3d,
    MaxFailed,
    MaxWords,
    Output,
    Seed,
    among,
    vectors_of,
)
from howto100m.kinds import UserError
from howto100m.shards import shard_paths, status_path


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
        str | None,
        typer.Option(
            help="msrvtt, youcook2 or lsmdc: its training files in --data.",
            autocompletion=among("msrvtt", "youcook2", "lsmdc"),
        ),
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

    features = vectors_of(features_2d, features_3d)
    if official and data:
        training = official_training(official, data)
    elif annotations and features:
        training = from_clips(annotations, features)
    else:
        raise UserError("give --data to --official, or --features-2d and --features-3d")
    pair_sentences(training, vocabulary, output, share=share, max_words=max_words)


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
    loss: Annotated[
        str,
        typer.Option(help="max_margin or mil_nce.", autocompletion=among("max_margin", "mil_nce")),
    ] = "max_margin",
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
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, tf32 (GPU) or bfloat16.",
            autocompletion=among("float32", "tf32", "bfloat16"),
        ),
    ] = "float32",
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
