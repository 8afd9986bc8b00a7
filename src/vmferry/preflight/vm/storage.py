"""Where the disks go: shared or copied; folder, policy, space, permissions and file system on the destination."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core import paths as rules
from vmferry.core.libvirt import domainxml
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Artifact
from vmferry.core.messages.snapshot import DiskTarget
from vmferry.preflight.case import Case, Check

_DIRECT = ("none", "directsync")  # cache modes that open the file with O_DIRECT


def _storage(case: Case) -> Iterator[Finding]:
    vm, host = case.vm, case.destination.name
    places = {target.target: target for target in case.destination.places}
    needed: dict[int, int] = {}
    caches = domainxml.caches(case.plan.live_xml)
    for disk in vm.disks:
        target = places[disk.target]
        folder = target.path.rpartition("/")[0]
        names = {"host": host, "disk": disk.target}
        seen_there = f"{folder}: {target.free} bytes free"
        why = rules.problem(target.path)
        if why is not None:
            seen = (disk.path, target.path)
            yield Finding.blocks(codes.DISK_PATH_UNUSABLE, seen, path=target.path, why=why, **names)
        elif not target.shared and not vm.options.include_storage:
            seen = (disk.path, "not seen")
            yield Finding.blocks(codes.DISK_NOT_SHARED, seen, vm=vm.vm, path=disk.path, **names)
        elif not target.folder_exists:
            yield Finding.blocks(codes.STORAGE_PATH_MISSING, (disk.path, "no such folder"), path=folder, **names)
        elif not target.allowed:
            allowed = ", ".join(case.destination.policy.disk_folders)
            yield Finding.blocks(
                codes.STORAGE_PATH_FORBIDDEN,
                (disk.path, f"disk_folders: {allowed}"),
                path=folder,
                allowed=allowed,
                **names,
            )
        else:
            yield from _file_system(case, disk, target, folder, caches.get(disk.target, ""))
            if target.used:
                yield Finding.blocks(
                    codes.SHARED_DISK_USED,
                    (disk.path, target.used),
                    vm=vm.vm,
                    path=target.path,
                    uses=target.used,
                    **names,
                )
            if target.shared or target.present:
                continue
            needed[target.device] = needed.get(target.device, 0) + disk.space(full=vm.options.full_space)
            if target.free < needed[target.device]:
                seen = (f"{disk.space(full=vm.options.full_space)} bytes to copy", seen_there)
                yield Finding.blocks(
                    codes.STORAGE_FULL, seen, path=folder, free=target.free, needed=needed[target.device], **names
                )
            same = [plan.target for plan in case.plan.disks if plan.path == target.path]
            if len(same) > 1 and disk.target == same[-1]:
                together = f"{', '.join(same[:-1])} and {same[-1]}"
                names = {"vm": vm.vm, "there": host, "disks": together, "last": same[-1], "path": target.path}
                yield Finding.blocks(codes.DISKS_COLLIDE, (together, target.path), **names)
            elif target.differs and len(same) == 1:
                seen = (f"{disk.path}: {disk.size} bytes", f"{target.path}: {target.differs}")
                fields = {"vm": vm.vm, "there": host, "disk": disk.target, "path": target.path}
                yield Finding.blocks(codes.MEDIA_DIFFERS, seen, why=target.differs, **fields)
            elif target.taken and len(same) == 1:
                yield Finding.blocks(
                    codes.DISK_EXISTS, (disk.path, f"{target.path} is taken"), path=target.path, vm=vm.vm, **names
                )


def _file_system(case: Case, disk: Artifact, target: DiskTarget, folder: str, cache: str) -> Iterator[Finding]:
    names = {"host": case.destination.name, "disk": disk.target, "path": folder}
    if not target.writable and not target.shared and not target.present:
        yield Finding.blocks(codes.STORAGE_READ_ONLY, ("", f"{folder} cannot be written"), **names)
    if not target.reachable:
        user = case.destination.qemu_user
        yield Finding.warns(codes.STORAGE_UNREACHABLE, ("", f"closed to {user}"), user=user, **names)
    if cache in _DIRECT and not target.direct:
        seen = (f"cache={cache}", "no O_DIRECT")
        yield Finding.blocks(codes.STORAGE_NOT_DIRECT, seen, vm=case.vm.vm, cache=cache, **names)


STORAGE = Check(
    _storage,
    {
        codes.DISK_PATH_UNUSABLE: "The path is ambiguous, or its name is reserved for vmferry's own files.",
        codes.SHARED_DISK_USED: "Two VMs that write to one file, or one that reads what another writes, damage it.",
        codes.DISK_NOT_SHARED: "Only the memory was to move, and the hosts do not share the disk's file.",
        codes.STORAGE_PATH_MISSING: "A disk goes into the same folder as on the source, unless another is named.",
        codes.STORAGE_PATH_FORBIDDEN: "A host accepts disks only in the folders that its administrator has named.",
        codes.STORAGE_READ_ONLY: "The file system is mounted read-only, or its server does not allow writing.",
        codes.STORAGE_UNREACHABLE: "libvirt gives QEMU's user access to the file, but not to the folders above it.",
        codes.STORAGE_NOT_DIRECT: "cache=none and directsync bypass the page cache, which tmpfs and some FUSE and "
        "network file systems do not "
        "allow.",
        codes.STORAGE_FULL: "The present data of the disks together is larger than the free space of the file system.",
        codes.DISKS_COLLIDE: "Two files with the same name, in two folders on the source, go into one folder on the "
        "destination.",
        codes.MEDIA_DIFFERS: "A read-only file that exists there already is used if its content is the same and only "
        "root can change it; this "
        "one is another file.",
        codes.DISK_EXISTS: "The name is in use: by another VM's disk, or by a file that an earlier copy left.",
    },
)
