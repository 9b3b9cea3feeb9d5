"""Training the embedding on pairs."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.embedding.data import Batch, Sampling, count_pairs, draw_batches, videos_of
from howto100m.embedding.losses import Objective
from howto100m.embedding.model import Net, load_net
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.kinds import UserError
from howto100m.shards import Outcome, Row, whole_file, write_status, write_table

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


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
    candidates: int = 1,
    every_pair: bool = False,
    init: Path | None = None,
) -> None:
    """Train the embedding as published (section 4, and the official training loop).

    An epoch draws `pairs_per_video` pairs with replacement from every video, in batches of
    `videos_per_batch` videos, or with `every_pair` takes every pair once; what is left at its end
    is dropped, and with fewer videos (pairs) than that a batch is all of them. Adam at rate `lr`,
    multiplied by `lr_decay` after every epoch. `loss` is max_margin or mil_nce, with the captions
    of `candidates` pairs for each clip, `weighting` code or paper (see losses), `dtype` float32,
    tf32 (on a GPU) or bfloat16 (autocast). With `init`, a checkpoint, training starts from its
    weights, and `dim` is not looked at.

    Writes a state dict with the official names, the loss of every step (`rate` is the learning
    rate, `seconds` since the start) and a row for every video. The weights of the last whole
    epoch lie beside the output as `<name>.last.pt` until the end. On a CPU with the same number of
    threads the same seed gives the same bytes.
    Raises UserError for a setting that does not exist, when there are no pairs, and when loss or
    weights are no longer finite.
    """
    objective = Objective(
        loss, 1 if every_pair else pairs_per_video, margin, intra_share, weighting, candidates
    )
    if every_pair and pairs_per_video > 1:
        raise UserError("embedding.every_pair draws pairs, not videos: set pairs_per_video to 1")
    place = choose_device(device)
    precision = _precision(dtype, place)
    videos = videos_of(pairs)
    if not videos:
        raise UserError("the pairs tables hold no pair: see the status tables of that stage")
    what, number = ("pairs", count_pairs(pairs)) if every_pair else ("videos", len(videos))
    if number < videos_per_batch:
        log.warning("%d %s are fewer than a batch of %d: all", number, what, videos_per_batch)
    sampling = Sampling(
        min(videos_per_batch, number), pairs_per_video, max_words, candidates, every_pair
    )
    torch.manual_seed(seed)
    words = torch.from_numpy(Vocabulary.load(vocabulary).vectors).to(place)
    net = _network(init, dim, words.shape[1], place)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    steps = epochs * (number // sampling.videos_per_batch)
    training = _Training(net, words, objective, optimizer, precision, run, steps)
    size = sum(p.numel() for p in net.parameters())
    log.info(
        "%s: %d weights on %s, %d steps of %d %s",
        *(run, size, place, steps, sampling.videos_per_batch, what),
    )
    last = output.with_name(f"{output.stem}.last.pt")
    for epoch in range(1, epochs + 1):
        for batch in draw_batches(pairs, sampling, seed=seed, epoch=epoch):
            training.step(batch, epoch)
        training.end_epoch(epoch, lr_decay)
        save(net, last)
    write_table(curve, training.curve, tables.CURVE)
    write_status(status, map(Outcome, videos))
    last.replace(output)


def _network(init: Path | None, dim: int, word_dim: int, device: torch.device) -> Net:
    """A fresh network, or the one of a checkpoint if it takes these words and features."""
    video_dim = 2 * tables.FEATURE_DIM
    if init is None:
        return Net(dim, video_dim, word_dim).to(device)
    net = load_net(init, device).train()
    takes = net.text_pooling.fc.in_features, net.GU_video.fc.in_features
    if takes != (word_dim, video_dim):
        raise UserError(
            f"{init} takes word vectors of {takes[0]} numbers and features of {takes[1]};"
            f" these have {word_dim} and {video_dim}"
        )
    return net


def _precision(dtype: str, device: torch.device) -> torch.dtype:
    """The type that autocast computes in. Raises UserError for one that the device lacks."""
    if dtype not in DTYPES:
        raise UserError(f"embedding.dtype is {dtype}: choose one of {', '.join(DTYPES)}")
    if dtype == "tf32" and device.type == "cpu":
        raise UserError("embedding.dtype is tf32, which a CPU does not have: choose bfloat16")
    torch.backends.cuda.matmul.fp32_precision = "tf32" if dtype == "tf32" else "ieee"
    return DTYPES[dtype]


def save(net: Net, path: Path) -> None:
    """Write the weights, whole or not at all, as a plain state dict on the CPU."""
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    with whole_file(path) as part, part.open("wb") as file:
        torch.save(state, file)


@dataclass
class _Training:
    """The network on its way."""

    net: Net
    words: Tensor
    objective: Objective
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
            normalise = self.objective.normalise
            text = self.net.embed_text(ids, self.words, normalise)
            loss = self.objective(text, self.net.embed_video(video, normalise))
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(self._diverged(f"the loss became {value}", epoch))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._record(epoch, value, len(video))

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
