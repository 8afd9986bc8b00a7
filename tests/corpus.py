"""libvirt's own test-suite as a corpus: fetched from Debian's source packages, kept with the lab's files."""

import re
import subprocess
from pathlib import Path

from vmferry.lab.layout import Layout

RELEASES = {"9.0": "bookworm", "11.3": "trixie"}
_SOURCES = Path("/etc/apt/sources.list.d")


def folder(version: str) -> Path:
    """Return the tests of a libvirt, fetched at first use. Root and a network are needed then.

    Arguments:
        version: 9.0 or 11.3.

    Raises:
        CalledProcessError: apt cannot fetch it.
    """
    cache = Layout().cache / "corpus"
    found = cache / f"libvirt-{version}.0" / "tests"
    if not found.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _fetch(cache, RELEASES[version])
        (archive,) = cache.glob(f"libvirt_{version}.*.orig.tar.xz")
        where = ["--file", str(archive), "--directory", str(cache)]
        subprocess.run(["tar", "-x", *where, "--wildcards", "*/tests/*data/*.xml"], check=True, timeout=300)
    return found


def _fetch(cache: Path, release: str) -> None:
    """Have apt download a source package, with the machine's own mirrors and lists of its own."""
    lists = cache / f"apt-{release}"
    for place in ("lists/partial", "cache/archives/partial", "parts"):
        (lists / place).mkdir(parents=True, exist_ok=True)
    (lists / "parts" / "source.sources").write_text(_stanza(release))
    options = [
        *("-o", "Dir::Etc::SourceList=/dev/null"),
        *("-o", f"Dir::Etc::SourceParts={lists / 'parts'}"),
        *("-o", f"Dir::State::Lists={lists / 'lists'}"),
        *("-o", f"Dir::Cache={lists / 'cache'}"),
        *("-o", "APT::Sandbox::User=root"),
    ]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True, timeout=300)
    fetch = ["source", "--download-only", "--tar-only", "libvirt"]
    subprocess.run(["apt-get", "-qq", *options, *fetch], check=True, timeout=600, cwd=cache)


def _stanza(release: str) -> str:
    for file in sorted(_SOURCES.glob("*.sources")):
        for stanza in file.read_text().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Z][A-Za-z-]*: ", line))
            if any(re.fullmatch("[a-z]+", suite) for suite in fields.get("Suites", "").split()):
                fields |= {"Types": "deb-src", "Suites": release, "Components": "main"}
                return "".join(f"{name}: {value}\n" for name, value in fields.items())
    raise FileNotFoundError(f"no sources of Debian in {_SOURCES}")
