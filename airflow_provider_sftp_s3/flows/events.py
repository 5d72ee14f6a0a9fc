"""Who is told of what becomes of a flow's tasks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from airflow_provider_sftp_s3._compat import BaseNotifier
from airflow_provider_sftp_s3.flows.values import NotAllowed, Plain, choice, plain

#: What a flow can tell of each of its tasks: the field in `notify` -> the argument of Airflow's operators.
CALLBACKS = {
    "on_failure": "on_failure_callback",
    "on_success": "on_success_callback",
    "on_retry": "on_retry_callback",
}


@dataclass(frozen=True, eq=False)
class Notification:
    """
    What Airflow calls with the context of a task.

    A notifier renders its templates in place, and could be used once only: it is made anew for each call.
    """

    notifier: Any
    arguments: Mapping[str, Any]

    def __call__(self, context: Any) -> None:
        """Send it."""
        self.notifier(**self.arguments)(context)


def notify(value: Any) -> dict[str, list[Notification]]:
    """Return arguments of operators from a mapping of on_failure, on_success and on_retry to lists of notifiers."""
    if not isinstance(value, Mapping) or not value:
        raise NotAllowed
    told = {}
    for event, several in value.items():
        callback = CALLBACKS[choice(event, among=tuple(CALLBACKS))]
        told[callback] = [_notification(one) for one in (several if isinstance(several, list) else [several])]
    return told


def _notification(value: Any) -> Notification:
    """Return the notification of a dotted path, or of a mapping of one to its arguments."""
    if isinstance(value, Mapping):
        if len(value) != 1:
            raise NotAllowed("a notifier is one dotted path, with a mapping of its arguments")
        ((path, arguments),) = value.items()
    else:
        path, arguments = value, {}
    name = plain(path, pattern=r"(?:\w+\.)+\w+")
    if arguments is not None and not isinstance(arguments, Mapping):
        raise NotAllowed(f"the arguments of {name} are no mapping")
    module, _, attribute = name.rpartition(".")
    try:
        notifier = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NotAllowed(f"there is no {name} here: {error}") from None
    if not isinstance(notifier, type) or not issubclass(notifier, BaseNotifier):
        raise NotAllowed(f"{name} is no notifier: no class that derives from Airflow's BaseNotifier")
    notification = Notification(notifier, {str(key): _typed(given) for key, given in (arguments or {}).items()})
    try:
        notifier(**notification.arguments)
    except Exception as error:
        raise NotAllowed(f"{name} does not take these arguments: {type(error).__name__}: {error}") from None
    return notification


def _typed(value: Any) -> Any:
    """Return a value as YAML means it: what has no quotes may be a number, true, false or null."""
    if isinstance(value, Plain):
        return yaml.safe_load(value)
    if isinstance(value, Mapping):
        return {str(key): _typed(inner) for key, inner in value.items()}
    return [_typed(inner) for inner in value] if isinstance(value, list) else value
