"""vmferryd, the program."""

import argparse
import asyncio
import ctypes
import fcntl
import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from vmferry import config as configuration
from vmferry.agent.auditlog.log import AuditLog
from vmferry.agent.daemon import Daemon
from vmferry.agent.http.app import document
from vmferry.agent.moves.launcher import Launcher
from vmferry.agent.peers.site_hosts import SiteHosts
from vmferry.agent.services import Services, Stores
from vmferry.config import Config
from vmferry.core import redaction
from vmferry.core.errors import VmferryError
from vmferry.identity.certificates import host_identity
from vmferry.identity.kerberos import HostKeys
from vmferry.jobs import startlock
from vmferry.store.admissions import Admissions
from vmferry.store.database import Database
from vmferry.store.invitations import Invitations
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peers
from vmferry.store.settings import Settings
from vmferry.store.tokens import Tokens

_PR_SET_DUMPABLE = 4  # prctl(2)

log = logging.getLogger("vmferry.agent")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run vmferryd until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="vmferryd", description="Serves vmferry's API on a KVM host.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="instead of /etc/vmferry/vmferry.toml")
    parser.add_argument("--print-config", action="store_true", help="print the commented reference of vmferry.toml")
    parser.add_argument("--print-hook", action="store_true", help="print libvirt's hook that belongs to this host")
    parser.add_argument("--print-openapi", action="store_true", help="print the API's OpenAPI document")
    options = parser.parse_args(arguments)
    if options.print_config:
        sys.stdout.write(configuration.reference())
        return
    if options.print_openapi:
        sys.stdout.write(document())
        return
    if options.print_hook:
        try:
            sys.stdout.write(startlock.hook(configuration.load(options.config).state_folder))
        except VmferryError as error:
            sys.exit(f"vmferryd: {error}")
        return
    _keep_memory()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    redaction.install()
    try:
        config = configuration.load(options.config)
        if not config.run_folder.exists():
            config.run_folder.mkdir(parents=True)
            config.run_folder.chmod(0o755)  # whatever the umask: everybody may come to the socket
        with _lock(config):
            asyncio.run(_serve(config))
    except VmferryError as error:
        sys.exit(f"vmferryd: {error}")
    except OSError as error:
        sys.exit(f"vmferryd: {error}")


def compose(config: Config) -> Services:
    """Put the parts of this host together."""
    # libvirt is needed to serve, but not to print documents.
    from vmferry.agent.doctor.doctor import Doctor
    from vmferry.agent.doctor.facts import HostFacts
    from vmferry.agent.measure import reachability
    from vmferry.agent.measure.bandwidth import Bandwidths
    from vmferry.agent.measure.lock import MeasurementLock
    from vmferry.agent.moves.incoming import IncomingMoves
    from vmferry.agent.moves.outgoing import OutgoingMoves
    from vmferry.agent.moves.precheck import Precheck
    from vmferry.agent.moves.prediction import Forecaster
    from vmferry.agent.peers.credssp import CredSspSignIns
    from vmferry.agent.peers.domain import Domain
    from vmferry.agent.peers.incoming_signin import SignIns
    from vmferry.agent.peers.outgoing_signin import OutgoingSignIn
    from vmferry.hypervisor.activity import Activities
    from vmferry.hypervisor.domains import Domains
    from vmferry.hypervisor.inventory import Inventory
    from vmferry.hypervisor.snapshot import Snapshots
    from vmferry.jobs.control import watch

    identity = host_identity(config)
    database = Database(config.database, config.name)
    keys = HostKeys(config.keytab, config.name)
    domain = Domain(config.name, keys)
    stores = Stores(
        database=database,
        jobs=Jobs(database, config.name),
        admissions=Admissions(database, config.name),
        peers=Peers(database),
        invitations=Invitations(database),
        settings=Settings(database),
        tokens=Tokens(database),
    )
    inventory = Inventory(config.libvirt_uri, config.name)
    launcher = Launcher(config)
    snapshots = Snapshots(config)
    site_hosts = SiteHosts(config, stores.peers)
    quiet = MeasurementLock(config.name, stores.jobs)
    reach = functools.partial(reachability.reach, quiet=quiet)
    bandwidths = Bandwidths(config, stores.settings, quiet, identity.fingerprint)
    trail = AuditLog(config.audit_log)
    entrance = OutgoingSignIn(config, identity.certificate, stores.peers, stores.settings, keys, explain=domain.explain)
    prospects = Precheck(
        config=config,
        jobs=stores.jobs,
        admissions=stores.admissions,
        peers=stores.peers,
        settings=stores.settings,
        inventory=inventory,
        snapshots=snapshots,
        fingerprint=identity.fingerprint,
        forecasts=Forecaster(bandwidths, Activities(config.libvirt_uri, config.name).measure),
        find=site_hosts.find,
        sign_in=entrance.enter,
        reach=reach,
    )
    outgoing = OutgoingMoves(
        config=config,
        jobs=stores.jobs,
        admissions=stores.admissions,
        settings=stores.settings,
        launcher=launcher,
        prospects=prospects,
        trail=trail,
    )
    incoming = IncomingMoves(
        config=config,
        jobs=stores.jobs,
        admissions=stores.admissions,
        peers=stores.peers,
        settings=stores.settings,
        snapshots=snapshots,
        launcher=launcher,
        fingerprint=identity.fingerprint,
    )
    doctor = Doctor(
        config=config,
        peers=stores.peers,
        settings=stores.settings,
        look=HostFacts(config, stores.settings, snapshots, launcher),
        reach=reach,
    )
    sign_ins = SignIns(config, stores.peers, stores.settings, keys, stores.jobs)
    return Services(
        config=config,
        identity=identity,
        stores=stores,
        inventory=inventory,
        preview=prospects,
        outgoing=outgoing,
        incoming=incoming,
        launcher=launcher,
        watch=watch,
        doctor=doctor,
        probes=reachability.ReachabilityTests(config, stores.settings, quiet),
        bandwidths=bandwidths,
        sign_ins=sign_ins,
        credssp=CredSspSignIns(sign_ins),
        keys=keys,
        group_sid=domain.sid,
        domains=functools.partial(Domains, config.libvirt_uri, config.name),
        trail=trail,
    )


def _keep_memory() -> None:
    """Let no core dump and no other process of this user look into this one: users' passwords pass through it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("the process can be dumped: %s", os.strerror(ctypes.get_errno()))


async def _serve(config: Config) -> None:
    if config.group_id() is None:
        log.warning("there is no group %s: only root, and those whom the settings name, may use vmferry", config.group)
    daemon = Daemon(compose(config))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await daemon.start()
    log.info("%s serves %s and port %d", config.name, config.socket, config.port)
    _notify("READY=1")
    await stop.wait()
    _notify("STOPPING=1")
    await daemon.stop()
    log.info("stopped")
    logging.shutdown()
    # A thread may wait for another host yet; what it does can be lost at any moment anyway.
    os._exit(0)


def _lock(config: Config) -> BinaryIO:
    """See that this is the only vmferryd of this host: another one would take its unix socket away.

    Raises:
        BlockingIOError: it is not.
    """
    path = config.run_folder / "vmferryd.lock"
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BlockingIOError(error.errno, f"vmferryd runs already (it holds {path})") from error
    return file


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.connect("\0" + address[1:] if address.startswith("@") else address)
        notifier.sendall(state.encode())
