"""Extra arguments: boto3's names, what botocore's model allows, and the headers that they become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.s3.extra_args import SentAlong, checked, sent_along
from tests.support.secrets import secret

pytestmark = pytest.mark.unit

CLIENT = boto3.Session("AKIAIOSFODNN7EXAMPLE", secret("c2VjcmV0"), region_name="eu-central-1").client("s3")
#: A value for each argument of PutObject that a pull takes.
ALL: dict[str, Any] = {
    "ACL": "bucket-owner-full-control",
    "BucketKeyEnabled": True,
    "CacheControl": "no-cache",
    "ContentDisposition": "attachment",
    "ContentEncoding": "identity",
    "ContentLanguage": "de",
    "ContentType": "text/x",
    "ExpectedBucketOwner": "123456789012",
    "Expires": datetime(2030, 1, 1, tzinfo=UTC),
    "GrantFullControl": "id=a",
    "GrantRead": "id=a",
    "GrantReadACP": "id=a",
    "GrantWriteACP": "id=a",
    "Metadata": {"team": "red"},
    "ObjectLockLegalHoldStatus": "ON",
    "ObjectLockMode": "GOVERNANCE",
    "ObjectLockRetainUntilDate": datetime(2030, 1, 1, tzinfo=UTC),
    "RequestPayer": "requester",
    "SSEKMSEncryptionContext": "e30=",
    "SSEKMSKeyId": "key",
    "ServerSideEncryption": "aws:kms",
    "StorageClass": "STANDARD_IA",
    "Tagging": "team=red",
    "WebsiteRedirectLocation": "/x",
}
SECRETS = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "0" * 32}


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_is_nothing(nothing: Any) -> None:
    """No header anywhere, and no model read."""
    assert checked(nothing, "pull") == {}
    assert sent_along(CLIENT, "bucket", {}) == SentAlong()


def test_every_argument_of_boto3_is_taken_or_refused_by_name() -> None:
    """By name: one of a newer botocore that is not in `ALL` is of an enumeration."""
    members = CLIENT.meta.service_model.operation_model("PutObject").input_shape.members
    for name in members:
        if name in ALL:
            assert checked({name: ALL[name]}, "pull") == {name: ALL[name]}
        else:
            with pytest.raises(ConfigurationError, match=f"extra_args: .*{name}[, ]"):
                checked({name: "x"}, "pull")


def test_each_becomes_a_header_of_what_writes() -> None:
    """As botocore's serializer writes it, on the one request and on the one that begins parts alike."""
    sent = sent_along(CLIENT, "bucket", checked(ALL, "pull"))
    assert sent.put["x-amz-acl"] == "bucket-owner-full-control"
    assert sent.put["x-amz-server-side-encryption-bucket-key-enabled"] == "true"
    assert sent.put["x-amz-object-lock-retain-until-date"] == "2030-01-01T00:00:00Z"
    assert sent.put["x-amz-meta-team"] == "red"
    assert sent.put["Expires"] == "Tue, 01 Jan 2030 00:00:00 GMT"
    assert len({**sent.put, **sent.every}) == len(ALL)
    assert sent.every == {"x-amz-request-payer": "requester", "x-amz-expected-bucket-owner": "123456789012"}
    assert sent.part == {}
    assert sent.read == {}
    operation = CLIENT.meta.service_model.operation_model
    begins = operation("CreateMultipartUpload").input_shape.members
    assert set(ALL) <= set(begins)


