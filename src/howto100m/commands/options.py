"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from howto100m.kinds import UserError

if TYPE_CHECKING:
    from howto100m.evaluation.features import Features


def among(*values: str) -> Callable[[str], list[str]]:
    """The values of an option that a shell completes."""

    def completed(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return completed


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
on_device = among("auto", "cpu", "cuda")
Device = Annotated[
    str,
    typer.Option(envvar="HOWTO100M_DEVICE", help="auto, cpu or cuda.", autocompletion=on_device),
]
Ties = Annotated[
    str,
    typer.Option(
        help="mean, strict or official.", autocompletion=among("mean", "strict", "official")
    ),
]
Similarity = Annotated[
    str,
    typer.Option(
        help="cosine; dot for what the loss mil_nce trained.",
        autocompletion=among("cosine", "dot"),
    ),
]
Data = Annotated[Path | None, typer.Option(help="Folder of a benchmark's official files.")]
Features2d = Annotated[
    Path | None, typer.Option(help="2D vectors: a table, a folder of tables, or of .npy files.")
]
Features3d = Annotated[Path | None, typer.Option(help="3D vectors, likewise.")]
Results = Annotated[Path, typer.Option(help="Folder of all the tables.")]
Index = Annotated[Path, typer.Option(help="Folder that `howto100m index` wrote.")]
Mode = Annotated[
    str,
    typer.Option(
        help="exact: the official extractor's frames; fast: scaled where it computes.",
        autocompletion=among("exact", "fast"),
    ),
]
Mean = Annotated[tuple[float, float, float], typer.Option(help="Mean of the 3D input, R G B.")]
FeaturesDevice = Annotated[
    str,
    typer.Option(
        envvar="HOWTO100M_FEATURES_DEVICE", help="auto, cpu or cuda.", autocompletion=on_device
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16 or float16.",
        autocompletion=among("auto", "float32", "bfloat16", "float16"),
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, envvar="HOWTO100M_BATCH_SIZE", help="Inputs a forward pass.")
]
Tune = Annotated[
    str,
    typer.Option(
        envvar="HOWTO100M_TUNE",
        help="What a GPU may try at the start to be faster: none, quick or full (compiler).",
        autocompletion=among("none", "quick", "full"),
    ),
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


def vectors_of(features_2d: Path | None, features_3d: Path | None) -> "Features | None":
    """The vectors that were given, or None. Raises UserError for one kind without the other."""
    from howto100m.evaluation.features import Features

    if features_2d and features_3d:
        return Features.open(features_2d, features_3d)
    if features_2d or features_3d:
        raise UserError("--features-2d and --features-3d go together")
    return None
