"""Tables and a network whose searches are known beforehand: a clip shows what its words name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from howto100m import tables
from howto100m.embedding.model import Net
from howto100m.features.files import LAYOUT
from howto100m.shards import shard_path, table_writer, write_table

WORDS = ("cut", "onion", "knit", "scarf", "red", "wool", "peel", "carrot", "sand", "wood")
DIM = 300

Clip = tuple[float, float, str, str]
"""Start, end (s), what is said, what is shown."""


def write_network(path: Path) -> Path:
    """Text and video go into the space unchanged: a cosine of words said and words shown."""
    net = Net(DIM)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.text_pooling.fc.weight.copy_(torch.eye(DIM))
        net.GU_text.fc.weight.copy_(torch.eye(DIM))
        net.GU_video.fc.weight[:, :DIM] = torch.eye(DIM)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return path


def vector(words: str, dim: int) -> np.ndarray:
    found = np.zeros(dim, np.float32)
    found[[WORDS.index(word) for word in words.split()]] = 1
    return found


def write_results(
    folder: Path, shards: Sequence[dict[str, Sequence[Clip]]], paths: dict[str, Path] | None = None
) -> Path:
    """The tables that an index is made of; videos with "food" in their id are of Food."""
    rows = [
        {"word": word, "count": 1, "vector": vector(word, DIM).astype("<f4").tobytes()}
        for word in WORDS
    ]
    write_table(folder / "vocabulary" / "vocabulary.parquet", rows, tables.VOCABULARY)
    write_network(folder / "embedding" / "max_margin-1.pth")
    for shard, videos in enumerate(shards):
        clips, listed, media = [], [], []
        pairs = shard_path(folder / "pairs", shard)
        with table_writer(pairs, tables.PAIRS, **LAYOUT) as writer:
            for video_id, lines in videos.items():
                of_video = []
                for number, (start, end, said, shown) in enumerate(lines):
                    place = {"video_id": video_id, "clip": number, "start": start, "end": end}
                    clips.append(place | {"text": said, "raw_text": said, "word_starts": None})
                    feature = vector(shown, 4096).astype("<f2").tobytes()
                    of_video.append(place | {"tokens": [1], "feature": feature})
                writer.write_table(tables.PAIRS.empty_table().from_pylist(of_video, tables.PAIRS))
                listed.append(
                    {"video_id": video_id, "task_id": "1", "rank": 1, "tasks": []}
                    | {"category_1": "Food" if "food" in video_id else "Crafts", "category_2": ""}
                    | {"title": f"How to <b>{video_id}</b>", "channel": ""}
                )
                if paths and video_id in paths:
                    media.append(
                        {"video_id": video_id, "path": str(paths[video_id]), "bytes": 1}
                        | {"sha256": "", "width": 64, "height": 48, "duration": 1.0}
                    )
        write_table(shard_path(folder / "clips", shard), clips, tables.CLIPS)
        write_table(shard_path(folder / "videos", shard), listed, tables.VIDEOS)
        if media:
            write_table(shard_path(folder / "media", shard), media, tables.MEDIA)
    return folder


SHARDS: list[dict[str, Sequence[Clip]]] = [
    {
        "food0000001": [
            (0.0, 4.0, "hello", "wood"),
            (4.0, 8.0, "cut it <script>alert(1)</script>", "cut onion"),
            (8.0, 12.0, "peel that", "peel carrot"),
        ],
        "yarn0000001": [(0.0, 5.0, "take this", "knit scarf"), (5.0, 9.5, "now", "red wool")],
    },
    {"food0000002": [(1.5, 6.5, "an onion", "onion"), (6.5, 9.0, "", "cut carrot")]},
]
