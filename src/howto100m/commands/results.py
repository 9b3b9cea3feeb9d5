"""What was made, and how it stands; the sample world."""

import json
from pathlib import Path
from typing import Annotated

import typer

from howto100m.commands.options import Seed, among
from howto100m.kinds import UserError


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


def export(
    to: Annotated[
        str,
        typer.Option(
            help="howto100m, webdataset or npy.",
            autocompletion=among("howto100m", "webdataset", "npy"),
        ),
    ],
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


def status(
    results: Annotated[Path, typer.Option(help="Folder of all the tables.")] = Path("results"),
) -> None:
    """How far each stage is: shards, items, losses, rate, what is left; also while jobs run."""
    from howto100m.status import lines, standings

    for line in lines(standings(results)):
        typer.echo(line)


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