def test_a_copy_repeats_what_s3_does_not_show() -> None:
    """The rest is in the answer to a GET, and is the object's own."""
    sent = sent_along(CLIENT, "bucket", checked(ALL, "pull"))
    assert set(sent.copy) == {
        *("x-amz-acl", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write-acp"),
        "x-amz-server-side-encryption-context",
    }


def test_customer_keys_go_with_all_that_touches_the_bytes() -> None:
    """Of the connection only: a Dag is no place for them."""
    for name, value in SECRETS.items():
        with pytest.raises(ConfigurationError, match=f"{name} is a secret: put it into service_config.s3.extra_args"):
            checked({name: value}, "pull")
    given = checked(SECRETS, "push", of_the_connection=True)
    sent = sent_along(CLIENT, "bucket", given)
    own = {f"x-amz-server-side-encryption-customer-{part}" for part in ("algorithm", "key", "key-MD5")}
    assert set(sent.read) == set(sent.put) == set(sent.part) == own
    assert set(sent.copy) == own | {name.replace("x-amz-", "x-amz-copy-source-") for name in own}
    assert sent.every == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["ACL"], "extra_args must be a mapping of names of boto3's ExtraArgs.* not a list"),
        ({5: "x"}, "extra_args must be a mapping"),
        ({"Acl": "private"}, "'Acl' is no argument of put_object. Did you mean 'ACL'?"),
        ({"ServerSideEncryptoin": "AES256"}, "Did you mean 'ServerSideEncryption'?"),
        ({"ACL": "privat"}, "ACL must be one of private, "),
        ({"ACL": 5}, "Invalid type for parameter ACL"),
        ({"BucketKeyEnabled": "perhaps"}, "Invalid type for parameter BucketKeyEnabled"),
        ({"Metadata": "a=b"}, "Invalid type for parameter Metadata"),
        ({"Bucket": "other"}, "Bucket is set for each object by itself"),
        ({"ContentMD5": "x"}, "ContentMD5 is set for each object by itself"),
        ({"ChecksumAlgorithm": "SHA256"}, "ChecksumAlgorithm is set for each object by itself"),
        ({"IfNoneMatch": "*"}, "IfNoneMatch is set for each object by itself"),
        ({"Metadata": {"team": "Grüße"}}, "the metadata 'team' must be one line of ASCII characters, not 'Grüße'"),
        ({"Metadata": {"team": "a\nb"}}, "the metadata 'team' must be one line of ASCII"),
        ({"Metadata": {"teäm": "a"}}, "metadata cannot be called 'teäm'"),
        ({"Metadata": {"a team": "a"}}, "metadata cannot be called 'a team'"),
        ({"Metadata": {"": "a"}}, "metadata cannot be called ''"),
        ({"Metadata": {"Team": "a", "team": "b"}}, "Metadata has a name twice"),
        ({"Metadata": {"synced-size": "1"}}, "the metadata 'synced-size' is a mark of ours"),
        ({"Tagging": "a=b&a=c"}, "Tagging gives a tag twice"),
        *(({name: "a\nb"}, f"{name} must be one line of printable") for name in ("CacheControl", "ContentType")),
        ({"ContentDisposition": "a\xa0b"}, "ContentDisposition must be one line of printable characters, not 'a.xa0b'"),
    ],
)
def test_what_is_not_allowed_is_named(given: Any, says: str) -> None:
    """With what to change."""
    with pytest.raises(ConfigurationError, match=says):
        checked(given, "pull")


def test_a_push_takes_three() -> None:
    """Whatever else an object has is its producer's; a connection's own may be there for pulls."""
    taken = {"ACL": "private", "RequestPayer": "requester", "ExpectedBucketOwner": "123456789012"}
    assert checked(taken, "push") == taken
    with pytest.raises(ConfigurationError, match="RequestPayer, and not Tagging: its marks keep"):
        checked({"Tagging": "a=b"}, "push")
    assert checked({"Tagging": "a=b"}, "push", of_the_connection=True) == {"Tagging": "a=b"}


@pytest.mark.parametrize(("text", "truth"), [("true", True), ("False ", False)])
def test_a_text_of_a_template_is_what_it_says(text: str, truth: bool) -> None:
    """And so is one of flows.yaml."""
    assert checked({"BucketKeyEnabled": text}, "pull") == {"BucketKeyEnabled": truth}


def test_a_storage_class_of_another_store_is_taken() -> None:
    """Ceph's have names that their owner gives."""
    assert checked({"StorageClass": "COLD_DISKS"}, "pull") == {"StorageClass": "COLD_DISKS"}


def test_what_botocore_finds_out_late_is_named_too() -> None:
    """As metadata that is not ASCII, though that is seen before."""
    with pytest.raises(ConfigurationError, match=r"extra_args: .*Non ascii"):
        sent_along(CLIENT, "bucket", {"Metadata": {"a": "é"}})
