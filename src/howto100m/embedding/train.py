"""Training the embedding on pairs."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from howto100m import tables
from howto100m.devices import keep_memory
from howto100m.embedding.curve import Curve, plotted
from howto100m.embedding.data import (
    Batch,
    Sampling,
    ahead,
    draw_batches,
    pairs_by_video,
)
from howto100m.embedding.losses import Objective
from howto100m.embedding.model import Net, load_net
from howto100m.embedding.parallel import Team, join
from howto100m.embedding.resume import Resume, Standing, fingerprint
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.kinds import UserError
from howto100m.shards import Outcome, whole_file, write_status, write_table

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
    only: frozenset[str] | None = None,
    save_every: float = 600.0,
    tensorboard: Path | None = None,
) -> None:
    """Train the embedding as published (section 4, and the official training loop).

    An epoch draws `pairs_per_video` pairs with replacement from every video, in batches of
    `videos_per_batch` videos, or with `every_pair` takes every pair once; what is left at its end
    is dropped, and with fewer videos (pairs) than that a batch is all of them. Adam at rate `lr`,
    multiplied by `lr_decay` after every epoch. `loss` is max_margin or mil_nce, with the captions
    of `candidates` pairs for each clip, `weighting` code or paper (see losses), `dtype` float32,
    tf32 (on a GPU) or bfloat16 (autocast). With `init`, a checkpoint, training starts from its
    weights, and `dim` is not looked at. With `only`, the other videos' pairs are left out. Within
    torchrun each process takes its part of every batch.

    Writes a state dict with the official names, the loss of every step (`rate` is the learning
    rate, `seconds` of training since the start) and a row for every video. Where it stands lies
    beside the output as `<name>.resume.pt` until the end, written every `save_every` seconds, and
    after an epoch when a tenth of that has passed: stopped, the same call goes on from there. On a
    CPU with the same number of
    threads the same seed gives the same bytes, stopped on the way or not.
    Raises UserError for a setting that does not exist, when there are no pairs, and when loss or
    weights are no longer finite.
    """
    if every_pair and pairs_per_video > 1:
        raise UserError("embedding.every_pair draws pairs, not videos: set pairs_per_video to 1")
    objective = Objective(loss, pairs_per_video, margin, intra_share, weighting, candidates)
    videos = pairs_by_video(pairs, only)
    if only is not None:
        log.info("%s: %d videos of the %d that were asked for", run, len(videos), len(only))
    if not videos:
        raise UserError("the pairs tables hold no pair: see the status tables of that stage")
    keep_memory()
    with join(device) as (team, place):
        what, number = ("pairs", sum(videos.values())) if every_pair else ("videos", len(videos))
        size = batch_size(videos_per_batch, number, what, team)
        sampling = Sampling(size, pairs_per_video, max_words, candidates, every_pair, only)
        torch.manual_seed(seed)
        words = torch.from_numpy(Vocabulary.load(vocabulary).vectors).to(place)
        net = _network(init, dim, words.shape[1], place)
        settings = (
            asdict(objective)
            | asdict(sampling)
            | {
                "dim": net.GU_video.fc.out_features,
                "epochs": epochs,
                "lr": lr,
                "lr_decay": lr_decay,
                "seed": seed,
                "dtype": dtype,
                "init": init and fingerprint([init]),
                "data": fingerprint([*pairs, vocabulary]),
                "only": only and blake2b(" ".join(sorted(only)).encode()).hexdigest(),
            }
        )
        training = _Training(
            net,
            team.share(Both(net, words, objective.normalise)),
            objective,
            torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr, fused=True),
            team,
            _precision(dtype, place),
            Curve(run, epochs * (number // size)),
            Resume(output.with_suffix(".resume.pt"), settings),
            save_every,
        )
        weights = sum(p.numel() for p in net.parameters())
        log.info(
            "%s: %d weights on %s, %d steps of %d %s",
            *(run, weights, place, training.curve.total, size, what),
        )
        begun, done = training.resume()
        with plotted(training.curve, tensorboard if team.leads else None):
            for epoch in range(begun, epochs + 1):
                drawn = draw_batches(pairs, sampling, team, seed=seed, epoch=epoch, first=done)
                for step, batch in enumerate(ahead(map(training.fetch, drawn)), done + 1):
                    training.step(batch, epoch, step)
                training.end_epoch(epoch, lr_decay)
                done = 0
        training.check()
        if team.leads:
            write_table(curve, training.curve.table(), tables.CURVE)
            write_status(status, map(Outcome, videos))
            save(net, output)
            training.file.remove()


def batch_size(wanted: int, there: int, what: str, team: Team) -> int:
    """How many videos (or pairs) a batch has, over all processes."""
    if there < wanted:
        log.warning("%d %s are fewer than a batch of %d: all", there, what, wanted)
    elif wanted % team.size:
        raise UserError(
            f"embedding.videos_per_batch is {wanted}: {team.size} processes cannot share it evenly"
        )
    size = min(wanted, there) // team.size * team.size
    if not size:
        raise UserError(f"{there} {what} are fewer than the {team.size} processes")
    return size


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


class Both(nn.Module):
    """Both embeddings of a batch in one call, for DDP hooks into calls."""

    def __init__(self, net: Net, words: Tensor, normalise: bool):
        super().__init__()
        self.net, self.normalise = net, normalise
        self.words = nn.Buffer(words, persistent=False)

    def forward(self, words: Tensor, places: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct captions and clips of a batch to embeddings [C, dim] and [V, dim].

        `words` [u] are the ids of the captions' words, `places` [C, max_words] which they have.
        """
        pooled = self.net.text_pooling.pool_places(self.words[words], places)
        return self.net.GU_text(pooled, self.normalise), self.net.embed_video(video, self.normalise)


