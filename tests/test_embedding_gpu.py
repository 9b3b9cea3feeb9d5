"""What a step of training asks of a GPU, without one: all on its device, and nothing waited for."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from howto100m.embedding.losses import Objective
from howto100m.embedding.model import Net
from howto100m.embedding.parallel import ALONE
from howto100m.embedding.train import Both
from numberless import CUDA, moved, numberless


def on_gpu(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=CUDA)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("loss", "captions"), [("max_margin", 7), ("mil_nce", 11)])
def test_a_step_stays_on_the_gpu_and_waits_for_nothing(
    loss: str, captions: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 pairs of 7 clips; gradients are made up, since PyTorch has none without a driver."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    candidates = 2 if loss == "mil_nce" else 1
    objective = Objective(loss, 3, 0.1, 0.5, "code", candidates)
    both = Both(Net(16, 24, 10), torch.randn(30, 10), objective.normalise)
    with numberless() as mode:
        moved(both, mode)
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            video = on_gpu(7, 24, dtype=torch.float16).float()
            text, seen = both(on_gpu(9), on_gpu(captions, 5), video)
            text, drawn = ALONE.gather_drawn(text, on_gpu(12 * candidates))
            seen, clips = ALONE.gather_drawn(seen, on_gpu(12))
            value = objective(text, seen, drawn, clips)
        assert seen.dtype == (torch.float32 if loss == "max_margin" else dtype)
        assert (value.device, value.dtype, value.shape) == (CUDA, torch.float32, ())
        weights = [p for p in both.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(weights, 0.1, fused=True)
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        optimizer.step()
        assert all(state["exp_avg"].device == CUDA for state in optimizer.state.values())


def test_a_tensor_without_numbers_tells_what_would_wait() -> None:
    with numberless(), pytest.raises(DynamicOutputShapeException):
        torch.unique(on_gpu(9))
    with numberless(), pytest.raises(RuntimeError, match=r"same device|different devices"):
        on_gpu(3) + torch.zeros(3)
