"""The records of the audit log: who requested what, from where, and with which result."""

import json
import math
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmferry.core.auditlog.chain import PeerHead
from vmferry.core.message import load
from vmferry.core.text import cleaned, printable

LONGEST = 200  # characters of one value
_TOLD = frozenset(
    {
        *("destination", "include_storage", "storage_path", "disk_paths", "performance", "encryption", "bandwidth"),
        *("max_downtime", "auto_converge", "keep_source_disks", "vm", "source", "reason", "moves"),
        *(
            "authentication",
            "max_migrations",
            "max_storage_migrations",
            "any_network",
            "networks",
            "subnet",
            "priority",
        ),
        *("administrators", "operators", "viewers", "principals", "restrictions", "who", "vms", "to"),
        *("name", "address", "port", "callers", "names", "role", "expires_in"),
    }
)
"""What of a request's body is told. Anything new is left out until it is named here: so no secret slips in."""


class AuditRecord(BaseModel):
    """One request, as the host saw it that answered."""

    model_config = ConfigDict(frozen=True)

    at: datetime = Field(description="when it was answered")
    host: str = Field(description="the host that answered")
    action: str | None = Field(description="the API's operation, such as move_vm; null: refused before it was known")
    request: str = Field(description="method and path")
    caller: str | None = Field(description="a user, a token, or a host; null: a stranger")
    method: str = Field(description="how the caller was known: unix, token, certificate, none")
    role: str | None = Field(default=None, description="the role that the caller had")
    on_behalf_of: str | None = Field(default=None, description="for whom a host says that it asks")
    on_behalf_method: str | None = Field(default=None, description="how they were known there, as that host says")
    address: str = Field(description="where from: a network address, or `unix` for a process on the host")
    job: str | None = None
    about: dict[str, str | bool | int | float] = Field(
        default={}, description="what was asked, without secrets; lists and objects as their JSON text"
    )
    peer_head: PeerHead | None = Field(default=None, description="head of the other host's audit log, as it told it")
    result: str = Field(description="ok, or the error's code")
    status: int | None = Field(description="the HTTP status; null: it was never answered")
    left_out: int = Field(
        default=0,
        description="requests before this one that were too many to have a record each",
    )


def read(body: bytes) -> dict[str, Any]:
    """Return the properties of a request's body; none if it is not a JSON object."""
    try:
        values = cleaned(load(body))
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def told(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a request that may be recorded."""
    return {name: _short(value) for name, value in values.items() if name in _TOLD and value is not None}


def told_path(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the path parameters that may be recorded; the job has a property of its own."""
    return {name: _short(value) for name, value in parameters.items() if name != "job"}


def on_behalf_of(values: dict[str, Any]) -> str | None:
    """Return for whom a host says that it offers a VM."""
    caller = values.get("caller")
    return printable(str(caller["name"]), LONGEST) if isinstance(caller, dict) and "name" in caller else None


def on_behalf_method(values: dict[str, Any]) -> str | None:
    """Return how the host that offers a VM says that it authenticated the user."""
    caller = values.get("caller")
    return printable(str(caller["method"]), LONGEST) if isinstance(caller, dict) and "method" in caller else None


def peer_head(values: dict[str, Any], host: str) -> PeerHead | None:
    """Return the head of its audit log that a host sends with an offer; None if it sends none."""
    head = values.get("audit_head")
    try:
        return PeerHead.model_validate(head | {"host": host}) if isinstance(head, dict) else None
    except ValidationError:
        return None


def _short(value: Any) -> str | int | float:
    if isinstance(value, str):
        return printable(value, LONGEST)
    text = json.dumps(value)
    plain = isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain and len(text) <= LONGEST else printable(text, LONGEST)
