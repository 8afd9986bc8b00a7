"""Root file systems for hosts of another Debian release: created once, with mmdebstrap and pip, and kept for all labs.

A tree has Debian's libvirt, QEMU and Python, and the packages that vmferry needs. vmferry itself is mounted into it
when a host starts (lab/root.py).
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UnreachableError
from vmferry.lab import root
from vmferry.lab.layout import Layout
from vmferry.lab.shell import failed, run

SPACE = 1 << 30  # bytes: 450 MiB for the tree, and the downloads while it is created
EVERY = 5.0  # seconds between lines of progress
# These have no wheels. The first three are installed as packages; without krb5 a host has no CredSSP.
_DEBIANS = ("libvirt-python", "gssapi", "python-ldap", "krb5")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# If the lab is killed, so are the programs that it started. Their mounts are not visible to the machine.
_APART = [
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
]


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release for hosts.

    Arguments:
        name: Debian's code name.
        python: version of its Python.
        packages: packages for a host, among them python3-libvirt, because the binding must fit libvirt, and
            python3-gssapi and python3-ldap, which have no wheels.
    """

    name: str
    python: str
    packages: tuple[str, ...]


RELEASES = {
    release.name: release
    for release in (
        Release(
            "trixie",
            "3.13",
            (
                *("libvirt-daemon", "libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils"),
                *(
                    "python3",
                    "python3-libvirt",
                    "python3-gssapi",
                    "python3-ldap",
                    "libsasl2-modules-gssapi-mit",
                    "hostname",
                    "iproute2",
                    "mount",
                    "nftables",
                    "procps",
                ),
                *("krb5-user", "samba-ad-dc", "samba-ad-provision", "samba-dsdb-modules"),
            ),
        ),
    )
}


