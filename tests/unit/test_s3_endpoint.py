"""Where a bucket is: as botocore says for the connection's own client, and nothing is sent to find it out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.s3.endpoint import (
    Endpoint,
    ask_botocore,
    check_region,
    copy_source,
    endpoint_of,
    network_of,
)
from tests.support.secrets import secret

pytestmark = pytest.mark.unit

ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
SESSION = boto3.Session("AKIAIOSFODNN7EXAMPLE", secret("c2VjcmV0"), region_name="eu-central-1")


def client(config: dict[str, Any] | None = None, **arguments: Any) -> Any:
    return SESSION.client("s3", config=Config(**(config or {})), **arguments)


@pytest.mark.parametrize(
    ("arguments", "bucket", "url", "region"),
    [
        ({}, "my-bucket", "https://my-bucket.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ({}, "my.bucket", "https://s3.eu-central-1.amazonaws.com/my.bucket", "eu-central-1"),
        ({"region_name": "us-east-1"}, "my-bucket", "https://my-bucket.s3.amazonaws.com", "us-east-1"),
        ({"region_name": "aws-global"}, "my-bucket", "https://my-bucket.s3.amazonaws.com", "us-east-1"),
        ({"endpoint_url": "http://127.0.0.1:9/base/"}, "my-bucket", "http://127.0.0.1:9/base/my-bucket", None),
        (
            {"config": {"s3": {"addressing_style": "virtual"}}, "endpoint_url": "https://store.example:9/"},
            *("my-bucket", "https://my-bucket.store.example:9", None),
        ),
        (
            {"config": {"s3": {"addressing_style": "path"}}},
            *("my-bucket", "https://s3.eu-central-1.amazonaws.com/my-bucket", None),
        ),
        (
            {"config": {"s3": {"use_accelerate_endpoint": True}}},
            *("my-bucket", "https://my-bucket.s3-accelerate.amazonaws.com", None),
        ),
        (
            {"config": {"use_dualstack_endpoint": True}},
            *("my-bucket", "https://my-bucket.s3.dualstack.eu-central-1.amazonaws.com", None),
        ),
        (
            {"config": {"use_fips_endpoint": True}, "region_name": "us-east-2"},
            *("my-bucket", "https://my-bucket.s3-fips.us-east-2.amazonaws.com", "us-east-2"),
        ),
        ({}, ACCESS_POINT, "https://mine-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "eu-west-1"),
        ({}, "mine-abc-s3alias", "https://mine-abc-s3alias.s3.eu-central-1.amazonaws.com", "eu-central-1"),
    ],
)
def test_a_bucket_is_where_botocore_says(arguments: dict[str, Any], bucket: str, url: str, region: str | None) -> None:
    """With whatever the client was made with, and signed for the region that it is in."""
    assert endpoint_of(client(**arguments), bucket) == Endpoint(url, region or "eu-central-1")


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        ("", "must be the name of a bucket"),
        ("a/b", "is no bucket's name"),
        ("s3://bucket", "is no bucket's name"),
        ("data--euc1-az1--x-s3", "directory bucket"),
        ("arn:aws:s3express:eu-central-1:123456789012:accesspoint/a", "directory bucket"),
        ("arn:aws:s3::123456789012:accesspoint/abc.mrap", "multi-region access point"),
        ("arn:aws:s3-outposts:eu-central-1:123456789012:outpost/op-01/accesspoint/a", "s3-outposts"),
        ("arn:aws:s3-object-lambda:eu-central-1:123456789012:accesspoint/a", "s3-object-lambda"),
        ("arn:aws:s3:eu-central-1:123456789012:something/a", "cannot be used with the aws connection"),
        ("arn:aws:s3:::a-bucket", "is no bucket's name: that is 'a-bucket'"),
        ("arn:aws-cn:s3:::a-bucket/prefix", "is no bucket's name: that is 'a-bucket/prefix'"),
        ("mine-abcdefghijklmnopqrstuvwxyz0123use1b--ol-s3", "of s3-object-lambda"),
        ("mine-abcdefghijklmnopqrstuvwxyz0123use1b--op-s3", "of s3-outposts"),
    ],
)
def test_what_is_no_bucket_is_refused_by_name(bucket: str, says: str) -> None:
    """Before anything is sent, and naming the setting."""
    with pytest.raises(ConfigurationError, match=f"s3_bucket .*{says}"):
        endpoint_of(client(), bucket)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"endpoint_url": "http://me:word@127.0.0.1:9"}, "endpoint_url of the aws connection has a user or a password"),
        *(
            ({"endpoint_url": url}, "^endpoint_url cannot be used")
            for url in ("http://h/?a", "ftp://h", "http://h:99999")
        ),
        ({"config": {"signature_version": "s3"}}, "signature_version 's3' is not supported"),
        ({"config": {"s3": {"use_accelerate_endpoint": True}}}, "s3_bucket 'my.bucket' cannot be used"),
    ],
)
def test_settings_that_cannot_work_are_named(arguments: dict[str, Any], says: str) -> None:
    """And a password is not said."""
    with pytest.raises(ConfigurationError, match=says) as refused:
        endpoint_of(client(**arguments), "my.bucket")
    assert "word@" not in str(refused.value)


def test_the_client_goes_on_as_it_was() -> None:
    """Others may be using it in this moment: what is asked is asked of a twin."""
    used = client()
    asked: list[str] = []
    used.meta.events.register("before-call.s3.GetObject", lambda **_: asked.append(threading.current_thread().name))
    before = used.meta.events
    endpoint_of(used, "my-bucket")
    assert used.meta.events is before
    assert asked == []  # ours is the first, and the last


def test_the_headers_are_botocores() -> None:
    """Of any operation and argument."""
    asked = ask_botocore(client(), "CreateMultipartUpload", {"Bucket": "my-bucket", "Key": "k", "ACL": "private"})
    assert asked.url == "https://my-bucket.s3.eu-central-1.amazonaws.com/k?uploads"
    assert asked.headers["x-amz-acl"] == "private"
    with pytest.raises(ConfigurationError, match="Invalid type for parameter ACL"):
        ask_botocore(client(), "PutObject", {"Bucket": "my-bucket", "Key": "k", "ACL": 5})


class TestNetwork:
    """Proxies, certificates and who we say we are."""

    @pytest.fixture(autouse=True)
    def _nothing_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_CA_BUNDLE", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize(
        ("proxies", "proxy"),
        [
            (None, "http://of.the.environment:1"),
            ({}, None),
            ({"http": "http://other:1"}, None),
            ({"https": "http://given:1"}, "http://given:1"),
            ({"https": "given:1"}, "http://given:1"),
            ({"https": "//given:1"}, "http://given:1"),
        ],
    )
    def test_a_proxy(self, monkeypatch: pytest.MonkeyPatch, proxies: dict[str, str] | None, proxy: str | None) -> None:
        """With or without a scheme; an empty mapping means none, whatever the environment says."""
        monkeypatch.setenv("https_proxy", "http://of.the.environment:1")
        assert network_of(client({"proxies": proxies}), SESSION, None).proxy == proxy

    def test_no_proxy_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As every other client of boto3's."""
        monkeypatch.setenv("https_proxy", "http://of.the.environment:1")
        monkeypatch.setenv("no_proxy", ".amazonaws.com")
        assert network_of(client(), SESSION, None).proxy is None

    def test_certificates(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What the connection says comes before the environment."""
        (tmp_path / "ca.pem").touch()
        assert network_of(client(), SESSION, None).verify is None
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        session = boto3.Session("a", "b", region_name="eu-central-1")
        assert network_of(client(), session, None).verify == str(tmp_path / "ca.pem")
        assert network_of(client(), session, False).verify is False

    @pytest.mark.parametrize("setting", ["verify", "client_cert", "both"])
    def test_a_file_that_is_not_there_is_named(self, setting: str) -> None:
        """Not one failure for each file of the run."""
        config: dict[str, dict[str, Any]] = {
            "verify": {},
            "client_cert": {"client_cert": "/no/file"},
            "both": {"client_cert": ("/no/file", "x")},
        }
        verify = "/no/file" if setting == "verify" else None
        with pytest.raises(ConfigurationError, match=r"(verify|client_cert).* of the aws connection: .*'/no/file'"):
            network_of(client(config[setting]), SESSION, verify)

    def test_what_only_botocore_could_heed_is_refused(self) -> None:
        """Silently ignoring it is not an option."""
        config = {"proxies_config": {"proxy_use_forwarding_for_https": True}}
        with pytest.raises(ConfigurationError, match="proxy_use_forwarding_for_https is not supported"):
            network_of(client(config), SESSION, None)

    def test_requests_say_who_they_are(self) -> None:
        """As boto3's do, and that they are ours."""
        agent = network_of(client({"user_agent_extra": "my-company/1"}), SESSION, None).user_agent
        assert "Botocore" in agent
        assert "my-company/1" in agent
        assert agent.endswith(" airflow-provider-sftp-s3")


@pytest.mark.parametrize(
    ("region", "url", "says"),
    [
        ("eu-centrall-1", "https://b.s3.eu-centrall-1.amazonaws.com", "region_name .* Did you mean 'eu-central-1'"),
        ("EU-CENTRAL-1", "https://b.s3.EU-CENTRAL-1.amazonaws.com", "region_name .* Did you mean 'eu-central-1'"),
        ("us-moon-1", "https://b.s3.us-moon-1.amazonaws.com", "knows no region 'us-moon-1'"),
        ("eu-central-1", "https://b.s3.eu-central-1.amazonaws.com", ""),
        ("us-gov-west-1", "https://b.s3.us-gov-west-1.amazonaws.com", ""),
        ("cn-north-1", "https://b.s3.cn-north-1.amazonaws.com.cn", ""),
        ("us-east-1", "https://b.s3.amazonaws.com", ""),
        ("garage", "http://store.example/b", ""),
    ],
)
def test_a_region_that_does_not_exist_is_named(region: str, url: str, says: str) -> None:
    """Where its host cannot be reached: a store that is not Amazon's may call its own as it likes."""
    down = OSError("nobody is there")
    if not says:
        check_region(SESSION, Endpoint(url, region), down)
        return
    with pytest.raises(ConfigurationError, match=rf"{says}.*nobody is there"):
        check_region(SESSION, Endpoint(url, region), down)


def test_the_source_of_a_copy() -> None:
    """Spelled as botocore does: an access point's ARN is not a bucket's name."""
    for bucket in ("my-bucket", ACCESS_POINT):
        source = {"CopySource": {"Bucket": bucket, "Key": "a b/é"}, "Bucket": "my-bucket", "Key": "k"}
        assert copy_source(bucket, "a b/é") == ask_botocore(client(), "CopyObject", source).headers["x-amz-copy-source"]
