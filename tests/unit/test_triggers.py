"""`trigger_file`: names beside files, and what cannot be one."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, NameRefused
from airflow_provider_sftp_s3.engine.triggers import TriggerNames, is_of_a_run

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("template", "name", "trigger"),
    [
        ("{name}.ok", "a.csv", "a.csv.ok"),
        ("{stem}.done", "a.tar.gz", "a.tar.done"),
        ("{stem}.done", "bare", "bare.done"),
        ("_SUCCESS", "a.csv", "_SUCCESS"),
        (".{name}+{stem}", "a{stem}.b", ".a{stem}.b+a{stem}"),
    ],
)
def test_a_trigger_is_called_by_its_file(template: str, name: str, trigger: str) -> None:
    names = TriggerNames(template)
    assert names.of(name) == trigger
    assert names.is_trigger(trigger)
    assert not names.is_trigger(name)
    assert is_of_a_run(template) == (template == "_SUCCESS")


@pytest.mark.parametrize(
    "template", ["", "{name}", "{stem}", "{stem}{name}", "sub/{name}.ok", "{dir}.ok", "a{", "..", "\0", 7]
)
def test_what_is_none_is_refused(template: Any) -> None:
    with pytest.raises(ConfigurationError, match="trigger_file must be a name such as"):
        TriggerNames(template)


@pytest.mark.parametrize(
    ("template", "trigger", "file"),
    [
        *(("{name}.ok", "a.csv.ok", "a.csv"), (".{name}.", ".a.", "a"), ("{name}.ok", "a.ok.ok", "a.ok")),
        *(("{stem}.ok", "a.ok", None), ("_SUCCESS", "_SUCCESS", None), ("{name}-{name}", "a-a", None)),
        *(("{name}.ok", ".ok", None), ("{stem}.{name}", "a.a", None)),
    ],
)
def test_the_file_that_a_trigger_names_whole(template: str, trigger: str, file: str | None) -> None:
    """Of those that tell of one file alone, as far as that is seen."""
    assert TriggerNames(template).file_of(trigger) == file


def test_a_name_that_is_too_long_has_no_trigger() -> None:
    """A server may lose it without a word."""
    assert len(TriggerNames("{name}.ok").of("é" * 126)) == 129
    with pytest.raises(NameRefused, match="trigger_file gives it one of a name that cannot be"):
        TriggerNames("{name}.ok").of("é" * 127)
