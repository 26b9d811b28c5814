"""Shared by the tests that load hostile files: the process that loads them."""

import sys

import pytest


@pytest.fixture(scope="session")
def victim():
    """A process with little memory that loads files; see `tests.network_files.victim`."""
    if sys.platform != "linux":
        pytest.skip("measures memory as Linux does")
    from tests.network_files.victim import Victim

    victim = Victim()
    yield victim
    victim.close()
