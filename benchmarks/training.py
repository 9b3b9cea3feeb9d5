"""Training against a plain loop: pairs a second, agreement of the losses, bytes read a pair.

    .venv/bin/python benchmarks/training.py /tmp/training --steps 4

Both sides train the paper's network on the same draws of the same made-up videos (as long, and
narrated as much, as the paper's on average). The plain side works as the official code: a data
loader of several processes opens the whole features of each video (.npy), grows, pools and
normalises every drawn clip, cuts its caption into words and looks their vectors up; float32, every
word of every caption through the text layer, PyTorch's default Adam.
"""

import argparse
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.embedding.curve import Curve
from howto100m.embedding.data import Batch, Drawn, Sampling, draw
from howto100m.embedding.losses import max_margin
from howto100m.embedding.model import Net
from howto100m.embedding.train import train_embedding
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.features.files import LAYOUT, write_vectors
from howto100m.features.pairs import RATE_2D, RATE_3D, grow, pair_clips
from howto100m.shards import table_writer, write_table

PAPER_VIDEOS = 1_220_000
SECONDS, CLIPS, CLIP_WORDS, WORDS = 390, 110, 4, 20_000
MAX_WORDS, SEED, LR, DECAY = 20, 1, 1e-4, 0.9


@dataclass(frozen=True)
class Lines:
    """The subtitle lines of one video."""

    starts: list[float]
    ends: list[float]
    texts: list[str]


@dataclass(frozen=True)
class Batches:
    """How large a batch is, and how many make an epoch."""

    videos: int
    pairs: int
    dim: int = 4096
    """Width of the network that trains on them."""

    def sampling(self) -> Sampling:
        """As training takes it."""
        return Sampling(self.videos, self.pairs, MAX_WORDS)


def make_data(folder: Path, videos: int) -> dict[str, Lines]:
    """Features as .npy files and as tables, captions, word vectors; the pairs of one shard."""
    random = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(WORDS)])
    often = 1 / np.arange(1, WORDS + 1)
    vectors = random.normal(0, 2 / 300**0.5, (WORDS, 300)).astype("<f4")
    rows = [
        {"word": w, "count": 1, "vector": v.tobytes()} for w, v in zip(words, vectors, strict=True)
    ]
    write_table(folder / "words.parquet", rows, tables.VOCABULARY)
    lines: dict[str, Lines] = {}
    for number in range(videos):
        starts = np.sort(random.random(CLIPS)) * (SECONDS - 5)
        ends = starts + 1 + 6 * random.random(CLIPS)
        spoken = random.choice(words, (CLIPS, CLIP_WORDS), p=often / often.sum())
        texts = [" ".join(line) for line in spoken]
        lines[f"video{number:05d}"] = Lines(starts.tolist(), ends.tolist(), texts)
    write_features(folder, list(lines), random)
    clips = [
        {"video_id": v, "clip": i, "start": s, "end": e, "text": t, "raw_text": t}
        for v, of in lines.items()
        for i, (s, e, t) in enumerate(zip(of.starts, of.ends, of.texts, strict=True))
    ]
    write_table(folder / "clips.parquet", clips, tables.CLIPS)
    pair_clips(
        *(folder / f"{name}.parquet" for name in ("clips", "2d", "3d", "words", "00000", "status")),
        min_seconds=5.0,
        min_words=0,
        max_words=MAX_WORDS,
        max_failed=0.0,
    )
    return lines


def write_features(folder: Path, videos: Sequence[str], random: np.random.Generator) -> None:
    for name, rate in (("2d", RATE_2D), ("3d", RATE_3D)):
        with table_writer(folder / f"{name}.parquet", tables.FEATURES, **LAYOUT) as writer:
            for video in videos:
                # Most numbers near zero, as networks give them: clips are far from alike.
                found = random.random((int(SECONDS * rate), 2048), np.float32) ** 24
                found = found.astype("<f2")
                np.save(folder / f"{video}.{name}.npy", found)
                write_vectors(writer, video, found, rate)