@dataclass
class _Training:
    """The network on its way."""

    net: Net
    both: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    team: Team
    dtype: torch.dtype
    curve: Curve
    file: Resume
    save_every: float
    _saved: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.net.GU_video.fc.weight.device

    def resume(self) -> tuple[int, int]:
        """Go to where an earlier run of these settings stood: its epoch, and the steps done in it.

        The leading process looks first, since it may put the file aside.
        """
        standing = self.file.load() if self.team.leads else None
        self.team.wait()
        standing = standing if self.team.leads else self.file.load()
        if standing is None:
            return 1, 0
        self.net.load_state_dict(standing.state_dict)
        self.optimizer.load_state_dict(standing.optimizer)
        torch.set_rng_state(standing.random)
        self.curve.restore(standing.curve)
        log.info("%s: goes on behind step %d", self.file.path, len(self.curve))
        return standing.epoch, standing.step

    def fetch(self, batch: Batch) -> list[Tensor]:
        """A batch as tensors, where a GPU can copy them from while it computes.

        What `Both` takes, then which captions and clips the pairs are.
        """
        words, places = np.unique(batch.tokens, return_inverse=True)
        places = places.reshape(batch.tokens.shape)
        arrays = (words, places, batch.video, batch.captions, batch.clips)
        tensors = [torch.from_numpy(array) for array in arrays]
        if self.device.type == "cpu":
            return tensors
        with torch.cuda.device(self.device):  # a thread's own, and else the first
            return [tensor.pin_memory() for tensor in tensors]

    def step(self, batch: list[Tensor], epoch: int, step: int) -> None:
        """One update. Raises UserError when losses are not finite, maybe some steps later."""
        device = self.device
        parts = [part.to(device, non_blocking=True) for part in batch]
        words, places, video, captions, clips = parts
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            text, seen = self.both(words, places, video.float())
            text, captions = self.team.gather_drawn(text, captions)
            seen, clips = self.team.gather_drawn(seen, clips)
            loss: Tensor = self.objective(text, seen, captions, clips)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        try:
            rate = self.optimizer.param_groups[0]["lr"]
            self.curve.add(epoch, loss, rate, len(clips))
        except UserError as error:
            raise self._diverged(error) from None
        if self._since_save() >= self.save_every:
            self.save(epoch, step)

    def end_epoch(self, epoch: int, lr_decay: float) -> None:
        """Lower the learning rate, and save if that is due. Raises as `check`."""
        for group in self.optimizer.param_groups:
            group["lr"] *= lr_decay
        if not self.file.path.exists() or self._since_save() >= self.save_every / 10:
            self.save(epoch + 1, 0)

    def check(self) -> None:
        """Raise UserError when a loss or a weight is not finite."""
        try:
            self.curve.look()
            if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
                raise UserError(f"a weight became NaN or infinite by step {len(self.curve)}")
        except UserError as error:
            raise self._diverged(error) from None

    def save(self, epoch: int, step: int) -> None:
        """Write where training stands. Raises as `check`."""
        self.check()
        if self.team.leads:
            curve = self.curve.state()
            state, optimizer = self.net.state_dict(), self.optimizer.state_dict()
            self.file.save(Standing(epoch, step, state, optimizer, torch.get_rng_state(), curve))
        self._saved = time.monotonic()

    def _since_save(self) -> float:
        return time.monotonic() - self._saved

    def _diverged(self, error: UserError) -> UserError:
        path = self.file.path
        kept = f" (the last good weights are kept in {path})" if path.exists() else ""
        return UserError(f"{self.curve.run}: {error}: lower embedding.lr{kept}")
