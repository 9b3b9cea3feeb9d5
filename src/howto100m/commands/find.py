"""Clips by a sentence."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from howto100m.commands.options import Device, Index, MaxWords, Results, Seed
from howto100m.kinds import UserError

log = logging.getLogger("howto100m")


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

    level = log.level
    log.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))
    try:
        finder = Finder.open(index)
    finally:
        log.setLevel(level)
    asked = finder.read(query, k, category)
    if asked.unknown:
        logging.warning("not in the vocabulary, and left out: %s", ", ".join(asked.unknown))
    for clip in finder.find([asked])[0]:
        typer.echo(json.dumps(asdict(clip)) if as_json else as_line(clip))


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