@dataclass
class PlainVideos(Dataset):
    """One item a video, made from its whole features, as the official loader does."""

    folder: Path
    lines: dict[str, Lines]
    vectors: dict[str, np.ndarray]
    items: list[tuple[str, np.ndarray]]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        video, clips = self.items[item]
        lines = self.lines[video]
        rows = {
            rate: torch.from_numpy(np.load(self.folder / f"{video}.{name}.npy")).float()
            for name, rate in (("2d", RATE_2D), ("3d", RATE_3D))
        }
        counts = [len(text.split()) for text in lines.texts]
        features, texts = torch.zeros(len(clips), 4096), torch.zeros(len(clips), MAX_WORDS, 300)
        for place, clip in enumerate(clips):
            start, end, grown = grow(lines.starts, lines.ends, counts, int(clip), 5.0, 0)
            halves = [
                of[int(start * rate) : int(end * rate) + 1].max(dim=0).values
                for rate, of in rows.items()
            ]
            features[place] = torch.cat([torch.nn.functional.normalize(h, dim=0) for h in halves])
            spoken = re.findall(r"[\w']+", " ".join(lines.texts[i] for i in grown))
            found = [self.vectors[word] for word in spoken if word in self.vectors][:MAX_WORDS]
            texts[place, : len(found)] = torch.from_numpy(np.stack(found))
        return texts, features


@dataclass
class Steps:
    """What was measured behind each step."""

    losses: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)

    def note(self, loss: float) -> None:
        """A step is done."""
        self.losses.append(loss)
        self.times.append(time.monotonic())
        self.used.append(processor_seconds())

    def speed(self, pairs: int) -> float:
        """Pairs a second, the first step left out."""
        return (len(self.times) - 1) * pairs / (self.times[-1] - self.times[0])

    def cost(self, pairs: int) -> float:
        """Processor seconds for 1000 pairs, the first step left out."""
        return 1000 * (self.used[-1] - self.used[0]) / ((len(self.used) - 1) * pairs)


def drawn(folder: Path, batches: Batches, epoch: int) -> Iterator[list[Drawn]]:
    return draw([folder / "00000.parquet"], batches.sampling(), seed=SEED, epoch=epoch)


