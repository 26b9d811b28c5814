"""The first signal asks a run to stop; the second ends it at once."""

import os
import signal

import pytest

from dnnlib import interrupts
from training import stop_request
from training.stop_request import StopRequest


@pytest.mark.parametrize(
    ("first", "second", "after_sec", "is_echo"),
    [
        ("SIGINT", "SIGINT", 0.1, True),
        ("SIGINT", "SIGINT", 0.3, False),
        ("SIGTERM", "SIGTERM", 0.3, False),
        ("SIGHUP", "SIGTERM", 1, True),
        ("SIGHUP", "SIGHUP", 1, True),  # nobody types it
        ("SIGHUP", "SIGTERM", 3, False),
    ],
)
def test_echoes(first, second, after_sec, is_echo, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    numbers = [getattr(signal, name) for name in (first, second)]
    assert interrupts.is_echo(*numbers, after_sec) == is_echo
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    assert interrupts.is_echo(*numbers, after_sec) == (after_sec <= 2)


def test_second_signal_counts_where_nobody_reads(monkeypatch):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(1 << 16))
    except BlockingIOError:
        os.set_blocking(writer, True)  # writing now blocks for ever
    exits = []
    monkeypatch.setattr(stop_request, "SAY_SEC", 0.01)
    monkeypatch.setattr(stop_request.os, "_exit", exits.append)
    monkeypatch.setattr(interrupts, "ECHO_SEC", -1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with open(writer, "wb", closefd=False) as stderr:
        monkeypatch.setattr(stop_request.sys, "__stderr__", stderr)
        request = StopRequest(is_main=True)
        request._note(signal.SIGINT)
        assert request.is_set and exits == []
        request._note(signal.SIGINT)
    assert exits == [128 + signal.SIGINT]
    os.close(reader)  # which ends the writers
    os.close(writer)
