"""What a run may be told to do: wrong values are refused before anything is connected to, by the argument's name."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings, check_mark

pytestmark = pytest.mark.unit

OF_BOTH: list[dict[str, Any]] = [
    *({"sftp_path": path} for path in ("", None, 7, "a\0b", b"/in")),
    *({"max_files": cap} for cap in (0, -1, 1.5, "3", True)),
    *({"max_bytes": cap} for cap in (0, -1, 1.5, "3", True)),
    *({"min_size": size} for size in (-1, 1.5, "3", True)),
    *({"max_size": size} for size in (-1, 1.5, "3", True)),
    {"min_size": 5, "max_size": 4},
    *({"max_age": seconds} for seconds in (-1, float("inf"), float("nan"), True)),
    *({"order": word} for word in ("", "newest", True)),
    *({"after_transfer": word} for word in ("", "copy", None)),
    *({"rename_to": name} for name in ("", "/{name}", "{{ ds }}", 7)),
    *({"on_conflict": word} for word in ("", "overwrite", None)),
    *({"last": globs} for globs in ("", [""], ["*.ok", 7], 7, b"*")),
]
OF_A_PULL: list[dict[str, Any]] = [
    *({"min_age": seconds} for seconds in (-1, float("inf"), float("nan"))),
    *({"retention": seconds} for seconds in (-1, float("inf"), float("nan"))),
    {"max_age": 30.0, "min_age": 30.0},
    *({"done_dir": name} for name in ("", ".", "..", "a/b", "/done", "a\nb", "\ud800")),
    *({"shard": shard} for shard in ("3/2", "0/2", "half")),
    {"on_conflict": "wait"},
    *({"trigger_file": name} for name in ("", "{name}", "a/{name}.ok", "{dir}", "..", 7)),
    {"trigger_file": "{name}.ok", "on_conflict": "rename"},
    {"trigger_file": "{name}.ok", "sftp_paths": "a"},
    {"trigger_file": "{name}.ok", "follow_links": True, "after_transfer": "keep"},
    {"trigger_file": "{name}.ok", "rename_to": "{stem}/{name}"},
    {"trigger_file": "_SUCCESS", "shard": "1/2"},
    {"last": "*.ok", "sftp_paths": "a"},
    {"last": "*.ok", "follow_links": True, "after_transfer": "keep"},
    {"last": "*.ok", "shard": "1/2"},
    *({"checksum_file": name} for name in ("", "{name}", "{stem}.sha256", "{name}.sha1", 7)),
    {"checksum_file": "{name}.md5", "on_conflict": "rename"},
    {"checksum_file": "{name}.md5", "sftp_paths": "a"},
    {"checksum_file": "{name}.md5", "follow_links": True, "after_transfer": "keep"},
    {"checksum_file": "{name}.md5", "rename_to": "{stem}/{name}"},
    {"checksum_file": "{name}.md5", "trigger_file": "ok.md5"},
    *({"sftp_paths": given} for given in ([None], ["a", 7], 7, b"a", {"a": 1})),
    *({"done_conflict": word} for word in ("", "skip", None)),
]
OF_A_PUSH: list[dict[str, Any]] = [
    *({"mark": word} for word in ("", "tags", "Metadata")),
    *(
        {"sent_prefix": prefix, "after_transfer": "move", "s3_prefix": "a"}
        for prefix in (7, "/", "b//c", "a", "a/b", "")
    ),
    {"after_transfer": "move"},
    {"sent_prefix": "sent"},
    *({"mark": mark, "after_transfer": "delete"} for mark in ("metadata", "tag", "none")),
    *({"s3_keys": keys} for keys in ([None], ["a", 7], 7, {"a": 1})),
    *({"strip_regex": pattern} for pattern in ("(", "*", 7)),
    {"on_conflict": "skip"},
    *({"trigger_file": name} for name in ("", "{name}", "a/{name}.ok", "{dir}", "..", 7)),
    *({"trigger_file": "{name}.ok", "on_conflict": mode} for mode in ("rename", "wait")),
    {"trigger_file": "_SUCCESS", "rename_to": "{mtime:%Y}/{name}"},
    *({"checksum_file": name} for name in ("", "{name}", "{stem}.sha256", "{name}.sha1", 7)),
    *({"checksum_file": "{name}.md5", "on_conflict": mode} for mode in ("rename", "wait")),
    {"checksum_file": "{name}.md5", "trigger_file": "{stem}.md5"},
    *({"file_mode": mode} for mode in (-1, 0o1000, 640, "0640", True)),
    *({"preserve_mtime": word} for word in ("yes", None, 1)),
]


@pytest.mark.parametrize("wrong", [*OF_BOTH, *OF_A_PULL], ids=str)
def test_a_wrong_value_of_a_pull_is_named(wrong: dict[str, Any]) -> None:
    """With the argument that it is of."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        PullSettings(**{"sftp_path": "/in", **wrong})


@pytest.mark.parametrize("wrong", [*OF_BOTH, *OF_A_PUSH], ids=str)
def test_a_wrong_value_of_a_push_is_named(wrong: dict[str, Any]) -> None:
    """With the argument that it is of."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        PushSettings(**{"sftp_path": "/out", **wrong})


def test_the_values_at_the_bounds_are_taken() -> None:
    """The least that is allowed is allowed."""
    PullSettings(sftp_path="/", min_age=0, retention=0, max_files=1, max_bytes=1, shard="1/1", done_dir="...")
    PullSettings(sftp_path="/", min_size=0, max_size=0, min_age=0, max_age=1, order="oldest")
    PushSettings(sftp_path="/", after_transfer="move", s3_prefix="a", sent_prefix="ab")
    PushSettings(sftp_path="/", after_transfer="delete", mark="auto")
    PushSettings(sftp_path=".", s3_keys=[], max_files=1, max_bytes=1, strip_regex="")
    assert PullSettings(sftp_path="/", last=[], shard="1/2", sftp_paths="a").last is None
    assert PullSettings(sftp_path="/", last=iter(["*.ok"]), shard="1/1").last == ("*.ok",)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (None, None),
        ("a", ("a",)),
        ([], ()),
        (["b", "a", "b"], ("b", "a")),
        (("a",), ("a",)),
        (iter(["a", "a"]), ("a",)),
    ],
)
def test_each_key_is_taken_once_in_the_order_given(given: Any, keys: tuple[str, ...] | None) -> None:
    """None is all of the prefix, an empty list is nothing; one that can be read once only is read once only."""
    settings = PushSettings(sftp_path="/out", s3_keys=given)
    assert settings.keys == keys
    assert settings.keys == keys


def test_a_mark_is_one_of_three() -> None:
    """And the error tells which there are."""
    assert [check_mark(mode) for mode in ("metadata", "tag", "none")] == ["metadata", "tag", "none"]
    with pytest.raises(ConfigurationError, match="metadata, tag, none"):
        check_mark("synched")
