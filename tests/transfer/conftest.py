import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.transfer.double import Wire
from tests.transfer.wire import LIMIT

from vmferry.transfer.transport.base import Transport

_HANDLES = Path("/proc/self/fd")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Every thread and every descriptor is gone when a session is closed."""
    threads, handles = set(threading.enumerate()), set(_HANDLES.iterdir())
    yield
    deadline = time.monotonic() + LIMIT
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        for thread in set(threading.enumerate()) - threads:
            with suppress(RuntimeError):  # one that is just being started is listed, and cannot be joined yet
                thread.join(0.1)
    assert set(threading.enumerate()) <= threads
    assert len(list(_HANDLES.iterdir())) <= len(handles)


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def encryption(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["tcp", "memory"])
def transport(request: pytest.FixtureRequest) -> Transport | None:
    """What sessions go over: TCP, or a wire in memory."""
    return None if request.param == "tcp" else Wire()
