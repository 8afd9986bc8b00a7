"""Where the disks go: shared or copied, and folder, policy, space, permissions and file system there."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core import paths as rules
from vmferry.core.libvirt import domainxml
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Artifact
from vmferry.core.messages.snapshot import Place
from vmferry.preflight.case import Case, Check

_DIRECT = ("none", "directsync")  # cache modes that open the file with O_DIRECT


def _storage(case: Case) -> Iterator[Finding]:
    vm, host = case.vm, case.here.name
    places = {place.target: place for place in case.here.places}
    needed: dict[int, int] = {}
    caches = domainxml.caches(case.plan.live_xml)
    for disk in vm.disks:
        place = places[disk.target]
        folder = place.path.rpartition("/")[0]
        names = {"host": host, "disk": disk.target}
        seen_there = f"{folder}: {place.free} bytes free"
        why = rules.problem(place.path)
        if why is not None:
            seen = (disk.path, place.path)
            yield Finding.blocks(codes.DISK_PATH_UNUSABLE, seen, path=place.path, why=why, **names)
        elif not place.shared and not vm.options.include_storage:
            seen = (disk.path, "not seen")
            yield Finding.blocks(codes.DISK_NOT_SHARED, seen, vm=vm.vm, path=disk.path, **names)
        elif not place.folder_exists:
            yield Finding.blocks(codes.STORAGE_PATH_MISSING, (disk.path, "no such folder"), path=folder, **names)
        elif not place.allowed:
            allowed = ", ".join(case.here.policy.disk_folders)
            yield Finding.blocks(
                codes.STORAGE_PATH_FORBIDDEN,
                (disk.path, f"disk_folders: {allowed}"),
                path=folder,
                allowed=allowed,
                **names,
            )
        else:
            yield from _file_system(case, disk, place, folder, caches.get(disk.target, ""))
            if place.used:
                yield Finding.blocks(
                    codes.SHARED_DISK_USED, (disk.path, place.used), vm=vm.vm, path=place.path, uses=place.used, **names
                )
            if place.shared or place.present:
                continue
            needed[place.device] = needed.get(place.device, 0) + disk.space(full=vm.options.full_space)
            if place.free < needed[place.device]:
                seen = (f"{disk.space(full=vm.options.full_space)} bytes to copy", seen_there)
                yield Finding.blocks(
                    codes.STORAGE_FULL, seen, path=folder, free=place.free, needed=needed[place.device], **names
                )
            same = [plan.target for plan in case.plan.disks if plan.path == place.path]
            if len(same) > 1 and disk.target == same[-1]:
                together = f"{', '.join(same[:-1])} and {same[-1]}"
                names = {"vm": vm.vm, "there": host, "disks": together, "last": same[-1], "path": place.path}
                yield Finding.blocks(codes.DISKS_COLLIDE, (together, place.path), **names)
            elif place.differs and len(same) == 1:
                seen = (f"{disk.path}: {disk.size} bytes", f"{place.path}: {place.differs}")
                fields = {"vm": vm.vm, "there": host, "disk": disk.target, "path": place.path}
                yield Finding.blocks(codes.MEDIA_DIFFERS, seen, why=place.differs, **fields)
            elif place.taken and len(same) == 1:
                yield Finding.blocks(
                    codes.DISK_EXISTS, (disk.path, f"{place.path} is taken"), path=place.path, vm=vm.vm, **names
                )


def _file_system(case: Case, disk: Artifact, place: Place, folder: str, cache: str) -> Iterator[Finding]:
    names = {"host": case.here.name, "disk": disk.target, "path": folder}
    if not place.writable and not place.shared and not place.present:
        yield Finding.blocks(codes.STORAGE_READ_ONLY, ("", f"{folder} cannot be written"), **names)
    if not place.reachable:
        user = case.here.qemu_user
        yield Finding.warns(codes.STORAGE_UNREACHABLE, ("", f"closed to {user}"), user=user, **names)
    if cache in _DIRECT and not place.direct:
        seen = (f"cache={cache}", "no O_DIRECT")
        yield Finding.blocks(codes.STORAGE_NOT_DIRECT, seen, vm=case.vm.vm, cache=cache, **names)


STORAGE = Check(
    _storage,
    {
        codes.DISK_PATH_UNUSABLE: "The path can be read in two ways, or its name is kept for vmferry's own files.",
        codes.SHARED_DISK_USED: "Two VMs that write to one file, or one that reads what another writes, damage it.",
        codes.DISK_NOT_SHARED: "Only the memory was to move, and the disk's file is not one that both hosts see.",
        codes.STORAGE_PATH_MISSING: "A disk goes into the folder that it is in here, unless another is named.",
        codes.STORAGE_PATH_FORBIDDEN: "A host takes disks only into the folders that its administrator has named.",
        codes.STORAGE_READ_ONLY: "The file system is mounted read-only, or its server lets nobody write.",
        codes.STORAGE_UNREACHABLE: "libvirt gives QEMU's user the file, but not the folders above it.",
        codes.STORAGE_NOT_DIRECT: "cache=none and directsync pass by the page cache, which tmpfs and some FUSE and "
        "network file systems do not allow.",
        codes.STORAGE_FULL: "What the disks hold now, together, is more than the file system has free.",
        codes.DISKS_COLLIDE: "Two files of one name, in two folders here, go into one folder there.",
        codes.MEDIA_DIFFERS: "A read-only file that is there already is used if its content is the same and nobody but "
        "root can change it; this one is another.",
        codes.DISK_EXISTS: "Something has that name already: another VM's disk, or what an earlier copy left.",
    },
)
