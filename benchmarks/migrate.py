"""Moves the same VM with `virsh migrate` and with vmferry, in one run, and prints medians, ratios, pauses and CPU time.

    make bench                        every case
    python benchmarks/migrate.py --rounds 3 --links unlimited --cases virsh-multifd,vmferry

virsh gets what it needs for this and what no host should have: libvirt's calls forwarded from TCP. The VM's disk is
on storage that both hosts see: what is compared is the memory copy. The pause is seen from outside, by the guest's
ticks; CPU seconds are those of all processes of both hosts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmferry.lab import layout, network
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.vms.observer import Observer
from vmferry.lab.vms.vm import Guest, GuestDisk, remove_all

RPC_PORT = 16509


@dataclass(frozen=True, slots=True)
class Result:
    """One move. Times in seconds, sizes in bytes."""

    total: float
    pause: float
    cpu: float
    memory: int
    before: float | None = None
    after: float | None = None

    @property
    def rate(self) -> float:
        """MiB of live memory a second of the whole move."""
        return self.memory / self.total / (1 << 20)


class Bench:
    """Two hosts and a guest that goes to and fro between them."""

    def __init__(self, lab: Lab, memory: int, rate: int) -> None:
        self.lab = lab
        self.hosts = [lab.host("kvm1"), lab.host("kvm2")]
        self.observer = Observer(lab.layout, ["kvm1", "kvm2"])
        shared = GuestDisk(size=256, filled=20, folder=str(lab.layout.shared))
        # 300 MiB for the guest's kernel: with a third of that it does nothing but look for free pages.
        self.guest = Guest("bench01", memory=memory + 300, busy=memory, rate=rate, records=5, disks=(shared,))
        self.live = memory << 20

    def prepare(self) -> None:
        """Pair the hosts, give QEMU certificates for virsh's --tls, and start the guest."""
        one, two = self.hosts
        token = json.loads(two.run("vmferry", "--output", "json", "host", "pair", "--invite").stdout)["token"]
        one.run("vmferry", "host", "pair", "kvm2", "--token-file", "-", text=token)
        for host in self.hosts:
            remove_all(host)
        for file in self.lab.layout.shared.iterdir():
            file.unlink()
        self.guest.create(one)
        self.observer.wait(lambda tick: tick.pages_changed > 0, timeout=300)

    def move(self, act: Callable[[LabHost, LabHost], None]) -> Result:
        """Time one move from where the guest is to the other host."""
        source, destination = self.hosts
        cpu, started = _cpu(self.hosts), time.monotonic()
        act(source, destination)
        ended = time.monotonic()
        cpu = _cpu(self.hosts) - cpu
        self.observer.wait_ticking(destination.name, timeout=20)
        self.hosts.reverse()
        job = json.loads(source.run("vmferry", "--output", "json", "job", "list").stdout or "[]")
        summary = job[0].get("summary") if job and act.__name__ == "vmferry" else None
        return Result(
            total=ended - started,
            pause=self.observer.pause(started, ended + 0.3),
            cpu=cpu,
            memory=self.live,
            before=(summary or {}).get("overhead_before"),
            after=(summary or {}).get("overhead_after"),
        )

    def virsh(self, *options: str) -> Callable[[LabHost, LabHost], None]:
        """Give a move with virsh."""

        def virsh(source: LabHost, destination: LabHost) -> None:
            target = f"qemu+tcp://{destination.name}/system"
            uri = f"tcp://{layout.migration(destination.name)}"
            source.run(
                *("virsh", "migrate", "--live", "--p2p", "--persistent", "--undefinesource", "--unsafe", *options),
                *(self.guest.name, target, "--migrateuri", uri),
            )

        return virsh

    def vmferry(self, *options: str) -> Callable[[LabHost, LabHost], None]:
        """Give a move with vmferry."""

        def vmferry(source: LabHost, destination: LabHost) -> None:
            source.run("vmferry", "vm", "move", self.guest.name, destination.name, *options)

        return vmferry


def cases(bench: Bench) -> dict[str, Callable[[LabHost, LabHost], None]]:
    """Give every way of moving, by name."""
    multifd = ("--parallel", "--parallel-connections")
    return {
        "virsh": bench.virsh(),
        "virsh-multifd2": bench.virsh(*multifd, "2"),
        "virsh-multifd4": bench.virsh(*multifd, "4"),
        "virsh-tls": bench.virsh("--tls"),
        "virsh-tls-multifd2": bench.virsh("--tls", *multifd, "2"),
        "vmferry-plain": bench.vmferry("--encryption", "off"),
        "vmferry": bench.vmferry(),
    }


