"""An embedding on benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from howto100m.commands.options import (
    Data,
    Device,
    Features2d,
    Features3d,
    MaxWords,
    Seed,
    Similarity,
    Ties,
    among,
    vectors_of,
)
from howto100m.kinds import UserError


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
        str | None,
        typer.Option(
            help="msrvtt, youcook2, lsmdc or crosstask: read --data.",
            autocompletion=among("msrvtt", "youcook2", "lsmdc", "crosstask"),
        ),
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

    features = vectors_of(features_2d, features_3d)
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


def evaluate(
    checkpoint: Annotated[
        Path, typer.Option(help="Checkpoint of an embedding, or an official one.")
    ],
    benchmark: Annotated[
        str,
        typer.Option(
            help="msrvtt, youcook2, lsmdc or crosstask.",
            autocompletion=among("msrvtt", "youcook2", "lsmdc", "crosstask"),
        ),
    ],
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
        from_official(benchmark, data, vectors_of(features_2d, features_3d)),
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


def study(
    metrics: Annotated[
        list[Path], typer.Argument(help="Figures of one run on one benchmark each.")
    ],
    output: Annotated[Path, typer.Option(help="Table to write.")],
) -> None:
    """The figures of training runs that differ in one thing, in one table."""
    from howto100m.evaluation.studies import collect_study

    collect_study(metrics, output)
