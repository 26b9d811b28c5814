"""How the processes of a run find one another."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from torch_utils.distributed import agree_on_name


def agree(store, rank: int, size: int, delay_sec: float) -> str:
    time.sleep(delay_sec)
    return agree_on_name(store, rank, size)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_processes_agree_in_whatever_order_they_come(order):
    store = torch.distributed.HashStore()
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(agree, store, rank, 3, 0.2 * order[rank]) for rank in range(3)]
        names = {job.result(timeout=60) for job in jobs}
    assert len(names) == 1


def test_processes_agree_in_spite_of_what_others_left_behind():
    store = torch.distributed.HashStore()
    names = []
    for delay_sec in (0, 0.3):  # rank 0 comes first and finds the previous nonces
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(agree, store, rank, 2, rank * delay_sec) for rank in range(2)]
            (name,) = {job.result(timeout=60) for job in jobs}
        names.append(name)
        store.set("hello/1", "of a process that died before it had a reply")
    assert names[0] != names[1]
