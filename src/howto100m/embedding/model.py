"""The text-video embedding of the paper (section 4), parameter for parameter the official one."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from howto100m.features.checkpoint import fit, read_state
from howto100m.kinds import UserError


class SentenceMaxpool(nn.Module):
    """Word vectors to a sentence: a shared layer with ReLU, then the maximum over words.

    Padding rows (zeros) take part, as in the official code: they contribute relu(bias).
    """

    def __init__(self, word_dim: int, dim: int):
        super().__init__()
        self.fc = nn.Linear(word_dim, dim)

    def forward(self, words: Tensor) -> Tensor:
        """[B, max_words, word_dim] to [B, dim]."""
        return F.relu(self.fc(words)).amax(dim=1)

    def pool_ids(self, ids: Tensor, table: Tensor) -> Tensor:
        """Word ids [B, max_words] (0: padding) into `table` [n + 1, word_dim], to [B, dim].

        The same as `forward(table[ids])`, with the layer computed once a distinct word.
        """
        distinct, places = torch.unique(ids, return_inverse=True)
        return self.pool_places(table[distinct], places)

    def pool_places(self, words: Tensor, places: Tensor) -> Tensor:
        """Vectors of distinct words [u, word_dim], and which a text has [B, w], to [B, dim].

        Finding the distinct words makes a CPU wait for a GPU; here nothing does.
        """
        return cast("Tensor", _MaxOfRows.apply(F.relu(self.fc(words)), places))


class _MaxOfRows(torch.autograd.Function):
    """rows [u, d] that are not negative, places [B, w] to the maximum over rows[places] [B, d].

    A gather followed by a maximum would hold [B, w, d]. On a CPU numbers of 16 bits go block by
    block, each packed with its row into one integer, so that one maximum finds both (measured twice
    as fast as the bag); others go through a bag, which is one kernel on a GPU. Either keeps the
    winners alone. The bag's own gradient walks column by column, where one scatter does (measured
    40 times faster on a CPU).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.rows = len(rows)
        packs = rows.itemsize == 2 and len(rows) <= _PLACES and rows.device.type == "cpu"
        best, winners = (_packed_max if packs else _bag_max)(rows, places)
        ctx.save_for_backward(winners)
        return best

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (winners,) = ctx.saved_tensors
        (gradient,) = gradients
        # A GPU adds one at a time, and in 16 bits a sum would soon stand still; a CPU does not.
        dtype = gradient.dtype
        if gradient.is_cuda:
            dtype = torch.promote_types(dtype, torch.float32)
        sums = gradient.new_zeros(ctx.rows, gradient.shape[1], dtype=dtype)
        sums.scatter_add_(0, winners.long(), gradient.to(dtype))
        return sums.to(gradient.dtype), None


def _bag_max(rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    bags = torch.arange(0, places.numel(), places.shape[1], device=places.device)
    best, _, _, winners = torch.embedding_bag(rows, places.flatten(), bags, mode=2)
    return best, winners


def _packed_max(rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """For 16 bits: those of numbers >= 0 are in order as integers, so the number goes on top."""
    order = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
    packed = rows.abs().view(torch.int16).int().mul_(_PLACES).add_(order[:, None])
    best = torch.cat([packed[block].amax(1) for block in torch.split(places, _BLOCK)])
    return (best >> 16).short().view(rows.dtype), best.bitwise_and_(_PLACES - 1)


_PLACES = 1 << 16
_BLOCK = 16
"""Captions at a time: their words' rows of 4096 numbers stay in a CPU's cache."""


class ContextGating(nn.Module):
    """x * sigmoid(W x + b). The batch norm is in the official files and takes no part."""

    def __init__(self, dim: int):
        super().__init__()
        self.fc = nn.Linear(dim, dim)
        self.batch_norm = nn.BatchNorm1d(dim).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, dim] to [B, dim]."""
        return x * torch.sigmoid(self.fc(x))


class GatedEmbeddingUnit(nn.Module):
    """A linear layer, context gating, and length 1."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.fc = nn.Linear(in_dim, dim)
        self.cg = ContextGating(dim)

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        """[B, in_dim] to [B, dim], each row of length 1 unless told otherwise."""
        gated = cast("Tensor", self.cg(self.fc(x)))
        return F.normalize(gated, dim=1) if normalise else gated


class Net(nn.Module):
    """Text and video in one space of `dim` numbers.

    The 20 entries of its state dict have the names and shapes of the official checkpoints, so
    weights go both ways. `sentence_dim` is the width of the pooled sentence (`dim` when absent).
    """

    def __init__(
        self, dim: int, video_dim: int = 4096, word_dim: int = 300, sentence_dim: int | None = None
    ):
        super().__init__()
        self.text_pooling = SentenceMaxpool(word_dim, sentence_dim or dim)
        self.GU_text = GatedEmbeddingUnit(sentence_dim or dim, dim)
        self.GU_video = GatedEmbeddingUnit(video_dim, dim)

    def forward(self, words: Tensor, video: Tensor) -> Tensor:
        """Texts [B, max_words, word_dim] and videos [C, 4096] to their similarities [B, C]."""
        text = cast("Tensor", self.GU_text(self.text_pooling(words)))
        return text @ self.embed_video(video).T

    def embed_text(self, ids: Tensor, table: Tensor, normalise: bool = True) -> Tensor:
        """Texts as word ids [B, max_words] into `table` [n + 1, word_dim], to [B, dim]."""
        pooled = self.text_pooling.pool_ids(ids, table)
        return cast("Tensor", self.GU_text(pooled, normalise))

    def embed_video(self, video: Tensor, normalise: bool = True) -> Tensor:
        """Pooled features [C, 4096] to [C, dim]."""
        return cast("Tensor", self.GU_video(video, normalise))


def load_net(path: Path, device: torch.device) -> Net:
    """The network of a checkpoint, ours or an official one; its widths come from its shapes.

    Raises UserError when the file is missing, is no such network or holds NaN.
    """
    state = read_state(path)
    try:
        sentence_dim, word_dim = state["text_pooling.fc.weight"].shape
        dim, video_dim = state["GU_video.fc.weight"].shape
    except (KeyError, ValueError):
        raise UserError(f"{path} is not a checkpoint of the embedding") from None
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise UserError(f"{path} holds NaN or infinite weights: train again")
    net = Net(dim, video_dim, word_dim, sentence_dim)
    fit(net, path, "the embedding")
    return net.to(device).eval()
