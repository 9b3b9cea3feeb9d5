"""Features: every video decoded once, both networks, two tables with a vector a row."""

import logging
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from howto100m import tables
from howto100m.features.engine import Engine, Settings, Video
from howto100m.features.files import LAYOUT, write_vectors
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D
from howto100m.kinds import Status
from howto100m.shards import (
    Outcome,
    Progress,
    check_failures,
    read_table,
    table_writer,
    write_status,
)

log = logging.getLogger(__name__)


def extract_features(
    media: Path,
    resnet152_weights: Path,
    resnext101_weights: Path,
    output_2d: Path,
    output_3d: Path,
    status: Path,
    settings: Settings,
    *,
    discard_media: bool = False,
    max_failed: float = 0.5,
) -> None:
    """Run both networks over the videos of a media shard; write its two feature tables.

    Vectors are not normalised; `start` is row / rate, in seconds. A video is in both tables or in
    neither; `discard_media` deletes the files of those that are.
    Raises UserError as `Engine` does; StageStopped when more than the share `max_failed` failed.
    """
    listed = read_table(media, ["video_id", "path", "bytes"]).to_pylist()
    videos = [Video(row["video_id"], Path(row["path"]), row["bytes"]) for row in listed]
    engine = Engine({"2d": resnet152_weights, "3d": resnext101_weights}, settings)
    schemas = [tables.FEATURES.with_metadata(note | {"normalised": "no"}) for note in engine.notes]
    outcomes: list[Outcome] = []
    writing = 0.0
    progress = Progress("videos through both networks", len(videos))
    with (
        table_writer(output_2d, schemas[0], **LAYOUT) as writer_2d,
        table_writer(output_3d, schemas[1], **LAYOUT) as writer_3d,
        closing(engine.vectors_of(videos)) as finished,
    ):
        for video in finished:
            outcome = video.outcome()
            if outcome.status is Status.OK:
                started = time.monotonic()
                for position, (writer, sampling) in enumerate(
                    ((writer_2d, FRAMES_2D), (writer_3d, CLIPS_3D))
                ):
                    vectors = video.whole(position).astype(np.float16)
                    write_vectors(writer, video.id, vectors, sampling.rows_per_second)
                writing += time.monotonic() - started
            if outcome.message:
                log.warning("%s: %s: %s", video.id, outcome.kind or "damaged", outcome.message)
            video.vectors.clear()
            outcomes.append(outcome)
            progress.count(outcome)
        write_status(status, outcomes)
        check_failures("features", outcomes, max_failed)
    log.info("%s", engine.report(writing))
    if discard_media:
        for video, outcome in zip(videos, outcomes, strict=True):
            if outcome.status is Status.OK:
                video.path.unlink()
