"""Training the embedding on pairs."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.embedding.data import Batch, draw_batches, videos_of
from howto100m.embedding.losses import Weighting, max_margin, mil_nce
from howto100m.embedding.model import Net
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.kinds import UserError
from howto100m.shards import Outcome, Row, whole_file, write_status, write_table

log = logging.getLogger(__name__)

Choice = TypeVar("Choice")
Loss = Callable[[Net, Tensor, Tensor, Tensor], Tensor]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def train_embedding(
    pairs: Sequence[Path],
    vocabulary: Path,
    output: Path,
    curve: Path,
    status: Path,
    *,
    run: str,
    dim: int,
    max_words: int,
    videos_per_batch: int,
    pairs_per_video: int,
    epochs: int,
    lr: float,
    lr_decay: float,
    loss: str,
    margin: float,
    intra_share: float,
    weighting: str,
    seed: int,
    device: str,
    dtype: str = "float32",
) -> None:
    """Train the embedding as published (section 4, and the official training loop).

    An epoch draws `pairs_per_video` pairs with replacement from every video, in batches of
    `videos_per_batch` videos; what is left at its end is dropped, and with fewer videos than that
    a batch is all of them. Adam at rate `lr`, multiplied by `lr_decay` after every epoch. `loss` is
    max_margin or mil_nce, `weighting` code or paper (see losses), `dtype` float32, or bfloat16 for
    autocast.

    Writes a state dict with the official names, the loss of every step (`rate` is the learning
    rate, `seconds` since the start) and a row for every video. The weights of the last whole
    epoch lie beside the output as `<name>.last.pt` until the end. On a CPU with the same number of
    threads the same seed gives the same bytes.
    Raises UserError for a setting that does not exist, when there are no pairs, and when loss or
    weights are no longer finite.
    """
    objective = _objective(loss, pairs_per_video, margin, intra_share, weighting)
    precision = _choose(dtype, DTYPES, "dtype")
    videos = videos_of(pairs)
    if not videos:
        raise UserError("the pairs tables hold no pair: see the status tables of that stage")
    if len(videos) < videos_per_batch:
        log.warning("%d videos are fewer than a batch of %d: all", len(videos), videos_per_batch)
    batch_videos = min(videos_per_batch, len(videos))
    torch.manual_seed(seed)
    place = choose_device(device)
    words = torch.from_numpy(Vocabulary.load(vocabulary).vectors).to(place)
    net = Net(dim, video_dim=2 * tables.FEATURE_DIM, word_dim=words.shape[1]).to(place)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    steps = epochs * (len(videos) // batch_videos)
    training = _Training(net, words, objective, optimizer, precision, run, steps)
    size = sum(p.numel() for p in net.parameters())
    log.info("%s: %d weights on %s, %d steps of %d videos", run, size, place, steps, batch_videos)
    last = output.with_name(f"{output.stem}.last.pt")
    for epoch in range(1, epochs + 1):
        for batch in draw_batches(
            pairs,
            videos_per_batch=batch_videos,
            pairs_per_video=pairs_per_video,
            max_words=max_words,
            seed=seed,
            epoch=epoch,
        ):
            training.step(batch, epoch)
        training.end_epoch(epoch, lr_decay)
        save(net, last)
    write_table(curve, training.curve, tables.CURVE)
    write_status(status, map(Outcome, videos))
    last.replace(output)


def save(net: Net, path: Path) -> None:
    """Write the weights, whole or not at all, as a plain state dict on the CPU."""
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    with whole_file(path) as part, part.open("wb") as file:
        torch.save(state, file)


def _choose(name: str, choices: Mapping[str, Choice], setting: str) -> Choice:
    if name not in choices:
        raise UserError(f"embedding.{setting} is {name}: choose one of {', '.join(choices)}")
    return choices[name]


def _objective(
    loss: str, pairs_per_video: int, margin: float, intra_share: float, weighting: str
) -> Loss:
    """The loss of a batch: network, word ids, word vectors, features to a number.

    MIL-NCE is defined on plain dot products, so it takes the embeddings before they are normalised.
    """
    form = _choose(weighting, {w.value: w for w in Weighting}, "weighting")

    def ranking(net: Net, ids: Tensor, words: Tensor, video: Tensor) -> Tensor:
        scores = net.embed_text(ids, words) @ net.embed_video(video).T
        return max_margin(scores.float(), pairs_per_video, margin, intra_share, form)

    def contrast(net: Net, ids: Tensor, words: Tensor, video: Tensor) -> Tensor:
        scores = net.embed_video(video, False) @ net.embed_text(ids, words, False).T
        return mil_nce(scores.float(), form)

    return _choose(loss, {"max_margin": ranking, "mil_nce": contrast}, "loss")


@dataclass
class _Training:
    """The network on its way."""

    net: Net
    words: Tensor
    loss: Loss
    optimizer: torch.optim.Optimizer
    dtype: torch.dtype
    run: str
    total: int
    curve: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    said: float = 0.0

    def step(self, batch: Batch, epoch: int) -> None:
        """One update. Raises UserError when the loss is not finite."""
        device = self.words.device
        ids = torch.from_numpy(batch.tokens).to(device)
        video = torch.from_numpy(batch.video).to(device).float()
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = self.loss(self.net, ids, self.words, video)
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(self._diverged(f"the loss became {value}", epoch))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._record(epoch, value, len(ids))

    def end_epoch(self, epoch: int, lr_decay: float) -> None:
        """Lower the learning rate. Raises UserError when a weight is not finite."""
        if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
            raise UserError(self._diverged("a weight became NaN or infinite", epoch))
        for group in self.optimizer.param_groups:
            group["lr"] *= lr_decay

    def _diverged(self, what: str, epoch: int) -> str:
        kept = f" (epoch {epoch - 1} is kept beside the output as .last.pt)" if epoch > 1 else ""
        return f"{what} in epoch {epoch} of {self.run}: lower embedding.lr{kept}"

    def _record(self, epoch: int, loss: float, pairs: int) -> None:
        now, done = time.monotonic(), len(self.curve) + 1
        self.curve.append(
            {
                "run": self.run,
                "epoch": epoch,
                "step": done,
                "loss": loss,
                "rate": self.optimizer.param_groups[0]["lr"],
                "seconds": now - self.started,
            }
        )
        if done == self.total or now - self.said >= 10:
            self.said = now
            speed = done / max(now - self.started, 1e-9)
            log.info(
                "%s: epoch %d, step %d/%d, loss %.5f, %.0f pairs/s, %.0f s to go",
                self.run,
                epoch,
                done,
                self.total,
                loss,
                speed * pairs,
                (self.total - done) / speed,
            )
