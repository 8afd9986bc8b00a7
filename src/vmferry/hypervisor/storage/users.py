"""Find who else uses the files of a VM's disks, by device and inode, not by their names.

All domains of this host's libvirt count: running, defined, saved, and in snapshots; with their backing files, and with
images in the same folders and in storage pools that are based on the files.
"""

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import libvirt

from vmferry.core.errors import VmferryError
from vmferry.core.libvirt import domainxml, xmltree
from vmferry.core.messages.use import By, Surroundings, Use
from vmferry.hypervisor.connection import is_gone, sentence
from vmferry.hypervisor.storage import chains, pools
from vmferry.hypervisor.storage.chains import Identity

_LIMIT = 20.0  # seconds for looking at files: one on a file system that does not answer must not hold up a move
_IMAGES_MAX = 20_000  # files in the folders that are looked through


@dataclass(slots=True)
class _Claim:
    """A file that someone names."""

    path: str
    by: By
    name: str
    role: str
    format: str | None = "raw"  # raw: there is nothing below it


@dataclass(slots=True)
class _Found:
    claims: list[_Claim] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)


def find(connection: Any, paths: Iterable[str], uuid: str) -> Surroundings:
    """Return who uses files, other than one VM.

    Arguments:
        connection: to libvirt.
        paths: of the files; one that does not exist has no users.
        uuid: the VM whose own uses do not count.

    Raises:
        libvirt.libvirtError: libvirt went away.
    """
    wanted: dict[Identity, list[str]] = {}
    found = _Found()
    for path in paths:
        try:
            wanted.setdefault(chains.identity(path), []).append(path)
            found.folders.add(str(Path(os.path.realpath(path)).parent))
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unknown.append(f"{path}: {error.strerror}")
    own = _claims_of_domains(connection, found, uuid)
    _folders_of_pools(connection, found)
    look = _Look(wanted)
    # A thread that can be left behind: nothing ends a look at a file on a dead file system.
    thread = threading.Thread(target=look.run, args=(found, own), name="users", daemon=True)
    thread.start()
    thread.join(_LIMIT)
    if not look.complete:
        found.unknown.append(f"not all files of this host's VMs could be looked at within {_LIMIT:g} seconds")
    return Surroundings(uses=dict(look.uses), unknown=found.unknown + list(look.unknown))


# --- what libvirt knows -----------------------------------------------------------------------------------------


def _claims_of_domains(connection: Any, found: _Found, uuid: str) -> list[str]:
    """Collect the files that other domains name; return the paths that the VM itself names."""
    own: list[str] = []
    for domain in connection.listAllDomains():
        name = "?"
        try:
            name = domain.name()
            for xml in configurations(domain):
                tree = xmltree.parse(xml)
                if domain.UUIDString() == uuid:
                    own += [path for _element, path in _paths(tree)]
                    continue
                found.claims += _claims(connection, tree, name, found.unknown)
        except libvirt.libvirtError as error:
            if is_gone(error, connection):
                raise
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # else it went away meanwhile
                found.unknown.append(f"VM {name}: {sentence(error)}")
        except VmferryError as error:
            found.unknown.append(f"VM {name}: {error.reason}")
    return own


def configurations(domain: Any) -> Iterator[str]:
    """Return every configuration that libvirt keeps of a domain."""
    if domain.isActive():
        yield domain.XMLDesc(0)
    if domain.isPersistent():
        yield domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        if domain.hasManagedSaveImage():
            yield domain.managedSaveGetXMLDesc()
        for snapshot in domain.listAllSnapshots():
            yield snapshot.getXMLDesc()


def _claims(connection: Any, tree: Element, vm: str, unknown: list[str]) -> Iterator[_Claim]:
    """Return the files that a configuration names, for any purpose."""
    in_disks: set[str] = set()
    for entry in domainxml.disk_entries(tree):
        path = entry.path
        if path is None and entry.pool and entry.volume:
            path = _volume(connection, entry.pool, entry.volume)
            if path is None:
                unknown.append(f"VM {vm}: libvirt does not say where volume {entry.volume} of pool {entry.pool} is")
        if path is not None and path.startswith("/"):
            in_disks.add(path)
            yield _Claim(path, By.VM, vm, f"disk {entry.target}" if entry.target else "a disk", entry.format)
    for element, path in _paths(tree):
        if path not in in_disks:
            role = "a backing file" if element.tag == "source" else f"<{element.tag}>"
            yield _Claim(path, By.VM, vm, role)