def plain(
    folder: Path, lines: dict[str, Lines], batches: Batches, epochs: int, device: str, workers: int
) -> Steps:
    """Train as the official code does."""
    place = choose_device(device)
    torch.manual_seed(SEED)
    net = Net(batches.dim).to(place)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    words = Vocabulary.load(folder / "words.parquet")
    vectors = {word: words.vectors[row] for word, row in words.ids.items()}
    steps = Steps()
    for epoch in range(1, epochs + 1):
        items = [
            (one.shard.videos[one.video], one.pairs)
            for batch in drawn(folder, batches, epoch)
            for one in batch
        ]
        videos = PlainVideos(folder, lines, vectors, items)
        loader = DataLoader(
            videos, batches.videos, num_workers=workers, pin_memory=place.type == "cuda"
        )
        for texts, features in loader:
            scores = net(texts.to(place).flatten(0, 1), features.to(place).flatten(0, 1))
            loss = max_margin(scores, batches.pairs, 0.1, 0.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.note(loss.item())
        for group in optimizer.param_groups:
            group["lr"] *= DECAY
    return steps


def ours(folder: Path, batches: Batches, epochs: int, device: str, dtype: str) -> Steps:
    """Train as `howto100m embedding` does; a look at the clock behind each step is added."""
    steps, add = Steps(), Curve.add

    def noted(curve: Curve, epoch: int, loss: torch.Tensor, rate: float, pairs: int) -> None:
        add(curve, epoch, loss, rate, pairs)
        steps.note(loss.item())

    with patch.object(Curve, "add", noted):
        train(folder, batches, epochs, device, dtype)
    return steps


def train(folder: Path, batches: Batches, epochs: int, device: str, dtype: str) -> None:
    (folder / "net.resume.pt").unlink(missing_ok=True)
    train_embedding(
        [folder / "00000.parquet"],
        folder / "words.parquet",
        *(folder / name for name in ("net.pth", "curve.parquet", "net.status.parquet")),
        run=dtype,
        dim=batches.dim,
        max_words=MAX_WORDS,
        videos_per_batch=batches.videos,
        pairs_per_video=batches.pairs,
        epochs=epochs,
        lr=LR,
        lr_decay=DECAY,
        loss="max_margin",
        margin=0.1,
        intra_share=0.5,
        weighting="code",
        seed=SEED,
        device=device,
        dtype=dtype,
    )


def step_flops(batch: Batch, dim: int = 4096) -> float:
    """Multiplications and additions of our step, both passes, without what is not a product.

    A layer costs its product three times, but twice where its input is data and needs no gradient.
    """
    words, texts, clips = len(np.unique(batch.tokens)), len(batch.tokens), len(batch.video)
    text = 2 * words * 300 * dim + 6 * texts * dim * dim
    video = 2 * clips * 4096 * dim + 3 * clips * dim * dim
    return 2.0 * (text + video + 3 * texts * clips * dim)


def matmul_limit(device: str, dtype: str, seconds: float = 3.0) -> float:
    """Operations a second of plain products of the step's largest shape."""
    place = choose_device(device)
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    a, b = (torch.randn(n, 4096, dtype=kind, device=place) for n in (2048, 4096))
    a @ b.T
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        for _ in range(4):
            a @ b.T
        if place.type == "cuda":
            torch.cuda.synchronize()
        count += 4
    return count * 2.0 * 2048 * 4096 * 4096 / (time.monotonic() - began)


def bytes_read(folder: Path, batches: Batches) -> tuple[float, float, float]:
    """Bytes a drawn pair of both sides by their formats, and ours as read from the disk."""
    with (folder / "00000.parquet").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    videos = [one for batch in drawn(folder, batches, 1) for one in batch]
    before = disk_reads()
    touched = sum(one.read(MAX_WORDS, 1).video.nbytes for one in videos)
    from_disk = disk_reads() - before
    pairs = len(videos) * batches.pairs
    whole = sum((folder / f"video00000.{name}.npy").stat().st_size for name in ("2d", "3d"))
    return whole / batches.pairs, touched / pairs, from_disk / pairs


def disk_reads() -> int:
    """Bytes that this process had fetched from a disk."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["read_bytes"])


def processor_seconds() -> float:
    """Of this process and of its children, those that load for it now too."""
    at_work = (child.cpu_times() for child in psutil.Process().children())
    return sum(os.times()[:4]) + sum(times.user + times.system for times in at_work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for made-up data: 13 MB a video; kept")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of 32 x 64 pairs")
    parser.add_argument("--equal-steps", type=int, default=50, help="compared, of 8 x 16 pairs")
    parser.add_argument("--equal-dim", type=int, default=4096, help="width for that comparison")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the plain loader")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    settings = parser.parse_args()
    folder, device = settings.folder, settings.device
    folder.mkdir(parents=True, exist_ok=True)
    published, small = Batches(32, 64), Batches(8, 16, settings.equal_dim)
    lines = make_data(folder, published.videos * (settings.steps + 1))
    by_format, touched, from_disk = bytes_read(folder, published)
    print(
        f"bytes a pair: plain {by_format:.0f}, ours {touched:.0f}, from disk {from_disk:.0f}",
        flush=True,
    )

    size = published.videos * published.pairs
    base = plain(folder, lines, published, 1, device, settings.workers)
    print(
        f"plain float32: {base.speed(size):.1f} pairs/s, {base.cost(size):.2f} processor seconds"
        f" for 1000 pairs, last loss {base.losses[-1]:.6f}",
        flush=True,
    )
    parts = [one.read(MAX_WORDS, 1) for one in next(drawn(folder, published, 1))]
    flops = step_flops(Batch.join(parts))
    for dtype in settings.dtypes:
        found = ours(folder, published, 1, device, dtype)
        share = flops * found.speed(size) / size / matmul_limit(device, dtype)
        hours = PAPER_VIDEOS * 64 / found.speed(size) / 3600
        print(
            f"ours {dtype}: {found.speed(size):.1f} pairs/s"
            f" ({found.speed(size) / base.speed(size):.2f} times plain), {found.cost(size):.2f}"
            f" processor seconds for 1000 pairs ({base.cost(size) / found.cost(size):.2f} times"
            f" fewer), {share:.0%} of the limit of matmul, last loss {found.losses[-1]:.6f};"
            f" {hours:.1f} h an epoch of {PAPER_VIDEOS} videos",
            flush=True,
        )
    if settings.equal_steps:
        epochs = -(-settings.equal_steps // (len(lines) // small.videos))
        one = plain(folder, lines, small, epochs, device, settings.workers).losses
        two = ours(folder, small, epochs, device, "float32").losses
        apart = np.abs(np.array(one) - two)
        print(
            f"{len(one)} equal steps in float32: losses at most {apart.max():.1e} apart, the last"
            f" {one[-1]:.6f} and {two[-1]:.6f}"
        )


if __name__ == "__main__":
    main()
