"""Names of VMs and hosts: one spelling of each, checked where a name comes in."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.message import Exact

# libvirt keeps a VM in files that are named after it, with up to 12 bytes behind (`.xml`, `-agent.sock`...).
_NAME_MAX = 240


@dataclass(frozen=True, slots=True)
class VmIdentity:
    """The VM that an action is for.

    Arguments:
        uuid: of the VM; several VMs can have it, one after the other.
        name: of the VM; a VM with another name does not match.
        id: libvirt's number of this run of the VM; it changes when the VM is started again. None if unknown: a running
            VM
            is then not ended.
    """

    uuid: str
    name: str
    id: int | None = None


def name_problem(name: str) -> str | None:
    """Return why vmferry cannot move a VM with that name; None if it can.

    libvirt accepts nearly any text; white space at either end is part of the name.
    """
    if not name or name in (".", "..") or "/" in name:
        return "it cannot be the name of a file"
    if not name.isprintable():
        return "it has characters that cannot be printed"
    if len(name.encode()) > _NAME_MAX:
        return f"it is longer than {_NAME_MAX} bytes"
    return None


def require_name(name: str) -> None:
    """Check that a VM has a name with which it can be moved.

    Raises:
        UsageError: vm-name-unusable.
    """
    why = name_problem(name)
    if why is not None:
        raise UsageError(codes.VM_NAME_UNUSABLE, vm=ascii(name)[:100], why=why)


def _checked(name: str) -> str:
    why = name_problem(name)
    if why is not None:
        raise ValueError(why)
    return name


VmName = Annotated[Exact, AfterValidator(_checked)]
# As libvirt writes it: lower case, with hyphens. libvirt itself takes other spellings, so there must be only one here.
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
