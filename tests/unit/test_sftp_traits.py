"""What has been learned of a server: by what was seen of it, and told to the user once."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.sftp.traits import Traits

pytestmark = pytest.mark.unit


def test_files_outlive_their_close_where_one_beside_them_has() -> None:
    """Half of a server may be a mailbox. With OpenSSH's own server one file shows it for all."""
    traits = Traits(lambda message: None)
    assert not traits.outlive_close(b"/in/a", is_openssh=True)
    traits.has_outlived_close(b"/in/a")
    assert traits.outlive_close(b"/in/b", is_openssh=False)
    assert not traits.outlive_close(b"/in/sub/b", is_openssh=False)
    assert not traits.outlive_close(b"/b", is_openssh=False)
    assert traits.outlive_close(b"/b", is_openssh=True)


def test_an_extension_that_fails_is_told_once_with_its_reason() -> None:
    """And is used no more."""
    told: list[str] = []
    traits = Traits(told.append)
    for _ in range(2):
        traits.posix_rename_fails("Failure 1")
        traits.fsync_fails("Failure 2")
    assert (traits.has_posix_rename, traits.has_fsync) == (False, False)
    first, second = told
    assert "posix-rename, and refuses it (Failure 1)" in first
    assert "fsync, and refuses it (Failure 2)" in second


def test_handles_that_repeat_are_told_once() -> None:
    """By the connection on which they first did."""
    told: list[str] = []
    traits = Traits(told.append)
    assert traits.handles_repeated_on is None
    traits.handles_repeat(3)
    traits.handles_repeat(4)
    assert traits.handles_repeated_on == 3
    assert len(told) == 1
