"""A checkpoint on a benchmark: embeddings in, metrics and rankings out."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.embedding.model import Net, load_net
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.evaluation import localization
from howto100m.evaluation.benchmarks import Clip, StepVideo, read_clip_list, read_crosstask
from howto100m.evaluation.localization import Found, Seconds, Truth
from howto100m.evaluation.metrics import Ties, chance, check_scores, ranks, summary
from howto100m.evaluation.retrieval import rank
from howto100m.features.pairs import FeatureTable, Floats, Halves, clip_vector, unit
from howto100m.kinds import ItemError, Kind, Status, UserError
from howto100m.shards import Outcome, Row, attempt, write_status, write_table

log = logging.getLogger(__name__)

BLOCK = 1024
"""Texts or clips embedded at once."""


def evaluate_embedding(
    checkpoint: Path,
    vocabulary: Path,
    benchmark: str,
    protocol: str,
    annotations: Path,
    features_2d: Path,
    features_3d: Path,
    output_metrics: Path,
    output_rankings: Path,
    status: Path,
    *,
    run: str,
    max_words: int,
    ties: str,
    seed: int,
    device: str,
) -> None:
    """Evaluate a checkpoint on a benchmark; `features_*` are a table or a folder of tables each.

    retrieval: text to clip over a clip list, R@1, R@5, R@10 (shares) and the median rank, one
    ranking a sentence. localization: CrossTask's steps, one second each: `recall` is the headline
    (a video's recall, averaged over a task's videos, then over tasks: the words of the HowTo100M
    paper), `recall_pooled` is CrossTask's own; runs `uniform` and `random` are the baselines, and
    chance is the random one's exact expectation. Its rankings have a row a step that is there: the
    true seconds as target, the second it was given as hit, and as rank that of the best true second
    by score among all seconds.
    What has no features is counted as missing, and has a row of its own in the status table.
    Raises UserError when a file is missing or malformed, or nothing at all has features.
    """
    if protocol not in ("retrieval", "localization"):
        raise UserError(f"protocol of {benchmark} is {protocol}: choose retrieval or localization")
    if ties not in list(Ties):
        raise UserError(f"evaluation.ties is {ties}: choose one of {', '.join(Ties)}")
    place = choose_device(device)
    net, words = load_net(checkpoint, place), Vocabulary.load(vocabulary)
    embed = _Embedder(net, words, max_words, place)
    features = _Features.open(features_2d, features_3d)
    if protocol == "retrieval":
        result = _retrieve(read_clip_list(annotations), embed, features, Ties(ties))
    else:
        result = _localize(read_crosstask(annotations), embed, features, seed)
    own = {"run": run, "benchmark": benchmark}
    metrics = [own | row for row in result.metrics]
    for row in metrics:
        log.info("{benchmark}, {run}: {metric} {value:.4f}, chance {chance:.4f}".format_map(row))
    write_table(output_metrics, metrics, tables.METRICS)
    write_table(output_rankings, (own | row for row in result.rankings), tables.RANKINGS)
    write_status(status, result.outcomes)


@dataclass(frozen=True)
class _Result:
    """Rows of the three tables, without run and benchmark where they are the evaluation's own."""

    metrics: list[Row]
    rankings: list[Row]
    outcomes: list[Outcome]


@dataclass(frozen=True)
class _Embedder:
    net: Net
    words: Vocabulary
    max_words: int
    device: torch.device

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """[Q, D]. A text without a known word is embedded too, as the official code does."""
        ids = np.zeros((len(texts), self.max_words), np.int64)
        for row, text in zip(ids, texts, strict=True):
            known = self.words.encode(text, self.max_words)
            row[: len(known)] = known
        empty = int((ids[:, 0] == 0).sum())
        if empty:
            log.warning("%d of %d texts have no known word", empty, len(texts))
        vectors = torch.from_numpy(self.words.vectors).to(self.device)
        parts = torch.split(torch.from_numpy(ids).to(self.device), BLOCK)
        return torch.cat([self.net.embed_text(part, vectors) for part in parts])

    @torch.no_grad()
    def videos(self, vectors: Floats) -> Tensor:
        """Pooled features [C, 4096] to [C, D]."""
        parts = torch.split(torch.from_numpy(vectors), BLOCK)
        return torch.cat([self.net.embed_video(part.to(self.device)) for part in parts])


@dataclass(frozen=True)
class _Features:
    """The features of the benchmark's videos."""

    rows_2d: Callable[[str], Halves]
    rows_3d: Callable[[str], Halves]

    @classmethod
    def open(cls, features_2d: Path, features_3d: Path) -> "_Features":
        paths = (features_2d, features_3d)
        return cls(*(lru_cache(maxsize=8)(FeatureTable.open(path).rows) for path in paths))

    def clip(self, clip: Clip) -> Floats:
        """[4096], pooled as in training. Raises ItemError as `clip_vector`."""
        rows_2d, rows_3d = self.rows_2d(clip.video_id), self.rows_3d(clip.video_id)
        return clip_vector(rows_2d, rows_3d, clip.start, clip.end)

    def seconds(self, video_id: str) -> Floats:
        """[T, 4096]: a vector a second, T the rows of the 2D network.

        Both are max-pooled to T (adaptively, so that the 3D network's 1.5 rows a second fit) and
        then normalised, each for itself. Raises ItemError as `FeatureTable.rows`, or not_finite.
        """
        pair = (self.rows_2d(video_id), self.rows_3d(video_id))
        return np.concatenate([unit(_pool_to(len(pair[0]), rows)) for rows in pair], axis=1)


