"""The command line: its sub-commands (commands/), and what went wrong in one line."""

import logging
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from typing import Annotated, NoReturn

import pyarrow as pa
import typer

from howto100m.commands import corpus, embedding, evaluation, features, find, results
from howto100m.examples import WithExamples
from howto100m.kinds import StageStopped, UserError, disk_full
from howto100m.progress import StderrHandler

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

COMMANDS = (
    results.sample,
    features.weights,
    corpus.tasks,
    corpus.search,
    corpus.videos,
    corpus.subtitles,
    corpus.captions,
    corpus.clips,
    corpus.media,
    corpus.retry,
    features.features,
    features.extract,
    features.vectors,
    results.export,
    embedding.vocabulary,
    embedding.pairs,
    embedding.embedding,
    evaluation.evaluation,
    evaluation.evaluate,
    evaluation.metrics,
    evaluation.study,
    results.report,
    results.validate,
    results.status,
    find.index,
    find.find,
    find.serve,
    results.annotate,
)
"""In the order of the line, as the help lists them."""


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"howto100m {version('howto100m')}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def options(
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="HOWTO100M_DEBUG", help="Show where an error came from."),
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_say_version, help="Say the version, and end."
        ),
    ] = False,
) -> None:
    """HowTo100M from nothing: each command is a stage, and writes its Parquet table.

    The whole line runs by `snakemake --cores 4`; a command alone does its stage on one's own files,
    as: howto100m clips --vtt subtitles/ --output clips.parquet
    """
    if debug:
        logging.getLogger("howto100m").setLevel(logging.DEBUG)


for command in COMMANDS:
    app.command()(command)


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
