"""The features of a benchmark's videos: our own tables, or a .npy file a video."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from howto100m import tables
from howto100m.evaluation.benchmarks import Clip, StepVideo
from howto100m.features.pairs import RATE_2D, FeatureTable, Floats, Halves, clip_vector, unit
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.release.vectors import read_vectors


@dataclass(frozen=True)
class Features:
    """How to get the vectors [n, 2048] of a video from either network, by the video's name."""

    rows_2d: Callable[[str], Halves]
    rows_3d: Callable[[str], Halves]

    @classmethod
    def open(cls, features_2d: Path, features_3d: Path) -> "Features":
        """Each is a table, a folder of tables, or a folder of <name>.npy.

        Raises UserError when one is missing, or holds neither.
        """
        return cls(*(lru_cache(maxsize=8)(_rows_in(path)) for path in (features_2d, features_3d)))

    def clip(self, clip: Clip) -> Floats:
        """[4096], pooled as in training. Raises ItemError as `clip_vector`."""
        rows_2d, rows_3d = self.rows_2d(clip.video_id), self.rows_3d(clip.video_id)
        end = len(rows_2d) / RATE_2D if math.isinf(clip.end) else clip.end
        return clip_vector(rows_2d, rows_3d, clip.start, end)

    def seconds(self, video: StepVideo) -> Floats:
        """[T, 4096]: a vector a second, T the rows of the 2D network.

        Both are max-pooled to T (adaptively, so that the 3D network's 1.5 rows a second fit) and
        then normalised, each for itself. Files may be named <video> or <task>_<video>.
        Raises ItemError: no_features when there are none, corrupt, not_finite.
        """
        pair = [
            _first_of(rows, video.video_id, f"{video.task}_{video.video_id}")
            for rows in (self.rows_2d, self.rows_3d)
        ]
        return np.concatenate([unit(_pool_to(len(pair[0]), rows)) for rows in pair], axis=1)


def _rows_in(path: Path) -> Callable[[str], Halves]:
    if not path.exists():
        raise UserError(f"{path} does not exist: give the features of the benchmark's videos")
    if path.is_dir() and not any(path.glob("*.parquet")):
        if not any(path.glob("*.npy")):
            raise UserError(f"{path} holds neither feature tables nor .npy files")
        return partial(read_vectors, path, dim=tables.FEATURE_DIM)
    return FeatureTable.open(path).rows


def _first_of(rows: Callable[[str], Halves], name: str, other: str) -> Halves:
    try:
        return rows(name)
    except ItemError as error:
        if error.kind is not Kind.NO_FEATURES:
            raise
        try:
            return rows(other)
        except ItemError as second:
            raise (error if second.kind is Kind.NO_FEATURES else second) from None


def _pool_to(seconds: int, rows: Halves) -> Floats:
    columns = torch.from_numpy(rows.astype(np.float32)).T[None]
    return np.asarray(F.adaptive_max_pool1d(columns, seconds)[0].T.numpy())
