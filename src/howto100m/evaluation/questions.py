"""What a benchmark asks, and where its clips' vectors come from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from howto100m import tables
from howto100m.evaluation.benchmarks import (
    Clip,
    StepVideo,
    read_clip_list,
    read_crosstask,
    read_lsmdc,
)
from howto100m.evaluation.features import Features
from howto100m.evaluation.pickles import read_pickle, read_tensors
from howto100m.features.pairs import Floats, unit
from howto100m.kinds import ItemError, Kind, UserError


@dataclass(frozen=True)
class Sentence:
    """A query of a retrieval benchmark; `vector` gives the right clip's [4096], or an ItemError."""

    name: str
    text: str
    vector: Callable[[], Floats]


@dataclass(frozen=True)
class Retrieval:
    """Find each sentence's clip among those of all sentences."""

    sentences: list[Sentence]

    def texts(self) -> Iterator[str]:
        """All texts that are asked."""
        return (sentence.text for sentence in self.sentences)


@dataclass(frozen=True)
class Localization:
    """Find when each step of a task is to be seen; `seconds` gives a video's [T, 4096]."""

    videos: list[StepVideo]
    seconds: Callable[[StepVideo], Floats]

    def texts(self) -> Iterator[str]:
        """All texts that are asked."""
        return (step for video in self.videos for step in video.steps)


Questions = Retrieval | Localization


def from_lists(protocol: str, annotations: Path, features: Features) -> Questions:
    """A benchmark of one's own: annotations in a known form, and its videos' features.

    retrieval reads a clip list (.csv), localization the folder of a CrossTask release.
    Raises UserError for another protocol, and as the readers.
    """
    if protocol == "retrieval":
        return from_clips(annotations, features)
    if protocol == "localization":
        return Localization(read_crosstask(annotations), features.seconds)
    raise UserError(f"protocol {protocol}: choose retrieval or localization")


def from_clips(annotations: Path, features: Features) -> Retrieval:
    """The sentences of a clip list (.csv), a clip the vector of each. Raises as its reader."""
    return _of_clips(read_clip_list(annotations), features)


def from_official(benchmark: str, data: Path, features: Features | None = None) -> Questions:
    """One of `OFFICIAL`, from its official files in the folder `data`.

    The clips' vectors are those of the official files, or of `features` where they are given.
    Raises UserError for another benchmark, and for files that are missing or malformed.
    """
    if benchmark not in OFFICIAL:
        raise UserError(f"benchmark {benchmark}: choose one of {', '.join(OFFICIAL)}")
    return OFFICIAL[benchmark](data, features)


def _msrvtt(data: Path, features: Features | None) -> Questions:
    clips = read_clip_list(data / "MSRVTT_JSFUSION_test.csv")
    if features:
        return _of_clips(clips, features)
    return _of_pooled(clips, data / "MSRVTT_JSFUSION_test.pth")


def _lsmdc(data: Path, features: Features | None) -> Questions:
    clips = read_lsmdc(data / "LSMDC16_challenge_1000_publictect.csv")
    return _of_clips(clips, features) if features else _of_pooled(clips, data / "LSMDC_test.pth")


def _youcook2(data: Path, features: Features | None) -> Questions:
    if features:
        return _of_clips(read_clip_list(data / "validation_youcook.csv"), features)
    return Retrieval(list(read_entries(data / "youcook_val.pkl")))


def _crosstask(data: Path, features: Features | None) -> Questions:
    features = features or Features.open(data / "features_2d", data / "features_3d")
    return Localization(read_crosstask(data), features.seconds)


OFFICIAL: Mapping[str, Callable[[Path, Features | None], Questions]] = {
    "msrvtt": _msrvtt,
    "youcook2": _youcook2,
    "lsmdc": _lsmdc,
    "crosstask": _crosstask,
}
"""The paper's four benchmarks."""


def _of_clips(clips: list[Clip], features: Features) -> Retrieval:
    return Retrieval(
        [Sentence(f"{c.video_id}:{c.start:g}", c.text, partial(features.clip, c)) for c in clips]
    )


def _of_pooled(clips: list[Clip], path: Path) -> Retrieval:
    return Retrieval(list(read_pooled(clips, path)))


def read_pooled(clips: list[Clip], path: Path) -> Iterator[Sentence]:
    """Sentences with the vectors of a .pth file: {"2d": {video: [2048]}, "3d": the same}.

    Raises UserError when the file is no such thing.
    """
    halves = read_tensors(path)
    if not isinstance(halves, dict) or not all(
        isinstance(halves.get(name), dict) for name in ("2d", "3d")
    ):
        raise UserError(f'{path} holds no vectors by network ("2d", "3d") and video')
    for clip in clips:
        found = [halves[name].get(clip.video_id) for name in ("2d", "3d")]
        yield Sentence(clip.video_id, clip.text, partial(_joined, found, path))


def read_entries(path: Path) -> Iterator[Sentence]:
    """The sentences of a pickle as YouCook2's: a list of {"id", "caption", "2d", "3d"}.

    Raises UserError that names the entry without a caption or an id.
    """
    entries = read_pickle(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} holds {type(entries).__name__}, not a list of clips")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not {"id", "caption"} <= entry.keys():
            raise UserError(f"{path}: clip {number} of {len(entries)} has no id, or no caption")
        found = [entry.get(name) for name in ("2d", "3d")]
        yield Sentence(str(entry["id"]), str(entry["caption"]), partial(_joined, found, path))


def _joined(halves: list[Any], path: Path) -> Floats:
    """[4096]: each half of length 1. Raises ItemError: no_features, corrupt, not_finite."""
    if any(half is None for half in halves):
        raise ItemError(Kind.NO_FEATURES, f"{path} has no vectors of it")
    try:
        vectors = [np.asarray(half, np.float32).reshape(-1) for half in halves]
    except (TypeError, ValueError) as error:
        raise ItemError(Kind.CORRUPT, f"{path}: {error}") from error
    if any(len(vector) != tables.FEATURE_DIM for vector in vectors):
        sizes = " and ".join(str(len(vector)) for vector in vectors)
        raise ItemError(Kind.CORRUPT, f"{path} has {sizes} numbers, not 2048 of each network")
    return np.concatenate([unit(vector) for vector in vectors])