def _pool_to(seconds: int, rows: Halves) -> Floats:
    columns = torch.from_numpy(rows.astype(np.float32)).T[None]
    return np.asarray(F.adaptive_max_pool1d(columns, seconds)[0].T.numpy())


def _retrieve(clips: Sequence[Clip], embed: _Embedder, features: _Features, ties: Ties) -> _Result:
    """Rank every clip for every sentence; what has no features is neither query nor candidate."""
    names = list(_unique(f"{clip.video_id}:{clip.start:g}" for clip in clips))
    outcomes, vectors = [], []
    for name, clip in zip(names, clips, strict=True):
        outcome, found = attempt(name, partial(_boxed, features.clip, clip))
        outcomes.append(outcome)
        vectors += [box["vector"] for box in found]
    there = [i for i, outcome in enumerate(outcomes) if outcome.status is Status.OK]
    missing = _missing(len(there), len(clips), outcomes)
    texts = embed.texts([clips[i].text for i in there])
    ranking = rank(
        texts, embed.videos(np.stack(vectors)), torch.arange(len(there)).to(embed.device)
    )
    metrics, lot = summary(ranks(ranking.standings, ties)), chance(len(there))
    # A ranking has one rank a query; the official rule has one a tie.
    single = ranks(ranking.standings, Ties.MEAN if ties is Ties.OFFICIAL else ties)
    return _Result(
        [
            _metric(name, value, lot[name], f"retrieval, ties {ties}", len(there), missing)
            for name, value in metrics.items()
        ],
        [
            {
                "query": names[i],
                "text": clips[i].text,
                "target": names[i],
                "rank": float(single[row]),
                "hits": [names[there[hit]] for hit in ranking.hits[row]],
            }
            for row, i in enumerate(there)
        ],
        outcomes,
    )


def _localize(
    videos: Sequence[StepVideo], embed: _Embedder, features: _Features, seed: int
) -> _Result:
    """Find the steps of every video; one without features, or without a step, is left out."""
    steps = {names: embed.texts(names) for names in {video.steps: None for video in videos}}
    outcomes: list[Outcome] = []
    rankings: list[Row] = []
    found: dict[str, list[Found]] = {"": [], "uniform": [], "random": []}
    for video in videos:
        if not video.segments:
            error = ItemError(Kind.NO_CLIPS, "no step is annotated")
            outcomes.append(Outcome.of(video.video_id, error))
            continue
        outcome, boxes = attempt(video.video_id, partial(_boxed, features.seconds, video.video_id))
        outcomes.append(outcome)
        for box in boxes:
            scores = (embed.videos(box["vector"]) @ steps[video.steps].T).cpu().numpy()
            check_scores(scores)
            size = scores.shape
            truth = localization.ground_truth(video.segments, *size)
            chosen = localization.assign(-scores)
            evenly, by_lot = localization.uniform(*size), localization.random_chances(*size)
            found[""].append(localization.score(video.task, chosen, truth))
            found["uniform"].append(localization.score(video.task, evenly, truth))
            found["random"].append(localization.expect(video.task, by_lot, truth))
            rankings += _step_rankings(video, scores, chosen, truth)
    items = len(found[""])
    annotated = sum(1 for video in videos if video.segments)
    missing = _missing(items, annotated, outcomes)
    recalls = {
        run: {
            "recall": localization.recall(results),
            "recall_pooled": localization.recall_pooled(results, seed),
        }
        for run, results in found.items()
    }
    metrics = [
        ({"run": run} if run else {})
        | _metric(name, value, recalls["random"][name], "localization", items, missing)
        for run, values in recalls.items()
        for name, value in values.items()
    ]
    return _Result(metrics, rankings, outcomes)


def _step_rankings(
    video: StepVideo, scores: Floats, chosen: Seconds, truth: Truth
) -> Iterator[Row]:
    for step in np.flatnonzero(truth.any(axis=0)):
        own = scores[:, step]
        best = own[truth[: len(own), step]].max(initial=-np.inf)
        spans = [f"{s.start:g}-{s.end:g}" for s in video.segments if s.step == step]
        yield {
            "query": f"{video.video_id}:{step + 1}",
            "text": video.steps[step],
            "target": " ".join(spans),
            "rank": float((own > best).sum() + 1),
            "hits": [str(chosen[step])] if chosen[step] >= 0 else [],
        }


def _boxed(work: Callable[[Any], Floats], item: Any) -> list[Row]:
    return [{"vector": work(item)}]


def _unique(names: Iterable[str]) -> Iterator[str]:
    """The names, with #2, #3 ... where one occurs again."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _missing(items: int, wanted: int, outcomes: Sequence[Outcome]) -> int:
    if not items:
        first = next((o.message for o in outcomes if o.message), "the list is empty")
        raise UserError(f"none of {wanted} items of the benchmark can be evaluated: {first}")
    if items < wanted:
        log.warning("%d of %d items of the benchmark have no features", wanted - items, wanted)
    return wanted - items


def _metric(
    name: str, value: float, by_chance: float, protocol: str, items: int, missing: int
) -> Row:
    return {
        "metric": name,
        "value": value,
        "chance": by_chance,
        "protocol": protocol,
        "items": items,
        "missing": missing,
    }
