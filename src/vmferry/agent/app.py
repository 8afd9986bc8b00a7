"""The ASGI application and its OpenAPI document."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from vmferry.agent import problems
from vmferry.agent.audit import Audit
from vmferry.agent.callers import Agent
from vmferry.agent.gate import API, Gate
from vmferry.agent.routes import audit, doctor, hosts, jobs, peer, settings, signin, site, tokens, vms
from vmferry.core.api import Problem

_DESCRIPTION = """\
Moves running virtual machines between standalone KVM hosts.

Errors are RFC 9457 problems with a stable `code`; docs/api.md describes who can reach which path, and how."""


def application(agent: Agent) -> ASGIApp:
    """Give the application, behind its gate, and all of it under audit."""
    name = agent.services.config.name
    app = _routes(name)
    app.state.agent = agent
    return Audit(Gate(app, agent.services.stores.tokens, agent.services.keys, name), agent.trail, name)


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
    return route.name


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Say that every operation may answer with a problem, in place of FastAPI's own form of them."""
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    answer = {
        "description": "A problem (RFC 9457)",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
    return schema
