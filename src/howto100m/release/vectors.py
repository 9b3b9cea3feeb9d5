"""Feature vectors that someone has: a .npy file a video, as the official extractor saves them."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from howto100m import tables
from howto100m.features.files import LAYOUT, write_vectors
from howto100m.features.pairs import RATE_2D, RATE_3D
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import (
    Outcome,
    Progress,
    Row,
    attempt,
    check_failures,
    read_table,
    table_writer,
    write_status,
)

log = logging.getLogger(__name__)

ENDINGS = (".npy", ".mp4.npy", ".webm.npy", ".mkv.npy")
"""What follows the video id in a file's name: the extractor's choice, or the release's."""

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Network:
    """The vectors of one network: how many a second, and the table they go to."""

    rate: float
    schema: pa.Schema
    dim: int


NETWORKS: Mapping[str, Network] = {
    "2d": Network(RATE_2D, tables.FEATURES, tables.FEATURE_DIM),
    "3d": Network(RATE_3D, tables.FEATURES, tables.FEATURE_DIM),
    "s3d": Network(1.0, tables.FEATURES_S3D, tables.S3D_DIM),
}


def import_vectors(
    videos: Path,
    folders: Mapping[str, Path],
    outputs: Mapping[str, Path],
    status: Path,
    max_failed: float,
) -> None:
    """Write a shard's feature tables from folders of .npy files, one a network of `NETWORKS`.

    A video is in all tables or in none (no_features where a file is missing). Raises UserError for
    a folder that is none, StageStopped when more than the share `max_failed` failed.
    """
    for folder in folders.values():
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of .npy files")
    ids = read_table(videos, ["video_id"])["video_id"].to_pylist()
    outcomes: list[Outcome] = []
    progress = Progress("videos' vectors read", len(ids))
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                table_writer(
                    outputs[name],
                    NETWORKS[name].schema.with_metadata(
                        {"network": name, "rate": f"{NETWORKS[name].rate:g}", "mode": "read"}
                    ),
                    **LAYOUT,
                )
            )
            for name in folders
        }

        def read(video_id: str) -> list[Row]:
            found = {
                name: read_vectors(folder, video_id, NETWORKS[name].dim)
                for name, folder in folders.items()
            }
            for name, vectors in found.items():
                write_vectors(writers[name], video_id, vectors, NETWORKS[name].rate)
            return []

        for video_id in ids:
            outcome, _ = attempt(video_id, partial(read, video_id))
            outcomes.append(outcome)
            progress.count(outcome)
        check_failures("features", outcomes, max_failed)
    write_status(status, outcomes)


def read_vectors(folder: Path, video_id: str, dim: int) -> Halves:
    """The vectors [n, dim] of a video; a file of shape [dim] is one of them.

    Raises ItemError: no_features when there is no file, corrupt when it is none of such vectors,
    not_finite when they hold NaN or what float16 cannot.
    """
    paths = (folder / f"{video_id}{ending}" for ending in ENDINGS)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ItemError(Kind.NO_FEATURES, f"{folder} has no {video_id}.npy")
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ItemError(Kind.CORRUPT, f"{path}: {error}") from error
    if vectors.ndim == 1:
        vectors = vectors[None]
    if (
        vectors.ndim != 2
        or vectors.shape[1] != dim
        or not len(vectors)
        or vectors.dtype.kind != "f"
    ):
        raise ItemError(
            Kind.CORRUPT, f"{path} holds {vectors.dtype}{list(vectors.shape)}, not float[n, {dim}]"
        )
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(vectors, "<f2")
    if not np.isfinite(halves).all():
        raise ItemError(Kind.NOT_FINITE, f"{path} has NaN, or a value beyond float16")
    return halves
