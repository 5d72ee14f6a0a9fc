"""The names of what is ours on an object: nobody else may set them."""

from __future__ import annotations

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.s3.extra_args import checked
from airflow_provider_sftp_s3.engine.s3.names import METADATA_NAMES, SYNCED, TAG

pytestmark = pytest.mark.unit


def test_the_names_are_what_they_were() -> None:
    """Objects of earlier versions, and sftp-lambda's, have them."""
    assert METADATA_NAMES == ("synced", "synced-to", "synced-of", "synced-size", "synched", "synced-key", "mtime")
    assert (SYNCED, TAG) == ("synced", "sftp-s3-synced")


@pytest.mark.parametrize("name", METADATA_NAMES)
def test_metadata_of_ours_is_refused(name: str) -> None:
    """In any case of letters: S3 makes them small."""
    for spelled in (name, name.upper()):
        with pytest.raises(ConfigurationError, match=f"the metadata '{spelled}' is a mark of ours"):
            checked({"Metadata": {spelled: "x"}}, "pull")


def test_the_tag_of_ours_is_refused() -> None:
    """Among others, however it is written."""
    for tags in (f"{TAG}=x", f"a=b&{TAG}", "sftp%2Ds3%2Dsynced=1"):
        with pytest.raises(ConfigurationError, match=f"the tag '{TAG}' is a mark of ours"):
            checked({"Tagging": tags}, "pull")
    assert checked({"Tagging": "a=b"}, "pull") == {"Tagging": "a=b"}
