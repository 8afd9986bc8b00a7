"""The root of a host of another Debian release: made once, with mmdebstrap and pip, and kept for all labs.

It holds Debian's own libvirt, QEMU and Python, and the packages that vmferry needs; vmferry itself is mounted into it
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

SPACE = 1 << 30  # bytes: 450 MiB when made, and what was fetched while it is
EVERY = 5.0  # seconds between lines of progress
# What has no wheels: of the first three there are packages, without krb5 a host has no CredSSP.
_DEBIANS = ("libvirt-python", "gssapi", "python-ldap", "krb5")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# When lab is killed, what it started dies; and what that has mounted is never seen by the machine, nor left behind.
_APART = [
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
]


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release that a host can have.

    Arguments:
        name: Debian's code name.
        python: the version of its Python.
        packages: what a host needs; python3-libvirt because libvirt's binding has to fit its libvirt, and
            python3-gssapi and -ldap because there are no wheels of them.
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
    """Give the tree of a release, made on first use. The lab's lock has to be held.

    Arguments:
        mirror: where Debian's packages come from; None: from the mirror that this machine's apt uses.
        say: is told how far it is.

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
    say(f"Making the root of {name} hosts in {tree}, once: some 110 MB to fetch, 450 MiB on disk.")
    draft = tree.with_suffix(".new")  # its name is changed last of all: one that was cut off is begun anew
    if draft.exists():
        shutil.rmtree(draft)
    try:
        _install(release, draft, mirror or _mirror(release, tree), say)
        say("installing what vmferry needs ...")
        packages = draft / f"usr/local/lib/python{release.python}/dist-packages"
        _install_python(release, packages)
        _furnish(draft, packages)
        os.sync()  # or a power failure might leave empty files under the final name
        draft.rename(tree)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # the disk may be full of it
    say(f"Made in {time.monotonic() - started:.0f} s.")
    return tree


def release(tree: Path) -> str:
    """Name the release of a tree."""
    return tree.name.partition("-")[0]


def _key(release: Release) -> str:
    """Give what stands for all that a tree is made of, so that one that was made of something else is not taken."""
    content = [asdict(release), _requirements(), _programs(), [str(place) for place in root.places()]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _mirror(release: Release, tree: Path) -> str:
    """Return the URL of the mirror of Debian that this machine's apt uses.

    Raises:
        UnreachableError: lab-mirror; it uses none.
    """
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages").split()
    found = next((url.rstrip("/") for url in listed if url.rstrip("/").endswith("/debian")), None)
    if found is None:
        why = "apt on this machine names no mirror of Debian"
        raise UnreachableError(codes.LAB_MIRROR, release=release.name, mirror="a mirror", why=why, place=str(tree))
    return found


def _install(release: Release, draft: Path, mirror: str, say: Callable[[str], None]) -> None:
    """Install Debian. mmdebstrap's phases are told as they come, and between them a line of its every five seconds."""
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
        place = draft.with_suffix("")
        raise UnreachableError(codes.LAB_MIRROR, release=release.name, mirror=mirror, why=wrong, place=str(place))
    if process.returncode:
        raise failed(command, f"{wrong or words}; see {draft.with_suffix('.log')}")


def _requirements() -> list[str]:
    """Give what a host's vmferry needs, but the bindings that are Debian's."""
    found = []
    for line in metadata.requires("vmferry") or []:
        requirement, _, marker = line.partition(";")
        if (not marker or "host" in marker) and not requirement.startswith(_DEBIANS):
            found.append(requirement.strip())
    return found


def _programs() -> list[tuple[str, str]]:
    """Give the names of vmferry's programs, and the module whose `main` each one is."""
    found = metadata.distribution("vmferry").entry_points.select(group="console_scripts")
    return sorted((program.name, program.module) for program in found)


def _install_python(release: Release, packages: Path) -> None:
    """Put Python's packages there with this Python's pip, which knows where to fetch; in the versions that are here."""
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
    """Make the places to mount on and vmferry's programs, compile what nobody can later, and see that it is whole."""
    for place in root.places():
        (draft / place.relative_to("/")).mkdir(parents=True)
    (packages / "vmferry").mkdir()
    names = draft / "etc/resolv.conf"  # a host's own is mounted on it
    names.unlink(missing_ok=True)
    names.touch()
    for program, module in _programs():
        file = draft / "usr/local/bin" / program
        file.write_text(f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n")
        file.chmod(0o755)
    inside = [*_APART, sys.executable, "-m", "vmferry.lab.root", "--writable", str(draft)]
    run(*inside, "python3", "-m", "compileall", "-q", f"/{packages.relative_to(draft)}")
    run(*inside, "python3", "-c", "import vmferry.agent.main, vmferry.cli.main, vmferry.transfer.worker.main")