def report(results: dict[str, list[Result]]) -> None:
    """Print the medians, and the ratios to virsh's best of the same kind."""
    medians = {name: statistics.median(result.rate for result in found) for name, found in results.items() if found}
    plain = max((rate for name, rate in medians.items() if name.startswith("virsh") and "tls" not in name), default=0.0)
    secure = max((rate for name, rate in medians.items() if "tls" in name), default=0.0)
    print(f"{'':20} {'total s':>8} {'MiB/s':>7} {'pause ms':>9} {'CPU s':>6} {'ratio':>6} {'before/after ms':>16}")
    for name, found in results.items():
        if not found:
            continue
        base = secure if name == "vmferry" or "tls" in name else plain
        around = ""
        if found[0].before is not None and found[0].after is not None:
            before = statistics.median(result.before or 0 for result in found)
            after = statistics.median(result.after or 0 for result in found)
            around = f"{1000 * before:.0f} / {1000 * after:.0f}"
        print(
            f"{name:20} {statistics.median(r.total for r in found):8.2f} {medians[name]:7.0f} "
            f"{1000 * statistics.median(r.pause for r in found):9.0f} {statistics.median(r.cpu for r in found):6.1f} "
            f"{medians[name] / base if base else 0:6.2f} {around:>16}"
        )


@contextmanager
def forwarded(hosts: list[LabHost]) -> Iterator[None]:
    """Let libvirt be called over TCP, which virsh needs for a peer-to-peer migration."""
    code = Path(__file__).with_name("forward.py")
    running = [subprocess.Popen(host.command(sys.executable, str(code), str(RPC_PORT))) for host in hosts]
    try:
        for host in hosts:
            _wait_port(host)
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait(10)


def _wait_port(host: LabHost) -> None:
    limit = time.monotonic() + 10
    while f":{RPC_PORT} " not in host.run("ss", "-ltn").stdout:
        if time.monotonic() > limit:
            raise TimeoutError(f"nothing forwards libvirt's calls on {host.name}")
        time.sleep(0.05)


def certify(hosts: list[LabHost]) -> None:
    """Give each host's QEMU a certificate, and libvirt the folder it is in (libvirt's qemu.conf, migrate_tls_*)."""
    key, authority = _certificate("bench CA", None, None, None)
    for host in hosts:
        own_key, own = _certificate(host.name, layout.migration(host.name), key, authority)
        place = host.home / "libvirt-etc" / "pki"
        place.mkdir(exist_ok=True)
        pem = serialization.Encoding.PEM
        secret = own_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for name, content in (
            ("ca-cert.pem", authority.public_bytes(pem)),
            ("server-cert.pem", own.public_bytes(pem)),
            ("client-cert.pem", own.public_bytes(pem)),
            ("server-key.pem", secret),
            ("client-key.pem", secret),
        ):
            (place / name).write_bytes(content)
            (place / name).chmod(0o644)  # QEMU reads it as another user
        configuration = host.home / "libvirt-etc" / "qemu.conf"
        configuration.write_text(
            configuration.read_text()
            + '\nmigrate_tls_x509_cert_dir = "/etc/libvirt/pki"\nmigrate_tls_x509_verify = 1\n'
        )
        host.run("pkill", "-x", "libvirtd")
    for host in hosts:
        host.wait_ready()


def _certificate(
    name: str, address: str | None, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if address:
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address(address))])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(usage, critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())


def _cpu(hosts: list[LabHost]) -> float:
    """Add up the CPU seconds of all processes of the hosts, ended children included."""
    namespaces = {os.readlink(f"/proc/{host.pid}/ns/pid") for host in hosts}
    total = 0
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            if os.readlink(place / "ns" / "pid") in namespaces:
                total += sum(map(int, (place / "stat").read_text().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return total / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=1500, help="MiB of live memory")
    parser.add_argument("--rate", type=int, default=5, help="MiB of it changed a second")
    parser.add_argument("--links", default="unlimited,1gbit")
    parser.add_argument("--cases", default="")
    arguments = parser.parse_args()
    lab = Lab.named("bench")
    lab.down()
    try:
        lab.up()
        bench = Bench(lab, arguments.memory, arguments.rate)
        certify(bench.hosts)
        with forwarded(list(bench.hosts)):
            bench.prepare()
            wanted = {
                name: act
                for name, act in cases(bench).items()
                if not arguments.cases or name in arguments.cases.split(",")
            }
            for link in arguments.links.split(","):
                for host in bench.hosts:
                    network.limit(lab.layout, host.name, "migration", None if link == "unlimited" else link)
                results: dict[str, list[Result]] = {name: [] for name in wanted}
                for _ in range(arguments.rounds):
                    for name, act in wanted.items():  # interleaved, so that a slow minute hits all alike
                        results[name].append(bench.move(act))
                print(f"\nmigration link {link}, {arguments.memory} MiB live, {arguments.rounds} rounds, medians")
                report(results)
        bench.observer.close()
    finally:
        lab.down()


if __name__ == "__main__":
    main()
