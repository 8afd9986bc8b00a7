"""What happens to jobs, as it happens: phases from the journal, progress from the transfer processes."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from vmferry.agent.http import views
from vmferry.agent.services import Services
from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.job import Progress, State
from vmferry.core.messages.api import PhaseEvent, StateEvent

HEARTBEAT = 10.0  # seconds without anything to say, after which a comment is sent
GLANCE = 1.0  # seconds between looks at the journal where no transfer process tells of news
AGAIN = 0.5  # seconds before a transfer process that is gone is looked for again
STREAMS = 100  # of one caller at once
PATIENCE = 6  # looks in vain, after which it is started

log = logging.getLogger("vmferry.agent")


class _Channel:
    """What is known of one running job, and how those who follow it are woken."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.changed = asyncio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """Watches the transfer processes of this host's jobs. To be used in the event loop's thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._channels: dict[str, _Channel] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._stopped = False
        self._following: Counter[str] = Counter()

    async def stream_to(self, caller: str, job: str, after: int) -> AsyncIterator[str]:
        """Give a job's events to somebody, as `stream` does; see `require_room`."""
        self._following[caller] += 1
        try:
            async for event in self.stream(job, after):
                yield event
        finally:
            self._following[caller] -= 1

    def require_room(self, caller: str) -> None:
        """Hold somebody to so many streams at once.

        Raises:
            UsageError: too-many-streams.
        """
        if self._following[caller] >= STREAMS:
            raise UsageError(codes.TOO_MANY_STREAMS, caller=caller, most=STREAMS)

    def follow(self, job: str) -> None:
        """Begin to watch a job, unless it is watched."""
        if job not in self._watching and not self._stopped:
            self._channels[job] = _Channel()
            self._watching[job] = asyncio.create_task(self._watch(job))

    def progress(self, job: str) -> Progress | None:
        """Give the newest progress of a job that runs."""
        channel = self._channels.get(job)
        return channel.progress if channel else None

    async def stop(self) -> None:
        """Stop watching, and end every stream."""
        self._stopped = True
        for channel in self._channels.values():
            channel.wake()
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)

    async def stream(self, job: str, after: int) -> AsyncIterator[str]:
        """Give a job's events as text/event-stream, after a step of its journal and until its end."""
        jobs = self._services.stores.jobs
        progress: Progress | None = None
        state: tuple[State, str | None] = (State.RUNNING, None)
        quiet_since = asyncio.get_running_loop().time()
        while True:
            channel = self._channels.get(job) or _Channel()
            changed = channel.changed  # taken before the journal is read, so that no news is missed
            row = await run_in_threadpool(jobs.get, job)
            said = False
            for step in await run_in_threadpool(jobs.steps, job, after):
                after = step.seq
                at = datetime.fromtimestamp(step.at, UTC)
                yield _event("phase", PhaseEvent(seq=step.seq, at=at, phase=step.phase), after)
                said = True
            if row.ended_at is not None:
                yield _event("end", views.job(row, self._services.config.name))
                return
            if (row.state, row.reason) != state:
                state = (row.state, row.reason)
                yield _event("state", StateEvent(state=row.state, reason=row.reason))
                said = True
            if channel.progress is not None and channel.progress is not progress:
                progress = channel.progress
                yield _event("progress", progress)
                said = True
            now = asyncio.get_running_loop().time()
            if said:
                quiet_since = now
            elif now - quiet_since > HEARTBEAT:
                quiet_since = now
                yield ": alive\n\n"
            if self._stopped:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), GLANCE)

    async def _watch(self, job: str) -> None:
        channel = self._channels[job]
        try:
            missed = 0
            while (row := await run_in_threadpool(self._services.stores.jobs.get, job)).ended_at is None:
                try:
                    await self._listen(job, channel)
                    missed = 0
                except (OSError, ValueError):  # not there yet, being started again, or ended in the middle of a line
                    missed += row.state is not State.WAITING
                if missed == PATIENCE:
                    # It may have ended just when it was started again, having found nothing to do yet.
                    missed = 0
                    await run_in_threadpool(self._services.launcher.start, job)
                channel.wake()
                await asyncio.sleep(AGAIN)
        except Exception:
            log.exception("job %s is not watched any more", job)
        finally:
            del self._channels[job], self._watching[job]
            channel.wake()

    async def _listen(self, job: str, channel: _Channel) -> None:
        async for report in self._services.watch(self._services.config.run_folder, job):
            if isinstance(report, Progress):
                channel.progress = report
            channel.wake()


def _event(kind: str, value: BaseModel, id: int | None = None) -> str:  # noqa: A002
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {kind}\ndata: {value.model_dump_json()}\n\n"
