"""The queue: begins the moves that wait to leave this host, those for one destination in their order."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from vmferry.agent.services import OutgoingMovesService
from vmferry.core.policy.admission import AGAIN
from vmferry.store.jobs import JobRow, Jobs

LONGEST = 20.0  # seconds between two tries where something fails

log = logging.getLogger("vmferry.agent")


class Queue:
    """Asks again and again for moves that wait. To be used in the event loop's thread, but for wake().

    Arguments:
        begun: is told of each job that waits no more.
    """

    def __init__(self, jobs: Jobs, outgoing: OutgoingMovesService, begun: Callable[[str], None]) -> None:
        self._jobs = jobs
        self._outgoing = outgoing
        self._begun = begun
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._serving: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look at once: a move waits now, or what it waits for may have come. May be called in any thread."""
        self._loop.call_soon_threadsafe(self._ring)

    async def run(self) -> None:
        """Serve the queue until this is cancelled."""
        try:
            while True:
                news = self._news
                try:
                    waiting = {row.peer for row in await run_in_threadpool(self._jobs.waiting)}
                except Exception:
                    log.exception("which moves wait cannot be read; it is tried again")
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), AGAIN)
                    continue
                for destination in waiting:
                    if destination not in self._serving:
                        self._serving[destination] = asyncio.create_task(self._serve(destination))
                await news.wait()
        finally:
            for task in self._serving.values():
                task.cancel()

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _serve(self, destination: str) -> None:
        """Begin the moves to one destination, until none waits: a host that does not answer holds up no other."""
        pause = AGAIN
        try:
            while True:
                news = self._news
                try:
                    first = await run_in_threadpool(self._first, destination)
                    if first is None:
                        break
                    if await run_in_threadpool(self._outgoing.begin, first.id):
                        self._begun(first.id)
                        continue
                    pause = AGAIN
                except Exception:  # the database is locked, a disk is full, ...: none of it is for ever
                    log.exception("a move to %s cannot be begun; it is tried again within %d s", destination, LONGEST)
                    pause = min(2 * pause, LONGEST)
                # At random, so that two hosts that each held what the other wanted do not do so again.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), pause * random.uniform(0.5, 1.5))  # noqa: S311
        finally:
            del self._serving[destination]
        self._ring()  # a move may have come between the last look and now

    def _first(self, destination: str) -> JobRow | None:
        return next((row for row in self._jobs.waiting() if row.peer == destination), None)
