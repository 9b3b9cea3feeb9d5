"""A checkpoint on a benchmark: embeddings in, metrics and rankings out."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.embedding.model import Net, load_net
from howto100m.embedding.vocabulary import Vocabulary, vocabulary_of
from howto100m.evaluation import localization
from howto100m.evaluation.benchmarks import StepVideo
from howto100m.evaluation.localization import Found, Seconds, Truth
from howto100m.evaluation.metrics import Ties, chance, check_scores, ranks, summary
from howto100m.evaluation.questions import Localization, Questions, Retrieval
from howto100m.evaluation.retrieval import rank
from howto100m.features.pairs import Floats
from howto100m.kinds import ItemError, Kind, Status, UserError
from howto100m.shards import Outcome, Row, attempt, write_status, write_table

log = logging.getLogger(__name__)

SIMILARITIES = ("cosine", "dot")
BLOCK = 1024
"""Texts or clips embedded at once."""


@dataclass(frozen=True)
class Result:
    """Rows of the three tables of an evaluation."""

    metrics: list[Row]
    rankings: list[Row]
    outcomes: list[Outcome]

    def write(self, metrics: Path, rankings: Path, status: Path) -> None:
        """Write the tables."""
        write_table(metrics, self.metrics, tables.METRICS)
        write_table(rankings, self.rankings, tables.RANKINGS)
        write_status(status, self.outcomes)


def evaluate_embedding(
    checkpoint: Path,
    vocabulary: Path,
    benchmark: str,
    questions: Questions,
    *,
    run: str,
    max_words: int,
    ties: str,
    seed: int,
    device: str,
    similarity: str = "cosine",
) -> Result:
    """Evaluate a checkpoint on a benchmark; `vocabulary` is a table, or a file of word vectors.

    `similarity` is cosine, or dot for a checkpoint that MIL-NCE trained: its loss is defined on
    plain dot products.
    Retrieval: text to clip, R@1, R@5, R@10 (shares) and the median rank, one ranking a sentence.
    Localization: CrossTask's steps, one second each: `recall` is the headline (a video's recall,
    averaged over a task's videos, then over tasks: the words of the HowTo100M paper),
    `recall_pooled` is CrossTask's own, both also by task (`part`). The runs `uniform`, `random` and
    (where the release has constraints) `narration` are the baselines, chance is the random one's
    exact expectation. The rankings have a row a step that is there: the true seconds as target, the
    second it was given as hit, and as rank that of the best true second by score among all seconds.
    What has no features is counted as missing, and has a row of its own in the status table.
    Raises UserError when a file is missing or malformed, or nothing at all has features.
    """
    if ties not in list(Ties):
        raise UserError(f"evaluation.ties is {ties}: choose one of {', '.join(Ties)}")
    if similarity not in SIMILARITIES:
        raise UserError(f"--similarity is {similarity}: choose one of {', '.join(SIMILARITIES)}")
    place = choose_device(device)
    net, words = load_net(checkpoint, place), vocabulary_of(vocabulary, questions.texts())
    width = net.GU_video.fc.in_features
    if width != 2 * tables.FEATURE_DIM:
        raise UserError(f"{checkpoint} takes {width} numbers a clip, not 4096 of two networks")
    embed = _Embedder(net, words, max_words, place, similarity)
    if isinstance(questions, Retrieval):
        result = _retrieve(questions, embed, Ties(ties))
    else:
        result = _localize(questions, embed, seed)
    own = {"run": run, "benchmark": benchmark}
    for row in (row for row in result.metrics if not row["part"]):
        log.info(
            "{benchmark}, {run}: {metric} {value:.4f}, chance {chance:.4f}".format_map(own | row)
        )
    return Result(
        [own | row for row in result.metrics],
        [own | row for row in result.rankings],
        result.outcomes,
    )


@dataclass(frozen=True)
class _Embedder:
    net: Net
    words: Vocabulary
    max_words: int
    device: torch.device
    similarity: str

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
        return torch.cat([self.net.embed_text(part, vectors, self._normalise) for part in parts])

    @torch.no_grad()
    def videos(self, vectors: Floats) -> Tensor:
        """Pooled features [C, 4096] to [C, D]."""
        parts = torch.split(torch.from_numpy(vectors), BLOCK)
        return torch.cat(
            [self.net.embed_video(part.to(self.device), self._normalise) for part in parts]
        )

    @property
    def _normalise(self) -> bool:
        return self.similarity == "cosine"

    def told(self, protocol: str) -> str:
        """The protocol with what the embeddings are compared by."""
        return protocol if self._normalise else f"{protocol}, dot product"


def _retrieve(questions: Retrieval, embed: _Embedder, ties: Ties) -> Result:
    """Rank every clip for every sentence; what has no features is neither query nor candidate."""
    sentences = questions.sentences
    names = list(_unique(sentence.name for sentence in sentences))
    outcomes, vectors = [], []
    for name, sentence in zip(names, sentences, strict=True):
        outcome, found = attempt(name, partial(_boxed, sentence.vector))
        outcomes.append(outcome)
        vectors += [box["vector"] for box in found]
    there = [i for i, outcome in enumerate(outcomes) if outcome.status is Status.OK]
    missing = _missing(len(there), len(sentences), outcomes)
    texts, clips = embed.texts([sentences[i].text for i in there]), embed.videos(np.stack(vectors))
    ranking = rank(texts, clips, torch.arange(len(there)), embed.device)
    metrics, lot = summary(ranks(ranking.standings, ties)), chance(len(there))
    # A ranking has one rank a query; the official rule has one a tie.
    single = ranks(ranking.standings, Ties.MEAN if ties is Ties.OFFICIAL else ties)
    protocol = embed.told(f"retrieval, ties {ties}")
    return Result(
        [
            _metric("", name, value, lot[name], protocol, len(there), missing)
            for name, value in metrics.items()
        ],
        [
            {
                "query": names[i],
                "text": sentences[i].text,
                "target": names[i],
                "rank": float(single[row]),
                "hits": [names[there[hit]] for hit in ranking.hits[row]],
            }
            for row, i in enumerate(there)
        ],
        outcomes,
    )


def _localize(questions: Localization, embed: _Embedder, seed: int) -> Result:
    """Find the steps of every video; one without features, or without a step, is left out."""
    videos = questions.videos
    steps = {names: embed.texts(names) for names in {video.steps: None for video in videos}}
    names = _unique(video.video_id for video in videos)
    outcomes: list[Outcome] = []
    rankings: list[Row] = []
    found: dict[str, list[Found]] = {}
    parts: dict[str, _Part] = {}
    for name, video in zip(names, videos, strict=True):
        if not video.segments:
            error = ItemError(Kind.NO_CLIPS, "no step is annotated")
            outcomes.append(Outcome.of(name, error))
            continue
        part = parts.setdefault(video.task, _Part(f"{video.task} {video.title}".strip()))
        part.wanted += 1
        outcome, boxes = attempt(name, partial(_boxed, partial(questions.seconds, video)))
        outcomes.append(outcome)
        for box in boxes:
            part.items += 1
            scores = (embed.videos(box["vector"]) @ steps[video.steps].T).cpu().numpy()
            check_scores(scores)
            truth = localization.ground_truth(video.segments, *scores.shape)
            chosen = localization.assign(-scores)
            for run, result in _results(video, chosen, truth, scores.shape):
                found.setdefault(run, []).append(result)
            rankings += _step_rankings(name, video, scores, chosen, truth)
    whole = _Part("", sum(p.wanted for p in parts.values()), sum(p.items for p in parts.values()))
    _missing(whole.items, whole.wanted, outcomes)
    if "narration" in found and len(found["narration"]) < whole.items:
        log.warning("only %d videos have constraints: no baseline", len(found.pop("narration")))
    recalls = {run: _recalls(results, seed) for run, results in found.items()}
    by_lot = recalls["random"]
    metrics = [
        ({"run": run} if run else {})
        | _metric(
            (part := parts.get(task, whole)).name,
            metric,
            value,
            by_lot[task, metric],
            embed.told("localization"),
            part.items,
            part.wanted - part.items,
        )
        for run, values in recalls.items()
        for (task, metric), value in values.items()
    ]
    return Result(metrics, rankings, outcomes)


@dataclass
class _Part:
    """A task of the benchmark: its videos with annotations, and those of them with features."""

    name: str
    wanted: int = 0
    items: int = 0


def _results(
    video: StepVideo, chosen: Seconds, truth: Truth, size: tuple[int, int]
) -> Iterator[tuple[str, Found]]:
    """By run, this one ("") and the baselines, what was found in a video of [T, K]."""
    yield "", localization.score(video.task, chosen, truth)
    yield "uniform", localization.score(video.task, localization.uniform(*size), truth)
    yield "random", localization.expect(video.task, localization.random_chances(*size), truth)
    if video.narrated:
        windows = localization.ground_truth(video.narrated, *size)[: size[0]]
        yield "narration", localization.score(video.task, localization.narrated(windows), truth)


def _recalls(found: Sequence[Found], seed: int) -> Mapping[tuple[str, str], float]:
    """By task ("" for all) and metric."""
    kinds = {
        "recall": localization.recalls(found),
        "recall_pooled": localization.recalls_pooled(found, seed),
    }
    return {
        (task, metric): value
        for metric, by_task in kinds.items()
        for task, value in {"": fmean(by_task.values()), **by_task}.items()
    }


def _step_rankings(
    name: str, video: StepVideo, scores: Floats, chosen: Seconds, truth: Truth
) -> Iterator[Row]:
    for step in np.flatnonzero(truth.any(axis=0)):
        own = scores[:, step]
        best = own[truth[: len(own), step]].max(initial=-np.inf)
        spans = [f"{s.start:g}-{s.end:g}" for s in video.segments if s.step == step]
        yield {
            "query": f"{name}:{step + 1}",
            "text": video.steps[step],
            "target": " ".join(spans),
            "rank": float((own > best).sum() + 1),
            "hits": [str(chosen[step])] if chosen[step] >= 0 else [],
        }


def _boxed(work: Callable[[], Floats]) -> list[Row]:
    return [{"vector": work()}]


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
    part: str, name: str, value: float, by_chance: float, protocol: str, items: int, missing: int
) -> Row:
    return {
        "part": part,
        "metric": name,
        "value": value,
        "chance": by_chance,
        "protocol": protocol,
        "items": items,
        "missing": missing,
    }
