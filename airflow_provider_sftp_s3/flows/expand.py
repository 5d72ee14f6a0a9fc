"""Defaults and `for_each`: the flows that an entry of a file stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_sftp_s3.flows.fields import ALL_FIELDS, FIELDS
from airflow_provider_sftp_s3.flows.loader import EntryError
from airflow_provider_sftp_s3.flows.settings import cut_repr

#: Words in braces that `rename_to`, `temp_name` and `done_dir` know.
TAKEN = ("date", "dir", "id", "mtime", "name", "size", "stem", "suffix")

#: Flows that an entry may stand for: their Dags are made in a quarter of a minute.
MAX_VALUES = 5_000


def expand(entry: Any, defaults: Mapping[str, Any], text: str) -> list[Any]:
    """
    Return the settings of each flow that an entry stands for: one, or one for each value of its `for_each`.

    :param defaults: count where the entry does not say; those that only the other direction has do not.
    :param text: the entry as it stands in the file.
    :raises EntryError: `for_each` is wrong, or the name is not to be found in the text.
    """
    if not isinstance(entry, Mapping):
        return [entry]
    direction = entry.get("direction", defaults.get("direction"))
    fields = FIELDS.get(direction, ALL_FIELDS) if isinstance(direction, str) else ALL_FIELDS
    settings = {name: value for name, value in defaults.items() if name in fields}
    settings |= {name: value for name, value in entry.items() if name != "for_each"}
    name = entry.get("name")
    if "for_each" not in entry:
        # What only one flow is wanted of is looked for by its name: see read_entries.
        if isinstance(name, str) and name not in text:
            raise EntryError(f"name: write {name!r} out, with no alias, no merge key and no escapes")
        return [settings]
    if "for_each" not in text:
        raise EntryError("for_each: it came by an alias or a merge key. Write it out")
    word, several = _for_each(entry["for_each"])
    placeholder = f"{{{word}}}"
    if not isinstance(name, str) or placeholder not in name:
        raise EntryError(f"for_each: name must hold {placeholder}, so that each flow has a name of its own")
    return [_replaced(settings, placeholder, value) for value in several]


def _for_each(value: Any) -> tuple[str, list[str]]:
    allowed = "Allowed: one word with a list of texts, such as {partner: [a, b]}"
    if not isinstance(value, Mapping) or len(value) != 1:
        raise EntryError(f"for_each: {cut_repr(value)} is not allowed. {allowed}")
    ((word, several),) = value.items()
    if not isinstance(word, str) or not re.fullmatch(r"[A-Za-z_]\w*", word, re.ASCII):
        raise EntryError(f"for_each: {word!r} is no word. {allowed}")
    if word in TAKEN:
        raise EntryError(f"for_each: {{{word}}} has a meaning in other fields. Allowed: another word")
    if not isinstance(several, list) or not several or not all(isinstance(one, str) and one for one in several):
        raise EntryError(f"for_each: {word}: {cut_repr(several)} is not allowed. {allowed}")
    if len(several) > MAX_VALUES:
        raise EntryError(
            f"for_each: {word} has {len(several)} values, more than {MAX_VALUES}. Make several entries, in several "
            "files: Airflow waits half a minute for the Dags of a file"
        )
    return word, several


def _replaced(value: Any, placeholder: str, by: str) -> Any:
    if isinstance(value, str):
        return type(value)(value.replace(placeholder, by))
    if isinstance(value, Mapping):
        return {_replaced(name, placeholder, by): _replaced(inner, placeholder, by) for name, inner in value.items()}
    return [_replaced(inner, placeholder, by) for inner in value] if isinstance(value, list) else value
