"""What the audit log and the OpenAPI document call the operations of the API.

The names are public: they are in logs, and whoever reads these looks for them. Therefore each route says its own, and
the name of the function behind it can change.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the API.

    Arguments:
        name: in the audit log, and as operation id in the OpenAPI document.
        question: whether it changes nothing although it is no GET, or only reserves something for seconds: it has a
            record only if it fails.
        carries_head: whether the request has the head of the calling host's audit log.
    """

    name: str
    question: bool = False
    carries_head: bool = False


_actions: dict[Callable[..., Any], Action] = {}


def action(name: str, *, question: bool = False, carries_head: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Name the operation of a route; arguments as for `Action`."""

    def named(endpoint: Endpoint) -> Endpoint:
        _actions[endpoint] = Action(name, question, carries_head)
        return endpoint

    return named


def of(endpoint: Callable[..., Any] | None) -> Action | None:
    """Return the action of a route's function; None if it has none."""
    return _actions.get(endpoint) if endpoint is not None else None


def all_actions() -> Iterable[Action]:
    """Return the actions of all routes."""
    return _actions.values()
