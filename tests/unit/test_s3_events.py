"""Messages about objects that have landed, in the shapes that AWS documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.operators.s3_events import landed

pytestmark = pytest.mark.unit


def record(key: str, event: str = "ObjectCreated:Put", bucket: str = "b") -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": "1970-01-01T00:00:00.000Z",
        "eventName": event,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "testConfigRule",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "00"},
        },
    }


def notification(*records: Any) -> str:
    return json.dumps({"Records": records})


def event_bridge(key: str, kind: str = "Object Created") -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
    return json.dumps(
        {
            "version": "0",
            "detail-type": kind,
            "source": "aws.s3",
            "detail": {
                "version": "0",
                "bucket": {"name": "b"},
                "object": {"key": key, "size": 5},
                "reason": "PutObject",
            },
        }
    )


def keys(body: str) -> list[str]:
    return [found.key for found in landed(body)]


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("happy+face.jpg", "happy face.jpg"),
        ("a%2Bb%3D%26.csv", "a+b=&.csv"),
        ("100%2525.txt", "100%25.txt"),
        ("M%C3%BCnchen/%F0%9F%93%A6", "München/📦"),
        ("plain/key", "plain/key"),
    ],
)
def test_a_buckets_own_notification_has_encoded_keys(encoded: str, key: str) -> None:
    assert keys(notification(record(encoded))) == [key]


def test_event_bridge_sends_keys_as_they_are() -> None:
    assert keys(event_bridge("a+b %2B.csv")) == ["a+b %2B.csv"]


def test_sns_wraps_a_notification() -> None:
    message = {"Type": "Notification", "TopicArn": "arn:aws:sns:us-west-2:1:t", "Message": notification(record("a+b"))}
    assert keys(json.dumps(message)) == ["a b"]


def test_a_message_can_have_several_records_of_several_buckets() -> None:
    body = notification(record("a"), record("b", "ObjectCreated:CompleteMultipartUpload", "other"))
    assert [tuple(found) for found in landed(body)] == [("b", "a"), ("other", "b")]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "", "Bucket": "b", "RequestId": ""}),
        notification(record("a", "ObjectRemoved:Delete"), record("a", "ObjectTagging:Put")),
        event_bridge("a", "Object Deleted"),
        notification(),
    ],
)
def test_what_is_no_new_object_tells_of_none(body: str) -> None:
    assert keys(body) == []


@pytest.mark.parametrize(
    "body", ["", "text", "[]", "7", "{}", '{"Records": 1}', '{"Type": "Notification", "Message": "x"}', "[" * 100_000]
)
def test_what_is_no_message_of_s3s_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match="no message of S3's"):
        keys(body)


def test_a_malformed_record_does_not_lose_the_others() -> None:
    found = landed(notification(record("a"), {"s3": {}}, None, record("b")))
    assert [next(found).key, next(found).key] == ["a", "b"]
    with pytest.raises(ValueError, match="no message of S3's"):
        next(found)


@pytest.mark.parametrize("whole", [True, False])
def test_half_a_character_costs_its_own_record(whole: bool) -> None:
    """No object has such a key, and a database would refuse the whole list for it."""
    others = [record("before"), record("after")] if whole else []
    found = landed(notification(*others[:1], record("half \ud800"), *others[1:]))
    assert [next(found).key for _ in others] == ["before", "after"][: len(others)]
    with pytest.raises(ValueError, match="no message of S3's: UnicodeEncodeError"):
        next(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["Records", "s3", "bucket", "name", "object", "key", "Message", "Type"]), inner
        )
    ),
)


@given(JSON)
def test_any_json_is_taken_or_refused(message: Any) -> None:
    try:
        keys(json.dumps(message))
    except ValueError as refused:
        assert str(refused).startswith("no message of S3's")  # noqa: PT017


@pytest.mark.parametrize(
    "extra",
    [
        None,
        "text",
        {},
        {"payload": None},
        {"payload": [1]},
        {"payload": {"message_batch": None}},
        {"payload": {"message_batch": [None, "x", {}, {"Body": None}, {"Body": 5}, {"Body": "{"}]}},
    ],
)
def test_an_event_of_any_shape_costs_no_other_ones(extra: Any) -> None:
    """Whoever may write to Airflow's API may make events of the queue's asset."""
    from types import SimpleNamespace

    from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListAnnouncedOperator

    good = {"payload": {"message_batch": [{"Body": json.dumps({"Records": [record("a")]})}]}}
    events = [SimpleNamespace(extra=extra), SimpleNamespace(extra=good)]
    operator = S3ListAnnouncedOperator(task_id="list", s3_bucket="a-bucket")
    found = operator._announced({"triggering_asset_events": {"queue": events}})
    assert [each.key for each in found] == ["a"]


@pytest.mark.parametrize("bucket", ["arn:aws:s3:eu-central-1:123456789012:accesspoint/mine", "mine-abc-s3alias"])
def test_an_access_point_is_refused(bucket: str) -> None:
    """No event would be about it: where it is written, and where a template gives it."""
    from airflow_provider_sftp_s3._compat import AirflowFailException
    from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListAnnouncedOperator

    with pytest.raises(ConfigurationError, match="is an access point"):
        S3ListAnnouncedOperator(task_id="list", s3_bucket=bucket)
    operator = S3ListAnnouncedOperator(task_id="list", s3_bucket="{{ var.value.bucket }}")
    operator.s3_bucket = bucket
    with pytest.raises(AirflowFailException, match="is an access point"):
        operator.execute({"triggering_asset_events": {}})
