"""Several processes, one a GPU, that train one network on parts of the same batches."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

import torch
from torch import Tensor, distributed, nn

from howto100m.devices import choose_device
from howto100m.kinds import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Team:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's share of a batch, as large as everyone's."""
        share = len(items) // self.size
        return items[self.rank * share : (self.rank + 1) * share]

    def gather(self, part: Tensor) -> Tensor:
        """The parts [n, d] of all processes as one [n * size, d], in order, with a gradient.

        Meant for a loss that every process computes whole. The gradient of that loss with respect
        to a process's own part is then whole as well, and each process hands it on to its weights;
        the sum over processes is the gradient of the one loss. DDP divides that sum by the number
        of processes, so what goes back is multiplied by it: learning rates mean the same whatever
        the number (the MIL-NCE authors' gather lets the scale shrink with it).
        """
        return part if self.size == 1 else cast("Tensor", _Gather.apply(part, self))

    def gather_drawn(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The rows [n, d] of all processes, and which of them was drawn where.

        Processes have different numbers of distinct rows, so several send each as often as drawn.
        """
        if self.size == 1:
            return rows, drawn
        whole = self.gather(rows[drawn])
        return whole, torch.arange(len(whole), device=whole.device)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier()

    def share(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the team."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True
        )


ALONE = Team()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, team: Team) -> Tensor:
        ctx.team, ctx.length = team, len(part)
        whole = part.new_empty(team.size * len(part), *part.shape[1:])
        distributed.all_gather_into_tensor(whole, part.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        start = ctx.team.rank * ctx.length
        return gradients[0][start : start + ctx.length] * ctx.team.size, None


def relaunch(processes: int) -> None:
    """Start this very command again as so many processes; exit as the first of them that failed.

    What torchrun does, but for its exit code, which is 1 whatever went wrong. Does nothing within
    torchrun, and for one process.
    """
    if processes < 2 or distributed.is_torchelastic_launched():
        return
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    team = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # the machine's own name need not resolve
        max_restarts=0,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    code = 0
    try:
        elastic_launch(team, sys.executable)("-m", "howto100m", *sys.argv[1:])
    except ChildFailedError as error:
        failed = error.get_first_failure()[1].exitcode
        code = failed if failed > 0 else 128 - failed
    except SignalException as error:
        code = 128 + error.sigval
    raise SystemExit(code)


@contextmanager
def join(device: str) -> Iterator[tuple[Team, torch.device]]:
    """The team that torchrun started, or a team of one, and the device of this process.

    Raises UserError for a device that is not there, and for more processes than GPUs.
    """
    place = choose_device(device)
    if not distributed.is_torchelastic_launched():
        yield ALONE, place
        return
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if place.type == "cuda":
        if local >= gpus:
            raise UserError(f"embedding.processes is more than the {gpus} GPUs there are")
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    team = Team(distributed.get_rank(), distributed.get_world_size())
    if not team.leads:
        logging.getLogger("howto100m").setLevel(logging.ERROR)
    try:
        yield team, place
    finally:
        distributed.destroy_process_group()
