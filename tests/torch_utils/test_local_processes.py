"""Processes of one machine: what they leave for one another, and for the one that started them."""

import errno
import os
import signal
import threading
import time
from unittest import mock

import psutil
import pytest
import torch

from torch_utils import local_processes
from torch_utils.shared_texts import TextsInMemory, TextsInStore


@pytest.mark.parametrize(
    "texts", [TextsInMemory(2, 50), TextsInStore(torch.distributed.HashStore())]
)
def test_the_last_text_of_each_process_counts(texts):
    assert texts.read(0) is None and texts.read(1) is None
    texts.write(1, "a longer text, ä")
    texts.write(1, "short")
    assert texts.read(0) is None and texts.read(1) == "short"


def test_text_in_memory_is_read_whole():
    texts = TextsInMemory(1, 4000)
    texts.write(0, "0" * 4000)
    is_done = threading.Event()

    def write():
        while not is_done.is_set():
            for digit in "12":
                texts.write(0, digit * 4000)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {texts.read(0) for _ in range(2000)}
    is_done.set()
    writer.join()
    assert seen <= {digit * 4000 for digit in "012"}
    texts.write(0, "x" * 4000 + "the end")
    assert texts.read(0).endswith("xthe end")


def fail_on_a_full_disk(rank: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # of any file
    if rank == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state.pt")
    time.sleep(60)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_message_of_a_process_arrives_when_all_disks_are_full():
    with pytest.raises(RuntimeError, match=r"^No space left on device: state\.pt$"):
        local_processes.run(fail_on_a_full_disk, 2)


def die_or_fail_of_it(rank: int) -> None:
    if rank == 1:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    parent, most = psutil.Process(os.getppid()), 0
    while (num := len(parent.children())) >= most:  # until the other one is gone
        most = num
        time.sleep(0.01)
    torch.zeros(2) @ torch.zeros(3)  # as when an exchange with a dead process fails


@pytest.mark.slow
@pytest.mark.multiprocess
def test_process_that_was_killed_counts_more_than_what_others_failed_of():
    with pytest.raises(local_processes.ProcessDied, match=r"^process 1 of 2 was killed \(SIGKILL"):
        local_processes.run(die_or_fail_of_it, 2)


@pytest.fixture
def heeds_sighup():
    """SIGHUP as a terminal has it, also where `nohup` runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_closed_terminal_is_passed_on_once(heeds_sighup):
    process = mock.Mock(pid=1)
    with local_processes._passing_on_signals([process]) as received:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)  # as some systems do next
        os.kill(os.getpid(), signal.SIGHUP)  # the shell does, as well
    assert received == [signal.SIGHUP]
    assert process.terminate.call_count == 1


def test_handler_of_ended_children_is_kept_or_left_alone(monkeypatch):
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        with local_processes.keep_handler_of_ended_children():
            signal.signal(signal.SIGCHLD, lambda *args: None)
        assert signal.getsignal(signal.SIGCHLD) is handler
        with monkeypatch.context() as patch:  # as beside a library in C that has a handler
            patch.setattr(signal, "getsignal", lambda number: None)
            with local_processes.keep_handler_of_ended_children():
                pass
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, handler)
