import math

import pytest
import torch

from howto100m.embedding.losses import Objective, Weighting, max_margin, mil_nce, pair_weights

SIX = torch.arange(36).reshape(6, 6) * 7 % 36 / 36
FOUR = torch.tensor(
    [[0.9, 0.2, 0.1, 0], [0.3, 0.8, 0.25, 0.1], [0.1, 0.4, 0.3, 0.35], [0, 0.1, 0.2, 0.7]]
)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.50856483), (0.8, 0.43953711)])
def test_max_margin_weighs_as_the_official_code(share, expected):
    assert max_margin(SIX, 2, 0.1, share).item() == pytest.approx(expected, abs=1e-7)


def test_max_margin_of_one_pair_a_video_is_unweighted():
    assert max_margin(SIX, 1, 0.1, 0.5).item() == pytest.approx(0.54691356, abs=1e-7)
    assert max_margin(FOUR, 1, 0.1, 0.9).item() == pytest.approx(0.075, abs=1e-7)


def test_weights_of_the_published_batch():
    intra, inter = pair_weights(32, 64, 0.5, Weighting.CODE)
    assert (intra, inter) == (16, pytest.approx(0.516129, abs=1e-6))
    intra, inter = pair_weights(32, 64, 0.5, Weighting.PAPER)
    assert intra / inter == pytest.approx(31.492, abs=1e-3)
    assert 63 * intra + 64 * 31 * inter == pytest.approx(32 * 64)


@pytest.mark.parametrize("weighting", list(Weighting))
@pytest.mark.parametrize(("share", "seen"), [(0.0, False), (1.0, True)])
def test_shares_of_nothing_and_of_everything(weighting, share, seen):
    scores = SIX.clone().requires_grad_()
    max_margin(scores, 2, 1.0, share, weighting).backward()
    same_video = scores.grad[0, 1].item(), scores.grad[4, 5].item()
    other_videos = scores.grad[0, 2:].abs().sum() + scores.grad[2:4, :2].abs().sum()
    assert (min(map(abs, same_video)) > 0) is seen
    assert (other_videos.item() > 0) is not seen


def test_a_batch_of_one_video_has_only_its_own_negatives():
    assert math.isfinite(max_margin(SIX, 6, 0.1, 0.5).item())


def test_mil_nce_in_both_forms():
    video = torch.arange(32, dtype=torch.float64).reshape(4, 8).sin()
    text = torch.arange(96, dtype=torch.float64).reshape(12, 8).cos()
    scores = video @ text.T
    assert mil_nce(scores).item() == pytest.approx(2.8288748294, abs=1e-10)
    assert mil_nce(scores, Weighting.PAPER).item() == pytest.approx(2.7432009728, abs=1e-10)


def test_mil_nce_gradient_is_finite_in_both_forms():
    for weighting in Weighting:
        scores = SIX.clone().requires_grad_()
        mil_nce(scores, weighting).backward()
        assert scores.grad.isfinite().all()
        assert (scores.grad.diagonal() < 0).all()


@pytest.mark.parametrize(("loss", "candidates"), [("max_margin", 1), ("mil_nce", 3)])
@pytest.mark.parametrize("weighting", list(Weighting))
@pytest.mark.parametrize("pairs_per_video", [1, 4])
def test_what_is_drawn_twice_counts_twice_and_is_computed_once(
    loss, candidates, weighting, pairs_per_video
):
    objective = Objective(loss, pairs_per_video, 0.1, 0.7, weighting, candidates)
    clips = torch.tensor([0, 1, 0, 0, 3, 2, 4, 2])
    captions = torch.tensor([2, 0, 2, 2, 4, 3, 4, 3]) if candidates > 1 else clips
    if candidates > 1:
        captions = (captions[:, None] + torch.arange(candidates)).flatten()
    found = []
    for distinct in (True, False):
        torch.manual_seed(5)
        text = torch.randn(7 if candidates > 1 else 5, 6, requires_grad=True)
        video = torch.randn(5, 6, requires_grad=True)
        if distinct:
            loss_value = objective(text, video, captions, clips)
        else:
            each, own = torch.arange(len(captions)), torch.arange(len(clips))
            loss_value = objective(text[captions], video[clips], each, own)
        loss_value.backward()
        found.append((loss_value.detach(), text.grad, video.grad))
    for one, two in zip(*found, strict=True):
        assert one.abs().sum() > 0
        assert torch.allclose(one, two, atol=1e-6)
