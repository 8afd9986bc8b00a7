"""Errors as RFC 9457 problems."""

import logging
import secrets

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from vmferry.core import codes, message
from vmferry.core.errors import InternalError, PreflightError, UsageError, VmferryError

log = logging.getLogger("vmferry.agent")
MEDIA_TYPE = "application/problem+json"
HOST_TO_HOST = ("/api/v1/peer/", "/api/v1/pairing", "/api/v1/signin")  # paths that hosts ask for


def response(error: VmferryError) -> JSONResponse:
    """Give the answer for an error."""
    return JSONResponse(error.problem(), error.code.status, media_type=MEDIA_TYPE)


def install(app: FastAPI, host: str) -> None:
    """Have every error of the app answered as a problem.

    Arguments:
        host: this host's name.
    """

    @app.exception_handler(VmferryError)
    async def known(request: Request, error: VmferryError) -> JSONResponse:
        return response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        needed = message.unknown(error.errors()) if request.url.path.startswith(HOST_TO_HOST) else None
        if needed is not None:
            return response(PreflightError(codes.RELEASE_OLDER, host=host, what=needed))
        return response(UsageError(codes.BAD_REQUEST, detail=message.fault(error)))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # What it was is in the log, under the reference, and nowhere else.
        reference = secrets.token_hex(4)
        log.error("%s: %s %s failed", reference, request.method, request.url.path, exc_info=error)
        why = f"something unexpected happened, see {reference} in its log"
        return response(InternalError(codes.INTERNAL, why=why))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        cause = error.__cause__
        if isinstance(cause, VmferryError):  # raised while the body was read
            return response(cause)
        if error.status_code == 404:
            return response(UsageError(codes.NOT_FOUND, path=request.url.path))
        if error.status_code == 405:
            detail = f"{request.method} is not for {request.url.path}"
            answer = response(UsageError(codes.METHOD_WRONG, detail=detail))
            answer.headers["Allow"] = ", ".join(await run_in_threadpool(_allowed, request))
            return answer
        return response(UsageError(codes.BAD_REQUEST, detail=error.detail))


def _allowed(request: Request) -> list[str]:
    """Return all methods for a path (RFC 9110, 10.2.1): each route knows only its own."""
    paths = request.app.openapi()["paths"].items()
    alike = (operations for path, operations in paths if compile_path(path)[0].match(request.url.path))
    return sorted({method.upper() for operations in alike for method in operations})
