"""The settings of the host: what an administrator changes while vmferryd runs."""

from typing import Annotated

from fastapi import APIRouter, Depends

from vmferry.agent.http.actions import action
from vmferry.agent.http.auth import Require, ThisAgent, Viewer
from vmferry.core.messages.api import (
    DisableRequest,
    LocalAddress,
    MigrationNetwork,
    NetworkChange,
    NetworkRequest,
    SettingsAnswer,
)
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.restrictions import Restriction
from vmferry.core.policy.settings import HostSettings, SettingsChange
from vmferry.identity.access import UserRole

router = APIRouter(prefix="/host", tags=["settings"])
Administrator = Annotated[Caller, Depends(Require(UserRole.ADMINISTRATOR, "change its settings"))]


@router.get("/settings")
@action("show_settings")
def show_settings(caller: Viewer, agent: ThisAgent) -> HostSettings:
    """Show the settings."""
    return agent.services.stores.settings.host()


@router.patch("/settings")
@action("change_settings")
def change_settings(change: SettingsChange, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Change settings; what is null stays."""
    return agent.control.change(change, caller)


@router.post("/settings/try")
@action("try_settings", question=True)
def try_settings(change: SettingsChange, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """See whether the settings can be changed, and how they would be then. Nothing is changed."""
    return agent.control.attempt(change)


@router.post("/restrictions")
@action("restrict_operator")
def restrict_operator(restriction: Restriction, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Limit an operator, besides what they are limited to already; the very same one again changes nothing."""
    return agent.control.restrict(restriction, caller)


@router.delete("/restrictions/{who:path}")
@action("unrestrict_operator")
def unrestrict_operator(who: str, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Take all limits of somebody away."""
    return agent.control.unrestrict(who, caller)


@router.get("/addresses")
@action("list_addresses")
def list_addresses(caller: Viewer, agent: ThisAgent) -> list[LocalAddress]:
    """List the addresses of this host on which moves can travel."""
    return agent.control.addresses()


@router.get("/networks")
@action("list_networks")
def list_networks(caller: Viewer, agent: ThisAgent) -> list[MigrationNetwork]:
    """List the networks that moves may travel over, in the order in which they are tried."""
    return agent.control.networks()


@router.post("/networks")
@action("add_network")
def add_network(request: NetworkRequest, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """List a network; the very same one again changes nothing."""
    return agent.control.add_network(request, caller)


@router.patch("/networks/{subnet:path}")
@action("set_network")
def set_network(subnet: str, change: NetworkChange, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Give a listed network another subnet or priority."""
    return agent.control.set_network(subnet, change, caller)


@router.delete("/networks/{subnet:path}")
@action("remove_network")
def remove_network(subnet: str, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Take a network off the list."""
    return agent.control.remove_network(subnet, caller)


@router.post("/migration/enable")
@action("enable_migration")
def enable_migration(caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Let VMs come and go."""
    return agent.control.enable(caller)


@router.post("/migration/disable")
@action("disable_migration")
def disable_migration(request: DisableRequest, caller: Administrator, agent: ThisAgent) -> SettingsAnswer:
    """Let no more VMs come and go, at once; says which moves go on to their end."""
    return agent.control.disable(request, caller)
