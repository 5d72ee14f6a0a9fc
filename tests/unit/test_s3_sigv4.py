"""The signature of S3 requests: AWS's own example, and whatever botocore signs."""

from __future__ import annotations

import urllib.parse
from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.s3 import sigv4
from airflow_provider_sftp_s3.engine.s3.requests import query_of

pytestmark = pytest.mark.unit

CREDENTIALS = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)


def test_aws_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GET Object of "Signature Calculations for the Authorization Header" in the S3 API reference."""
    friday = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
    monkeypatch.setattr(f"{sigv4.__name__}.time.time", lambda: friday)
    headers = {"Host": "examplebucket.s3.amazonaws.com", "Range": "bytes=0-9"}
    sent = sigv4.signed(CREDENTIALS, "us-east-1", "GET", "/test.txt", "", headers, b"")
    assert sent["x-amz-date"] == "20130524T000000Z"
    assert sent["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
NAMES = st.from_regex(r"\Ax-amz-meta-[a-z][a-z0-9_-]{0,10}\Z")


@given(
    method=st.sampled_from(("GET", "HEAD", "PUT", "POST", "DELETE")),
    key=TEXT,
    query=st.dictionaries(st.from_regex(r"\A[a-zA-Z-]{1,12}\Z"), TEXT, max_size=4),
    headers=st.dictionaries(st.one_of(st.sampled_from(("If-Match", "Range", "Content-MD5")), NAMES), TEXT, max_size=5),
    body=st.binary(max_size=50),
    region=st.sampled_from(("us-east-1", "cn-north-1", "auto")),
    token=st.sampled_from((None, "a+session/token==")),
)
def test_it_is_what_botocore_signs(
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    region: str,
    token: str | None,
) -> None:
    """Any method, key, query, metadata, body, region, with or without a session token."""
    path, asked = "/bucket/" + urllib.parse.quote(key, safe="/~"), query_of(query)
    credentials = CREDENTIALS._replace(token=token)
    sent = sigv4.signed(credentials, region, method, path, asked, {"Host": "127.0.0.1:9000", **headers}, body)
    signature = sent.pop("Authorization").rpartition("Signature=")[2]
    request = AWSRequest(method, f"http://127.0.0.1:9000{path}?{asked}", headers=sent, data=body)
    request.context["timestamp"] = sent["x-amz-date"]
    botocore_signs = S3SigV4Auth(credentials, "s3", region)
    text = botocore_signs.string_to_sign(request, botocore_signs.canonical_request(request))
    assert signature == botocore_signs.signature(text, request)
