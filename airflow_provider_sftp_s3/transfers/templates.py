"""What Airflow's templates leave to do: lists that come as their text, and labels that are too long."""

from __future__ import annotations

import ast
import contextlib
import json
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sftp_s3._compat import BaseOperator
from airflow_provider_sftp_s3.engine.paths import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_sftp_s3._compat import Context

#: Characters in a mapped task's label (`TaskInstance.rendered_map_index`, String(250) in 2.10 to 3.3). PostgreSQL and
#: MySQL refuse a longer one, which fails the task after its work; SQLite takes it.
MAX_LABEL = 250


class TemplatedOperator(BaseOperator):
    """
    Base of operators, to stand before the other bases of a sensor.

    * A template that gives the text of a list is that list, in the fields that may be lists, where the argument, or an
      item of it, was written as a template. What was written plainly stays as it is: ``[a]`` is a glob, and a key.
    * `map_index_template` gives no more than 250 characters, whatever is mapped over.
    """

    #: The template fields that may be lists of texts.
    _lists: ClassVar[Sequence[str]] = ("include", "exclude")

    # Airflow calls this one, of the unmapped task, for mapped tasks as for others; render_template_fields only for the
    # others.
    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, *args: Any, **kwargs: Any
    ) -> None:
        written = {name: getattr(self, name) for name in self._lists} if parent is self else {}
        super()._do_render_template_fields(parent, template_fields, context, *args, **kwargs)
        for name, before in written.items():
            setattr(self, name, _with_lists(before, getattr(self, name)))
        if parent is self and (template := context.get("map_index_template")):
            # Airflow renders it after this. One that breaks off where a limit is says more than a failed task.
            bounded = f"{{% filter string | truncate({MAX_LABEL}, true, '...', 0) %}}{template}{{% endfilter %}}"
            context["map_index_template"] = bounded


def is_template(text: str) -> bool:
    """Say whether Airflow's templates give something else than the text itself."""
    return "{{" in text or "{%" in text


def _with_lists(written: Any, rendered: Any) -> Any:
    """Return what a field was rendered to, with the list for the text of one."""
    if isinstance(written, str):
        return _list_in(written, rendered)
    if (
        not isinstance(written, (list, tuple))
        or not isinstance(rendered, (list, tuple))
        or len(written) != len(rendered)
    ):
        return rendered  # from XCom, for instance, where lists are lists
    several: list[Any] = []
    for before, after in zip(written, rendered, strict=True):
        found = _list_in(before, after) if isinstance(before, str) else after
        several.extend(found if isinstance(found, (list, tuple, set)) else [found])
    return several


def _list_in(written: str, rendered: Any) -> Any:
    """Return the list whose text, as Python or JSON writes it, a template has given; else what it has given."""
    if not isinstance(rendered, str) or not is_template(written) or rendered == written:
        return rendered
    text = rendered.strip()
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return rendered
    parsed: Any = None
    for parse in (json.loads, ast.literal_eval):  # JSON first: "\ud83d\ude00" is one character there, and two in Python
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            parsed = parse(text)
            break
    if not isinstance(parsed, (list, tuple, set)):
        return rendered
    # In "[{{ digit }}]" the brackets are the user's own, and make a glob.
    if written.strip()[:1] == text[:1] and not all(isinstance(item, str) for item in parsed):
        return rendered
    return sorted(parsed, key=str) if isinstance(parsed, set) else list(parsed)


def label_of(keys: Any) -> str:
    """
    Return a label of a batch of keys for Airflow's UI: how many, and the first, such as "1000 from partner/a.csv".

    Of a long key both ends are shown: what is in the middle says least. Up to 250 characters, all of them printable.
    """
    several = [keys] if isinstance(keys, str) else list(keys or ())
    if not several:
        return "0"
    start = f"{len(several)} from "
    first, room = printable(str(several[0])), MAX_LABEL - len(start)
    if len(first) > room:
        half = (room - 1) // 2
        first = f"{first[:half]}…{first[-half:]}"
    return start + first
