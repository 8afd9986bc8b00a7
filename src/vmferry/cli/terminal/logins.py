"""Saved logins: address, certificate check and token of each host that `vmferry --host NAME` reaches.

They are in one TOML file with a table for each host, which only its owner can read:

    ["kvm1"]
    address = "kvm1.example.org"
    port = 6601
    fingerprint = "9f8c..."              # SHA-256 of its certificate; or
    authority = "/etc/ssl/site-ca.pem"   # authorities that may certify it
    token = "vmft1-..."
"""

import json
import os
import ssl
import stat
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmferry import safefiles
from vmferry.client import Client
from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.message import fault


class SavedLogin(BaseModel):
    """Address, certificate check and token of one host.

    Arguments:
        fingerprint: SHA-256 (hex) of the only certificate that is accepted; None if there is an authority.
        authority: PEM file of the authorities that may certify the host.
        token: an API token of the host.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    port: int = 6601
    fingerprint: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$")
    authority: str | None = None
    token: str = Field(repr=False)

    def client(self) -> Client:
        """Return a client of the host.

        Raises:
            AccessError: the login has neither or both of fingerprint and authority, or the authority cannot be used.
        """
        if (self.fingerprint is None) == (self.authority is None):
            raise _wrong(f"{self.address} has neither or both of fingerprint and authority")
        try:
            text = Path(self.authority).read_text("ascii") if self.authority else None
            return Client.remote(self.address, self.port, self.fingerprint, authorities=text, token=self.token)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _wrong(f"{self.authority} has no certificates ({error})") from error


def path() -> Path:
    """Return the path of the file: $VMFERRY_TOKEN_FILE, or tokens.toml in the user's configuration folder."""
    named = os.environ.get("VMFERRY_TOKEN_FILE")
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(named) if named else Path(home) / "vmferry" / "tokens.toml"


def load() -> dict[str, SavedLogin]:
    """Read the file. Return no logins if there is no file.

    Raises:
        AccessError: other users may read it, or it is damaged (LOGIN_FILE).
    """
    try:
        with path().open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in (0, os.geteuid()):
                raise _wrong("other users may read or write it", f"`chmod 600 {path()}`, and revoke the tokens in it")
            tables = tomllib.loads(file.read().decode("utf-8"))
        return {name: SavedLogin.model_validate(table) for name, table in tables.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _wrong(error.strerror or str(error)) from error
    except ValidationError as error:
        raise _wrong(fault(error)) from error
    except ValueError as error:
        raise _wrong(str(error)) from error


def save(logins: dict[str, SavedLogin]) -> None:
    """Write the file, completely or not at all.

    Raises:
        AccessError: it cannot be written (LOGIN_FILE).
    """
    tables = []
    for name, login in logins.items():
        values = login.model_dump(exclude_none=True)
        # Text and numbers of JSON are valid in TOML (TOML 1.0, basic strings).
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        tables.append("\n".join([f"[{json.dumps(name)}]", *lines]) + "\n")
    file = path()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        safefiles.write(file, "\n".join(tables))
    except OSError as error:
        raise _wrong(error.strerror or str(error)) from error


def _wrong(why: str, remedy: str = "`vmferry host login`") -> AccessError:
    return AccessError(codes.LOGIN_FILE, path=str(path()), why=why, remedy=remedy)
