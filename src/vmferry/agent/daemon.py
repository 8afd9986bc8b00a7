"""One running vmferryd: its parts, put together, started and stopped."""

import asyncio
import logging
import sqlite3
import time

from starlette.concurrency import run_in_threadpool

from vmferry.agent.http.app import application
from vmferry.agent.http.auth import Agent
from vmferry.agent.http.events import Live
from vmferry.agent.http.server import Server
from vmferry.agent.http.tls import Contexts
from vmferry.agent.moves.endings import Endings
from vmferry.agent.moves.queue import Queue
from vmferry.agent.moves.resolutions import Resolutions
from vmferry.agent.moves.sweep import Sweep
from vmferry.agent.peers.pairing import Pairing
from vmferry.agent.peers.site import Site
from vmferry.agent.services import Services
from vmferry.agent.settings import HostControl
from vmferry.core.errors import VmferryError
from vmferry.core.job import State
from vmferry.jobs import spec, startlock

_DAY = 86400.0  # seconds
_TIDY = 10.0  # seconds between looks at what waits for its source
_KEYS_KEPT = 30 * _DAY  # a host that was away for longer is past asking how a job ended

log = logging.getLogger("vmferry.agent")


class Daemon:
    """Serves the API, and sees that every job that has not ended has its transfer process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        contexts = Contexts(services.config, services.identity, services.stores.peers)
        pairing = Pairing(services.config, services.identity, services.stores, contexts.refresh)
        self._live = Live(services)
        self._queue = Queue(services.stores.jobs, services.outgoing, self._live.follow)
        control = HostControl(
            services.config.name, services.stores, services.outgoing, self._queue.wake, group_sid=services.group_sid
        )
        trail = services.trail
        site = Site(services.config, services.identity, services.stores, contexts.refresh)
        endings = Endings(services.config, services.stores.jobs, services.outgoing, services.launcher)
        self._resolutions = Resolutions(
            services.config,
            services.stores.database,
            services.stores.jobs,
            services.stores.peers,
            services.incoming,
            services.domains,
        )
        self._sweep = Sweep(services.config, services.stores.jobs, self._resolutions, services.domains)
        agent = Agent(services, pairing, control, site, self._live, self._queue, trail, endings, self._resolutions)
        self._server = Server(application(agent), services.config, contexts)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Serve, and take up the jobs of an earlier life.

        Raises:
            OSError: an address cannot be had.
        """
        await self._server.start()
        tasks = (self._adopt(), self._queue.run(), self._tidy(), self._keep_house())
        self._tasks = [asyncio.create_task(task) for task in tasks]

    async def stop(self) -> None:
        """Stop serving, soon. Transfer processes are left alone."""
        for task in self._tasks:
            task.cancel()
        await self._live.stop()
        await self._server.stop()

    async def _adopt(self) -> None:
        try:
            await run_in_threadpool(self._sweep.run, first=True)
        except Exception:
            log.exception("what earlier jobs left was not looked at")
        for row in await run_in_threadpool(self._services.stores.jobs.active):
            log.info("job %s (%s, %s) goes on", row.id, row.vm, row.phase)
            self._live.follow(row.id)
            if row.state is State.WAITING:
                continue  # the queue begins those that leave; the source asks for those that come
            try:
                await run_in_threadpool(self._services.launcher.start, row.id)
            except VmferryError as error:
                log.error("%s", error)

    async def _keep_house(self) -> None:
        while True:
            await run_in_threadpool(self._prune)
            await asyncio.sleep(_DAY)

    def _prune(self) -> None:
        config, now = self._services.config, time.time()
        try:
            spec.prune(config.state_folder, now - _KEYS_KEPT)
            held = [lock.holder() or "" for lock in startlock.locks(config.state_folder)]
            self._services.stores.jobs.prune(now - config.jobs_kept * _DAY, held)
        except (OSError, VmferryError, sqlite3.Error) as error:
            log.warning("what is old cannot be removed yet: %s", error)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY)
            try:
                await run_in_threadpool(self._services.incoming.tidy)
                await run_in_threadpool(self._sweep.run)
            except Exception:
                log.exception("jobs that wait here, or have ended, were not looked at")
