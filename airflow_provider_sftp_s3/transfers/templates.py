"""
What Airflow leaves to do for its operators' arguments.

Plain values are judged when an operator is made; of templates, lists come as their text, None comes as nothing at all,
and labels are too long.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sftp_s3._compat import BaseOperator, ResolveMixin, is_unmapped
from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_sftp_s3._compat import Context

#: Characters in a mapped task's label (`TaskInstance.rendered_map_index`, String(250) in 2.10 to 3.3). PostgreSQL and
#: MySQL refuse a longer one, which fails the task after its work; SQLite takes it.
MAX_LABEL = 250


class TemplatedOperator(BaseOperator):
    """
    Base of operators, to stand before the other bases of a sensor.

    * What is written plainly is judged when the operator is made, by :meth:`judge`: a typo is an import error of the
      Dag file, and not a failed run. Templates, what is mapped over and what comes from XCom are judged in `execute`.
    * Where such a value is None, or a template gives the text of it, :meth:`refuse_none` says so, for `execute` to
      call: a task before this one that has returned nothing must not have everything moved. Of names that may be None,
      it refuses the text only, by which something would be called.
    * A template that gives the text of a list is that list, in the fields that may be lists, where the argument, or an
      item of it, was written as a template. What was written plainly stays as it is: ``[a]`` is a glob, and a key.
    * `map_index_template` gives no more than 250 characters, whatever is mapped over.
    """

    #: The template fields that may be lists of texts.
    _lists: ClassVar[Sequence[str]] = ("include", "exclude", "last")
    #: The template fields that say what is moved, and where to.
    _places: ClassVar[Sequence[str]] = ("s3_bucket", "s3_prefix", "include")

    #: Those that are a name, or None.
    _names: ClassVar[Sequence[str]] = ("aws_conn_id", "destination", "done_dir", "trigger_file")

    #: The arguments that were given, the defaults of a Dag among them, of a task that was mapped; empty of another one.
    _given: frozenset[str] = frozenset()
    #: Those of `_places` and `_names` for which Airflow has found None, or the text of it.
    _found_none: tuple[str, ...] = ()

    # Airflow's metaclass takes `__init__` as it is after this, and wraps it once more.
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _then_judged(cls, cls.__init__)  # type: ignore[method-assign]

    @classmethod
    def judge(cls, arguments: Mapping[str, Any]) -> None:
        """
        Look at arguments before there is a run; to be overridden.

        :param arguments: by name, those that are known, defaults among them.
        :raises ConfigurationError: a value is not allowed; the message names the argument.
        """

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """
        Return what Airflow's `partial` does, which is to be expanded.

        :raises ConfigurationError: a plain value is not allowed.
        """
        cls.judge(cls.plain(kwargs))
        # An argument of None is one that is not given: see refuse_none.
        return super().partial(
            **{name: kwargs[name] for name in kwargs if kwargs[name] is not None or name not in cls._places}
        )

    @classmethod
    def plain(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return those arguments that are what they will be in `execute`."""
        return {
            name: value for name, value in arguments.items() if name not in cls.template_fields or not is_open(value)
        }

    def refuse_none(self) -> None:
        """
        Look for what was to come from a template, from XCom or from a mapping, and is None; `execute` begins with it.

        :raises ConfigurationError: naming the argument.
        """
        mapped = [name for name in self._places if name in self._given and getattr(self, name) is None]
        for name in (*self._found_none, *mapped):
            raise ConfigurationError(
                f"{name} is None, from a template, from XCom or from what is mapped over: nothing is moved, since "
                f"whatever should have given {name} has given nothing. To go without it, leave the argument out"
            )

    # Airflow calls this one, of the unmapped task, for mapped tasks as for others; render_template_fields only for the
    # others.
    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, *args: Any, **kwargs: Any
    ) -> None:
        fields = [name for name in self.template_fields if name in (*self._lists, *self._places, *self._names)]
        written = {name: getattr(self, name) for name in fields} if parent is self else {}
        super()._do_render_template_fields(parent, template_fields, context, *args, **kwargs)
        for name, before in written.items():
            after = getattr(self, name)
            is_refused = name in self._places or (name in self._names and after is not None)
            if is_refused and _gives_none(before, after):
                self._found_none = (*self._found_none, name)
            if name in self._lists:
                setattr(self, name, with_lists(before, getattr(self, name)))
        if parent is self and (template := context.get("map_index_template")):
            # Airflow renders it after this. One that breaks off where a limit is says more than a failed task.
            bounded = f"{{% filter string | truncate({MAX_LABEL}, true, '...', 0) %}}{template}{{% endfilter %}}"
            context["map_index_template"] = bounded


def is_template(text: str) -> bool:
    """Say whether Airflow's templates give something else than the text itself."""
    return "{{" in text or "{%" in text


def is_open(value: Any) -> bool:
    """Say whether the value of a template field is known in `execute` only: it has a template or a reference in it."""
    if isinstance(value, str):
        return is_template(value) or "{#" in value
    if isinstance(value, dict):
        return any(is_open(item) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(is_open(item) for item in value)
    return isinstance(value, ResolveMixin)


def _then_judged(cls: type[TemplatedOperator], init: Callable[..., None]) -> Callable[..., None]:
    """Return the `__init__` of `cls`, followed by a look at the plain values, where it is the outermost one."""

    @functools.wraps(init)
    def wrapped(self: TemplatedOperator, **kwargs: Any) -> None:
        init(self, **kwargs)
        if next(each for each in type(self).__mro__ if "__init__" in vars(each)) is not cls:
            return  # a subclass has not set all that it sets
        if is_unmapped(self):
            self._given = frozenset(kwargs)
        else:
            self.judge(self.plain(vars(self)))

    return wrapped


def _gives_none(written: Any, rendered: Any) -> bool:
    """Say whether a template field that was not None, or an item of it, has come to None, or to the text of it."""
    if isinstance(written, (list, tuple)) and isinstance(rendered, (list, tuple)) and len(written) == len(rendered):
        return any(_gives_none(before, after) for before, after in zip(written, rendered, strict=True))
    return is_open(written) and (rendered is None or (isinstance(rendered, str) and rendered.strip() == "None"))


def with_lists(written: Any, rendered: Any) -> Any:
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