def _paths(tree: Element) -> Iterator[tuple[Element, str]]:
    """Return every absolute path in a configuration: any element that names a file may use it."""
    for element in tree.iter():
        for text in (element.text, *element.attrib.values()):
            if text and text.strip().startswith("/"):
                yield element, text.strip()


def _volume(connection: Any, pool: str, volume: str) -> str | None:
    """Return a volume's path; also of an inactive pool, if the pool gives its folder."""
    try:
        found = connection.storagePoolLookupByName(pool)
    except libvirt.libvirtError:
        return None
    try:
        return str(found.storageVolLookupByName(volume).path())
    except libvirt.libvirtError:
        folder = pools.folder(found)
        return f"{folder}/{volume}" if folder else None


def _folders_of_pools(connection: Any, found: _Found) -> None:
    """Add the folders of the storage pools, which contain templates and clones that no VM names."""
    try:
        found_pools = connection.listAllStoragePools()
    except libvirt.libvirtError:
        return  # a libvirt without its storage part has none
    found.folders |= {os.path.realpath(folder) for pool in found_pools if (folder := pools.folder(pool))}


# --- what the files are -----------------------------------------------------------------------------------------


class _Look:
    """Looks at what files are.

    Arguments:
        wanted: the files whose users are looked for, each with the paths that lead to it.
    """

    def __init__(self, wanted: Mapping[Identity, list[str]]) -> None:
        self.uses: dict[str, list[Use]] = {}
        self.unknown: list[str] = []
        self.complete = False  # also after an error that nobody thought of: what is not known is not free
        self._wanted = wanted
        self._known: set[Identity] = set()
        self._chains: dict[tuple[Identity, str | None], chains.Chain] = {}

    def run(self, found: _Found, own: Iterable[str]) -> None:
        """Look at everything that was found; `own` are the VM's files, on which no other file here is based."""
        for claim in found.claims:
            self._claim(claim)
        for path in own:
            try:
                self._known.add(chains.identity(path))
            except (OSError, ValueError):
                continue  # no file, or none that could be taken for somebody else's
        for image in _images(found.folders, self._known, self.unknown):
            # What nobody configures has no format but its own.
            chain = chains.below(image, None)
            self.unknown += chain.unknown
            for file in chain.files:
                self._add(file, By.IMAGE, image, "the backing file")
        self.complete = True

    def _claim(self, claim: _Claim) -> None:
        number = self._add(claim.path, claim.by, claim.name, claim.role)
        if number is None:
            return
        self._known.add(number)
        key = (number, claim.format)
        if key not in self._chains:
            self._chains[key] = chains.below(claim.path, claim.format)
            self.unknown += [f"VM {claim.name}: {why}" for why in self._chains[key].unknown]
        for file in self._chains[key].files:
            self._add(file, claim.by, claim.name, f"a backing file of {claim.role}")

    def _add(self, path: str, by: By, name: str, role: str) -> Identity | None:
        """Note who uses a file, if it is one of those; return its identity, or None if it does not exist."""
        try:
            number = chains.identity(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            self.unknown.append(f"{role} of {name}, {path}: {error}")
            return None
        for wanted in self._wanted.get(number, ()):
            uses = self.uses.setdefault(wanted, [])
            use = Use(by=by, name=name, role=role)
            if use not in uses:
                uses.append(use)
        return number


def _images(folders: Iterable[str], known: set[Identity], unknown: list[str]) -> Iterator[str]:
    """Return the files in folders that do not belong to a known VM: those were examined in their VM's format."""
    count = 0
    for folder in folders:
        try:
            entries = os.scandir(folder)
        except OSError:
            continue  # a pool's folder that is not there
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) in known:
                    continue
                count += 1
                if count > _IMAGES_MAX:
                    unknown.append(f"{folder}: it and the other folders of disks hold more than {_IMAGES_MAX} files")
                    return
                yield str(Path(folder) / entry.name)
