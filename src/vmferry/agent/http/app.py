"""The ASGI application and its OpenAPI document."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from vmferry.agent.http import actions, problems
from vmferry.agent.http.audit import Audit
from vmferry.agent.http.auth import Agent
from vmferry.agent.http.gate import API, OPEN_PATHS, Gate
from vmferry.agent.http.head import Head
from vmferry.agent.http.routes import audit, doctor, hosts, jobs, peer, settings, signin, site, tokens, vms
from vmferry.core.messages.api import Problem

_DESCRIPTION = """\
Moves running virtual machines between standalone KVM hosts.

Errors are RFC 9457 problems with a stable `code`; docs/api.md describes who can reach which path, and how."""


_PROBLEMS = {
    "400": "The request itself is wrong (RFC 9457)",
    "401": "Who calls has not shown who they are, or not rightly (RFC 9457)",
    "403": "Who calls may not do that (RFC 9457)",
    "404": "There is no such thing (RFC 9457)",
    "409": "It cannot be as things stand (RFC 9457)",
    "default": "Any other problem (RFC 9457)",
}
_SERVER = {
    "url": "https://{host}:{port}",
    "description": "A host. On the host itself its unix socket serves the same, and the kernel tells who calls.",
    "variables": {"host": {"default": "localhost"}, "port": {"default": "6601"}},
}
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "an API token: `vmferry host token create`"},
    "ticket": {"type": "http", "scheme": "negotiate", "description": "a Kerberos ticket (RFC 4559)"},
    "certificate": {"type": "mutualTLS", "description": "of a paired host, or of one of the site"},
}


def application(agent: Agent) -> ASGIApp:
    """Give the application, behind its gate, and all of it under audit."""
    name = agent.services.config.name
    app = _routes(name)
    app.state.agent = agent
    gate = Gate(app, agent.services.stores.tokens, agent.services.keys, name)
    return Audit(Head(gate), agent.trail, name)


def document() -> str:
    """Give the OpenAPI document, as docs/openapi.json has it."""
    return json.dumps(_routes("").openapi(), indent=2) + "\n"


def _routes(host: str) -> FastAPI:
    app = FastAPI(
        title="vmferry",
        version="v1",
        description=_DESCRIPTION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation,
        redirect_slashes=False,
    )
    problems.install(app, host)
    for module in (hosts, settings, site, tokens, vms, jobs, audit, doctor, peer, signin):
        app.include_router(module.router, prefix=API)
    made = app.openapi

    def openapi() -> dict[str, Any]:
        return _with_problems(made()) if app.openapi_schema is None else app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _operation(route: APIRoute) -> str:
    named = actions.of(route.endpoint)
    return named.name if named else route.name


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Say that every operation may answer with a problem, in place of FastAPI's own form of them."""
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status, meaning in _PROBLEMS.items():
                operation["responses"][status] = {"description": meaning, "content": content}
            operation["security"] = _security(path)
    schema["servers"] = [_SERVER]
    schema["components"]["securitySchemes"] = _SCHEMES
    return schema


def _security(path: str) -> list[dict[str, list[str]]]:
    """Return what a caller of a path shows, one of these; empty: nothing."""
    if path.startswith(f"{API}/peer/"):
        return [{"certificate": []}]
    return [] if path in OPEN_PATHS else [{"token": []}, {"ticket": []}]
