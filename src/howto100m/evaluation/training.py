"""A benchmark's own training data as a pairs table, to fine-tune on."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pyarrow as pa

from howto100m import tables
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.evaluation.benchmarks import Clip, read_lsmdc, read_video_ids
from howto100m.evaluation.questions import Retrieval, Sentence, read_entries, read_pooled
from howto100m.features.pairs import LAYOUT, Floats
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Outcome, Row, attempt, status_path, table_writer, write_status


def official_training(benchmark: str, data: Path) -> Retrieval:
    """The training sentences of msrvtt, youcook2 or lsmdc, from the official files in `data`.

    Raises UserError for another benchmark, and for files that are missing or malformed.
    """
    if benchmark not in TRAINING:
        raise UserError(f"{benchmark} has no training files: choose one of {', '.join(TRAINING)}")
    return Retrieval(list(TRAINING[benchmark](data)))


def _msrvtt(data: Path) -> Iterator[Sentence]:
    videos, path = set(read_video_ids(data / "MSRVTT_train.csv")), data / "MSRVTT_data.json"
    try:
        sentences = json.loads(path.read_text(encoding="utf-8"))["sentences"]
        clips = [Clip(s["video_id"], 0.0, math.inf, s["caption"]) for s in sentences]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the benchmark's files") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} has no list of sentences ({error!r})") from None
    wanted = [clip for clip in clips if clip.video_id in videos]
    return read_pooled(wanted, data / "MSRVTT_train.pth")


def _youcook2(data: Path) -> Iterator[Sentence]:
    return read_entries(data / "youcook_train.pkl")


def _lsmdc(data: Path) -> Iterator[Sentence]:
    clips = read_lsmdc(data / "LSMDC16_annos_training.csv")
    return read_pooled(clips, data / "LSMDC_train.pth")


TRAINING: Mapping[str, Callable[[Path], Iterator[Sentence]]] = {
    "msrvtt": _msrvtt,
    "youcook2": _youcook2,
    "lsmdc": _lsmdc,
}


def pair_sentences(
    questions: Retrieval, vocabulary: Path, output: Path, *, share: float, max_words: int
) -> None:
    """Write a benchmark's training sentences as pairs, one row group a clip.

    A clip stands for a video, so that an epoch with one pair a video draws one sentence of each
    clip, as the official fine-tuning. Of the clips the share `share` is kept, at least one; which,
    depends on their names alone, and a smaller share is part of a larger one. Times are 0.
    Raises UserError when no clip at all makes a pair.
    """
    words = Vocabulary.load(vocabulary)
    outcomes: list[Outcome] = []
    kept = 0
    with table_writer(output, tables.PAIRS, **LAYOUT) as writer:
        for clip, sentences in _share(questions.sentences, share):
            outcome, rows = attempt(clip, partial(_pairs, clip, sentences, words, max_words))
            outcomes.append(outcome)
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=tables.PAIRS))
                kept += len(rows)
        if not kept:
            first = next((o.message for o in outcomes if o.message), "it has no sentences")
            raise UserError(f"no clip of the training data makes a pair: {first}")
    write_status(status_path(output), outcomes)


def _share(sentences: Iterable[Sentence], share: float) -> list[tuple[str, list[Sentence]]]:
    """The clips that are kept, each with its sentences."""
    by_name = attrgetter("name")
    clips = [(n, list(of)) for n, of in groupby(sorted(sentences, key=by_name), key=by_name)]
    clips.sort(key=lambda clip: blake2b(clip[0].encode(), digest_size=8).digest())
    return clips[: max(1, round(share * len(clips)))]


def _pairs(clip: str, sentences: list[Sentence], words: Vocabulary, max_words: int) -> list[Row]:
    tokens = [known for s in sentences if (known := words.encode(s.text, max_words))]
    if not tokens:
        raise ItemError(Kind.NO_WORDS, "no word of its sentences is in the vocabulary")
    vector: Floats = sentences[0].vector()
    return [
        {
            "video_id": clip,
            "clip": number,
            "start": 0.0,
            "end": 0.0,
            "tokens": ids,
            "feature": vector.astype("<f2").tobytes(),
        }
        for number, ids in enumerate(tokens)
    ]