def prepare(lab: Layout, name: str, mirror: str | None = None, say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the tree of a release. It is created on first use. The caller must hold the lab's lock.

    Arguments:
        mirror: mirror of Debian; None for the one that this machine's apt uses.
        say: called with messages about the progress.

    Raises:
        PreflightError: lab-space.
        UnreachableError: lab-mirror.
        InternalError: lab-command-failed.
    """
    release = RELEASES[name]
    tree = lab.cache / f"{name}-{_key(release)}"
    if tree.exists():
        return tree
    free = shutil.disk_usage(lab.cache).free
    if free < SPACE:
        needed = SPACE >> 20
        raise PreflightError(codes.LAB_SPACE, folder=str(lab.cache), free=free >> 20, release=name, needed=needed)
    started = time.monotonic()
    say(f"Creating the root of {name} hosts in {tree}, once: about 110 MB to download, 450 MiB on disk.")
    draft = tree.with_suffix(".new")  # renamed last, so that an interrupted one is created again
    if draft.exists():
        shutil.rmtree(draft)
    try:
        _install(release, draft, mirror or _mirror(release, tree), say)
        say("installing the packages that vmferry needs ...")
        packages = draft / f"usr/local/lib/python{release.python}/dist-packages"
        _install_python(release, packages)
        _furnish(draft, packages)
        os.sync()  # otherwise a power failure might leave empty files under the final name
        draft.rename(tree)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # it may fill the disk
    say(f"Created in {time.monotonic() - started:.0f} s.")
    return tree


def release(tree: Path) -> str:
    """Return the release of a tree."""
    return tree.name.partition("-")[0]


def _key(release: Release) -> str:
    """Return a digest of all that a tree is created from, so that a tree with other content is not used."""
    content = [asdict(release), _requirements(), _programs(), [str(folder) for folder in root.shared_folders()]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _mirror(release: Release, tree: Path) -> str:
    """Return the URL of the mirror of Debian that this machine's apt uses.

    Raises:
        UnreachableError: lab-mirror: it uses none.
    """
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages").split()
    found = next((url.rstrip("/") for url in listed if url.rstrip("/").endswith("/debian")), None)
    if found is None:
        why = "apt on this machine names no mirror of Debian"
        raise UnreachableError(codes.LAB_MIRROR, release=release.name, mirror="a mirror", why=why, place=str(tree))
    return found


def _install(release: Release, draft: Path, mirror: str, say: Callable[[str], None]) -> None:
    """Install Debian. Report each phase of mmdebstrap, and a line of its output every five seconds."""
    options = ["--mode=root", "--variant=minbase", "--verbose", f"--include={','.join(release.packages)}"]
    apt = ['APT::Install-Recommends "false"', 'Acquire::http::Timeout "20"', 'Acquire::Retries "2"']
    options += [f"--aptopt={option}" for option in apt]
    source = f"deb [signed-by={_KEYRING}] {mirror} {release.name} main"
    command = ["mmdebstrap", *options, release.name, str(draft), source]
    wrong, words, told = "", "", time.monotonic()
    with (
        draft.with_suffix(".log").open("w") as log,
        subprocess.Popen(
            [*_APART, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            words = line.strip()
            if words.startswith("E: "):
                wrong = wrong or words.removeprefix("E: ")
            phase = words.startswith("I: ") and words.endswith("...")
            if phase or time.monotonic() - told > EVERY:
                say(words.removeprefix("I: ") if phase else f"  {words}")
                told = time.monotonic()
    if wrong.startswith(("Failed to fetch", "The repository", "Unable to fetch")):
        tree = draft.with_suffix("")
        raise UnreachableError(codes.LAB_MIRROR, release=release.name, mirror=mirror, why=wrong, place=str(tree))
    if process.returncode:
        raise failed(command, f"{wrong or words}; see {draft.with_suffix('.log')}")


def _requirements() -> list[str]:
    """Return the requirements of vmferry on a host, without those that are installed as packages of Debian."""
    found = []
    for line in metadata.requires("vmferry") or []:
        requirement, _, marker = line.partition(";")
        if (not marker or "host" in marker) and not requirement.startswith(_DEBIANS):
            found.append(requirement.strip())
    return found


def _programs() -> list[tuple[str, str]]:
    """Return the names of vmferry's programs, each with the module of its `main`."""
    found = metadata.distribution("vmferry").entry_points.select(group="console_scripts")
    return sorted((program.name, program.module) for program in found)


def _install_python(release: Release, packages: Path) -> None:
    """Install the required Python packages with this machine's pip, in the versions of this machine."""
    machine = platform.machine()
    options = ["--python-version", release.python, "--implementation", "cp", "--only-binary", ":all:", "--no-compile"]
    for kind in ("manylinux_2_34", "manylinux_2_28", "manylinux2014"):
        options += ["--platform", f"{kind}_{machine}"]
    requirements = _requirements()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        for found in metadata.distributions():
            if found.name not in ("vmferry", *_DEBIANS):
                constraints.write(f"{found.name}=={found.version}\n")
        constraints.flush()
        pip = ["-m", "pip", "install", "--quiet", "--target", str(packages), "--constraint", constraints.name]
        done = subprocess.run(
            [sys.executable, *pip, *options, *requirements],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise failed(["pip", "install", *requirements], "\n".join(errors) or done.stderr)


def _furnish(draft: Path, packages: Path) -> None:
    """Create mount points and vmferry's programs, compile the packages, and check that the programs can be imported."""
    for folder in root.shared_folders():
        (draft / folder.relative_to("/")).mkdir(parents=True)
    (packages / "vmferry").mkdir()
    names = draft / "etc/resolv.conf"  # a host's own file is mounted over it
    names.unlink(missing_ok=True)
    names.touch()
    for program, module in _programs():
        file = draft / "usr/local/bin" / program
        file.write_text(f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n")
        file.chmod(0o755)
    inside = [*_APART, sys.executable, "-m", "vmferry.lab.root", "--writable", str(draft)]
    run(*inside, "python3", "-m", "compileall", "-q", f"/{packages.relative_to(draft)}")
    run(*inside, "python3", "-c", "import vmferry.agent.main, vmferry.cli.main, vmferry.transfer.worker.main")
