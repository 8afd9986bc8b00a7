"""Nothing opens, makes, changes or removes a file by its path where somebody else may have put that name.

What vmferryd and the workers do in folders of disks goes through safefiles.py. Each place that takes a path
all the same is on the list, with whose folder it is. Looks that change nothing (stat, realpath) are not counted.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import vmferry

_SOURCE = Path(vmferry.__file__).parent
_PACKAGES = ("transfer", "jobs", "net", "hypervisor", "preflight", "agent")

_STATE = "the state folder: root's alone (0700)"
_RUN = "the run folder: root's, and nobody else writes there"
_LOGS = "the folder of the audit log: root's alone (0700)"
_SYSTEM = "the kernel's and the system's own files"
_ALLOWED = {
    "transfer/worker/commit.py::Commit": _RUN,
    "jobs/control.py::ControlServer": _RUN,
    "transfer/worker/definition.py::_keep": _STATE,
    "transfer/worker/endpoint.py::Endpoint": _RUN,
    "transfer/worker/main.py::_alone": _STATE,
    "transfer/disks/originals.py::_identity": "only told which file it is (O_PATH)",
    "jobs/spec.py": _STATE,
    "jobs/startlock.py::StartLock": _STATE,
    "hypervisor/storage/chains.py::open_image": "read for names of files only, told to nobody; no device or FIFO",
    "hypervisor/storage/holders.py": _SYSTEM,
    "hypervisor/leases.py::manager": _SYSTEM,
    "hypervisor/resources.py::_read": _SYSTEM,
    "safefiles.py": "through descriptors",
    "hypervisor/snapshot.py": _SYSTEM,
    "agent/peers/outgoing_signin.py::OutgoingSignIn": _SYSTEM,
    "agent/doctor/hook.py": _SYSTEM,
    "agent/moves/joblog.py::_end": _STATE,
    "agent/doctor/facts.py": _SYSTEM,
    "agent/main.py::main": _RUN,
    "agent/main.py::_lock": _STATE,
    "agent/moves/nonces.py::_note": _STATE,
    "agent/moves/nonces.py::noted": _STATE,
    "agent/moves/nonces.py::remove": _STATE,
    "agent/moves/resolutions.py::Resolutions": _STATE,
    "agent/http/server.py::Server": _RUN,
    "agent/peers/site.py::Site": _STATE,
    "agent/moves/sweep.py::Sweep": _STATE,
    "agent/moves/sweep.py::_free": _STATE,
    "agent/http/tls.py::Contexts": _STATE,
    "agent/auditlog/log.py::AuditLog": _LOGS,
}

_OF_MODULES = {
    "os": "open unlink remove rename replace renames chmod chown lchown mkdir makedirs rmdir removedirs link symlink "
    "truncate mkfifo mknod utime setxattr removexattr",
    "shutil": "rmtree move copy copy2 copyfile copytree chown",
}
_OF_PATHS = {
    "unlink",
    "rename",
    "chmod",
    "lchmod",
    "mkdir",
    "rmdir",
    "touch",
    "write_text",
    "write_bytes",
    "read_text",
    "read_bytes",
    "symlink_to",
    "hardlink_to",
}
_OWN = ("safefiles", "proofs", "nonces")  # modules of ours, whose functions have such names


def _takes_a_path(call: ast.Call) -> bool:
    """Return whether a call does something with the file of a path."""
    if any(keyword.arg in ("dir_fd", "src_dir_fd") for keyword in call.keywords):
        return False
    if isinstance(call.func, ast.Name):
        return call.func.id == "open"
    if not isinstance(call.func, ast.Attribute):
        return False
    name, owner = call.func.attr, call.func.value
    if isinstance(owner, ast.Name) and owner.id in _OF_MODULES:
        return name in _OF_MODULES[owner.id].split()
    if isinstance(owner, ast.Name) and owner.id in _OWN:
        return False
    if name == "open":  # of a Path: its first argument is a mode, if there is one
        modes = [word.value for word in call.args if isinstance(word, ast.Constant)]
        return (
            (not call.args and not call.keywords)
            or bool(set(modes) & {"r", "w", "a", "rb", "wb", "ab", "r+b"})
            or any(keyword.arg == "encoding" for keyword in call.keywords)
        )
    if name == "replace":  # of a text it has two arguments
        return len(call.args) == 1
    return name in _OF_PATHS


def _calls(node: ast.AST, where: str = "") -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{where}.{child.name}" if where else child.name
        if isinstance(child, ast.Call) and _takes_a_path(child):
            yield where, child
        yield from _calls(child, inside)


def _found() -> Iterator[tuple[str, str, str]]:
    files = [_SOURCE / "safefiles.py", *(file for package in _PACKAGES for file in (_SOURCE / package).rglob("*.py"))]
    for file in sorted(files):
        name = str(file.relative_to(_SOURCE))
        for where, call in _calls(ast.parse(file.read_text())):
            yield name, f"{name}::{where.partition('.')[0]}", f"line {call.lineno}: {ast.unparse(call)}"


def test_files_are_reached_by_path_only_where_nobody_else_writes() -> None:
    found = list(_found())
    assert [line for line in found if line[0] not in _ALLOWED and line[1] not in _ALLOWED] == []
    unused = set(_ALLOWED) - {place for line in found for place in line[:2]}
    assert unused == set(), "the list is longer than it need be"


def test_such_a_call_is_seen() -> None:
    text = "\n".join(
        [
            "Path(path).unlink(missing_ok=True)",
            "os.open(path, os.O_RDONLY)",
            "open(path)",
            "path.open('rb')",
            "shutil.rmtree(folder)",
            "draft.replace(place)",
            "(folder / name).chmod(0o600)",
            "os.unlink(name, dir_fd=folder)",
            "safefiles.rename(folder, one, other)",
            "text.replace('a', 'b')",
            "session.open('probe')",
        ]
    )
    assert [call.lineno for _, call in _calls(ast.parse(text))] == [1, 2, 3, 4, 5, 6, 7]
