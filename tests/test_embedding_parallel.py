"""Several processes train as one does."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from howto100m.embedding.parallel import Team
from howto100m.embedding.train import batch_size
from howto100m.kinds import UserError
from howto100m.shards import read_table
from training import ENV, command, make_stage, train

GRADIENTS = """
import sys
import torch
from howto100m.embedding.losses import Objective
from howto100m.embedding.model import Net
from howto100m.embedding.parallel import join
from howto100m.embedding.train import Both

torch.manual_seed(0)
net, table, found = Net(16, 24, 10), torch.randn(30, 10), {}
ids, video = torch.randint(0, 30, (2 * 12, 5)), torch.randn(12, 24)
with join("cpu") as (team, place):
    for loss, candidates in (("max_margin", 1), ("mil_nce", 2)):
        objective = Objective(loss, 3, 0.1, 0.5, "code", candidates)
        both = team.share(Both(net, table, objective.normalise))
        texts = ids[: 12 * candidates].reshape(12, -1)
        mine = torch.tensor(team.part(range(12)))
        captions = torch.arange(len(mine) * candidates)
        words, places = texts[mine].reshape(-1, 5).unique(return_inverse=True)
        text, seen = both(words, places, video)
        text, captions = team.gather_drawn(text, captions)
        seen, clips = team.gather_drawn(seen, mine)
        value = objective(text, seen, captions, clips)
        net.zero_grad()
        value.backward()
        found[loss] = value.detach()
        for name, weight in net.named_parameters():
            if weight.requires_grad:
                found[f"{loss} {name}"] = weight.grad.clone()
    if team.leads:
        torch.save(found, sys.argv[1])
"""


@pytest.mark.heavy
def test_loss_and_gradients_are_those_of_one_process(tmp_path):
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr",
        "localhost",
        "--nproc-per-node=2",
    ]
    for name, prefix in (("one", []), ("two", torchrun)):
        command = [sys.executable, *prefix, str(script), str(tmp_path / name)]
        subprocess.run(command, env=ENV, check=True)
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert len(one) == 2 * 11
    for name in one:
        assert one[name].abs().sum() > 0, name
        assert torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-7), name


@pytest.mark.heavy
def test_two_processes_train_as_one(tmp_path):
    made = make_stage(tmp_path / "made")
    for name, processes in (("one", "1"), ("two", "2")):
        run = train(made, tmp_path / name, "--epochs", "3", "--run", name, "--processes", processes)
        assert run.returncode == 0, run.stderr
        assert run.stderr.count("12 steps of 4 videos") == 1
    losses, videos, weights = zip(
        *(
            (
                read_table(tmp_path / name / "curve.parquet")["loss"].to_numpy(),
                read_table(tmp_path / name / "net.status.parquet")["id"].to_pylist(),
                torch.load(tmp_path / name / "net.pth", weights_only=True),
            )
            for name in ("one", "two")
        ),
        strict=True,
    )
    assert len(losses[0]) == 12
    assert np.allclose(losses[0], losses[1], atol=1e-6)
    assert videos[0] == videos[1]
    assert all(torch.allclose(weights[0][k], weights[1][k], atol=1e-4) for k in weights[0])


@pytest.mark.heavy
def test_two_processes_fail_as_one(tmp_path):
    """Also, where the test may rename the machine, on one whose name nobody can resolve."""
    made = make_stage(tmp_path / "made")
    arguments = command(made, tmp_path / "out", "--processes", "2", "--loss", "hinge")
    rename = ["unshare", "--uts", "sh", "-c", 'hostname nowhere.invalid && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*rename, "true"], check=False).returncode:
        rename = []
    run = subprocess.run([*rename, *arguments], env=ENV, capture_output=True, text=True, timeout=90)
    assert run.returncode == 2
    assert "embedding.loss is hinge: choose one of max_margin, mil_nce" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_batch_is_shared_evenly_or_refused():
    two, three = Team(0, 2), Team(2, 3)
    assert batch_size(32, 100, "videos", two) == 32
    assert batch_size(32, 17, "videos", three) == 15
    with pytest.raises(UserError, match="videos_per_batch is 32: 3 processes cannot share it"):
        batch_size(32, 100, "videos", three)
    with pytest.raises(UserError, match="1 pairs are fewer than the 2 processes"):
        batch_size(32, 1, "pairs", two)
    assert [Team(rank, 3).part("abcdef") for rank in range(3)] == ["ab", "cd", "ef"]
