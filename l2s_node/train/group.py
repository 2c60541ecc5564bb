"""Group: the processes of one training, one a GPU, as PyTorch's `torchrun` starts them; else this process alone.

    torchrun --nproc-per-node 2 -m l2s_node train PICTURES --name NAME

Every process reads all pictures, draws batches of its own and takes the same steps: DistributedDataParallel averages
their gradients. Only the first one writes, shows and says anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from l2s_node.errors import TrainError


@dataclass(frozen=True)
class Group:
    """Who takes part.

    Attributes:
        device: of this process.
        rank: 0 … size - 1; 0 is the first.
        size: how many processes there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def agree(self, *values: float) -> list[float]:
        """Sums over all processes, which must all ask; waits for the device."""
        if self.alone:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return [float(value) for value in sums.cpu()]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Every process gets the first one's values, in place."""
        if not self.alone:
            for tensor in tensors:
                whole = tensor.to(self.device).contiguous()  # Adam's counters lie in host memory without CUDA
                dist.broadcast(whole, 0)
                tensor.copy_(whole)

    def wait(self) -> None:
        """For all the others to come here, too."""
        self.agree(0.0)


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Group]:
    """The group that `torchrun` put this process in, or one of its own; left at the end.

    Raises:
        TrainError: processes can't train together on this kind of device, or there are more of them than GPUs.
    """
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield Group(device)
        return
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise TrainError(f"this machine has {torch.cuda.device_count()} GPUs: give torchrun no more processes")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")  # its watchdog would end a graph's capture
    elif device.type != "cpu":
        raise TrainError(f"several processes can't train on {device.type}: leave torchrun away")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=size)
    try:
        if rank:
            logging.getLogger("l2s_node").setLevel(logging.ERROR)
        yield Group(device, rank, size)
    finally:
        dist.destroy_process_group()
