"""What the embedding learns from: max-margin ranking (the paper's) and MIL-NCE."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from howto100m.kinds import UserError


class Weighting(StrEnum):
    """Whose form of a loss: the authors' code, or their paper's formula."""

    CODE = "code"
    PAPER = "paper"


def pair_weights(
    videos: int, pairs_per_video: int, intra_share: float, weighting: Weighting
) -> tuple[float, float]:
    """Weights of negatives of the same video and of other videos, for videos x n pairs.

    Both forms give negatives of the same video the share `intra_share` of the whole weight. The
    code counts a pair itself among them, the paper's formula (appendix B) does not and comes out
    larger by n / (n - 1); the scale is the code's (mean weight 1) in both. Shares 0 and 1 work.
    """
    intra, inter = videos * intra_share, videos * (1 - intra_share) / max(videos - 1, 1)
    if weighting is Weighting.PAPER:
        intra *= pairs_per_video / (pairs_per_video - 1)
    return intra, inter


def max_margin(
    scores: Tensor,
    pairs_per_video: int,
    margin: float,
    intra_share: float,
    weighting: Weighting = Weighting.CODE,
    drawn: Tensor | None = None,
) -> Tensor:
    """The paper's ranking loss on similarities of N pairs, those of a video contiguous.

    Mean over all N x N entries of weight * (relu(margin + s_ij - s_ii) + relu(margin + s_ij -
    s_jj)). The diagonal adds a constant, as in the official code. One pair a video: all weights
    are 1. `scores` are [N, N], or [U, U] of the distinct pairs, with `drawn` [N] saying which of
    them each pair is: a pair drawn twice then counts twice, at the cost of one.
    """
    own = scores.diagonal()
    ranked = (margin + scores - own[:, None]).relu() + (margin + scores - own).relu()
    pairs = torch.arange(len(scores if drawn is None else drawn), device=scores.device)
    drawn = pairs if drawn is None else drawn
    # Not by bincount, which makes a CPU wait for a GPU.
    times = torch.zeros_like(own).index_add_(0, drawn, own.new_ones(len(drawn))) / len(drawn)
    weights = times[:, None] * times
    if pairs_per_video > 1:
        video = torch.empty_like(pairs[: len(scores)]).scatter_(0, drawn, pairs // pairs_per_video)
        videos = len(pairs) // pairs_per_video
        intra, inter = pair_weights(videos, pairs_per_video, intra_share, weighting)
        weights = weights * torch.where(video[:, None] == video, intra, inter)
    return (ranked * weights).sum()


def mil_nce(scores: Tensor, weighting: Weighting = Weighting.CODE) -> Tensor:
    """MIL-NCE (Miech et al. 2020) on dot products [B, B * K], rows = clips, columns = captions.

    A clip's K candidate captions are contiguous. The negatives are the other clips' captions and
    the other clips with its captions. The authors' code counts the positives twice among the
    terms of the denominator, the paper's formula once.
    """
    clips = len(scores)
    cube = scores.view(clips, clips, -1)
    own = torch.arange(clips, device=scores.device)
    positives = cube[own, own].logsumexp(dim=1)
    across = cube.transpose(0, 1)
    if weighting is Weighting.PAPER:
        across = across.masked_fill((own[:, None] == own)[:, :, None], -torch.inf)
    everything = torch.cat((cube, across), dim=1).flatten(1).logsumexp(dim=1)
    return (everything - positives).mean()


LOSSES = ("max_margin", "mil_nce")


@dataclass(frozen=True)
class Objective:
    """A loss with its settings, as a function of the embeddings of a batch.

    Raises UserError for a name that does not exist, and for candidates without MIL-NCE.
    """

    loss: str
    pairs_per_video: int
    margin: float
    intra_share: float
    weighting: str
    candidates: int = 1

    def __post_init__(self) -> None:
        _known("loss", self.loss, LOSSES)
        _known("weighting", self.weighting, [form.value for form in Weighting])
        if self.candidates > 1 and self.loss != "mil_nce":
            raise UserError(
                f"embedding.candidates is {self.candidates}: only mil_nce takes several"
            )

    @property
    def normalise(self) -> bool:
        """Whether it takes embeddings of length 1; MIL-NCE is defined on plain dot products."""
        return self.loss == "max_margin"

    def __call__(self, text: Tensor, video: Tensor, captions: Tensor, clips: Tensor) -> Tensor:
        """Distinct texts [C, d] and videos [V, d], and which of them the pairs are, to a number.

        `captions` [N * candidates] and `clips` [N] are rows of `text` and `video`. Similarities
        are computed once for what was drawn more than once.
        """
        form = Weighting(self.weighting)
        if self.loss == "mil_nce":
            scores = (video @ text.T).float()
            return mil_nce(scores.index_select(0, clips).index_select(1, captions), form)
        scores = (text @ video.T).float()
        return max_margin(scores, self.pairs_per_video, self.margin, self.intra_share, form, clips)


def _known(setting: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"embedding.{setting} is {value}: choose one of {', '.join(choices)}")
