"""Each way to S3 beside boto3's, for the same settings of the connection: the same host, path and headers."""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.marks import Look, Marks
from tests.support.certificates import Certificates
from tests.support.s3_recorder import BODY, Asked, Recorder
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY

pytestmark = pytest.mark.integration

ACCESS_POINT = "arn:aws:s3:eu-central-1:123456789012:accesspoint/mine"
KEY = "a dir/ü+b"
MIDDLE, LARGE = 64 * KiB, 6 * MiB
#: What is each client's own: when and by whom it was sent, its way to say how long the body is and what its sum is.
OWN = (
    *(
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "content-length",
        "transfer-encoding",
        "x-amz-security-token",
    ),
    *("host", "user-agent", "accept", "accept-encoding", "accept-language", "connection", "proxy-connection", "expect"),
    *("content-encoding", "content-md5", "te", "trailer", "x-amz-trailer", "x-amz-decoded-content-length", "priority"),
    *("amz-sdk-invocation-id", "amz-sdk-request", "x-amz-checksum-mode", "x-amz-sdk-checksum-algorithm"),
)
#: Ours, and not boto3's: marks, conditions.
OURS = ("x-amz-meta-", "x-amz-copy-source-if-match", "if-match", "x-amz-checksum-", "x-amz-metadata-directive")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


async def use(bucket: Bucket) -> None:
    """Send each kind of request, each upload by each way that there is."""

    async def chunks() -> AsyncGenerator[bytes]:
        yield bytes(LARGE)

    async with bucket:
        await bucket.put(KEY, [BODY], {})
        await bucket.put(KEY, [bytes(MIDDLE)], {})
        await bucket.put_stream(KEY, chunks(), {}, part_size=5 * MiB, parts_at_once=2, call_off=lambda: None)
        assert [entry.key async for entry in bucket.list("")] == ["k"]
        version = await bucket.head(KEY)
        assert version is not None
        download = await bucket.get(KEY)
        assert download is not None
        assert b"".join([chunk async for chunk in download.chunks()]) == BODY
        assert await Marks(bucket, "metadata", "partner").mark(KEY, version, "metadata", Look()) == "marked"


def use_boto3(client: Any, bucket: str, extra_args: dict[str, Any]) -> None:
    """Send the same by boto3."""
    at = {"Bucket": bucket, "Key": KEY}

    def known(operation: str) -> dict[str, Any]:
        members = client.meta.service_model.operation_model(operation).input_shape.members
        return {name: value for name, value in extra_args.items() if name in members}

    client.put_object(**at, Body=BODY, **known("PutObject"))
    client.create_multipart_upload(**at, **known("CreateMultipartUpload"))
    client.upload_part(**at, Body=BODY, UploadId="u", PartNumber=1, **known("UploadPart"))
    parts = {"Parts": [{"ETag": "e", "PartNumber": 1}]}
    client.complete_multipart_upload(**at, UploadId="u", MultipartUpload=parts, **known("CompleteMultipartUpload"))
    client.list_objects_v2(Bucket=bucket, **known("ListObjectsV2"))
    client.head_object(**at, **known("HeadObject"))
    client.get_object(**at, **known("GetObject"))
    client.copy_object(**at, CopySource={"Bucket": bucket, "Key": KEY}, **known("CopyObject"))
    client.close()


def compared(asked: Asked) -> dict[str, Any]:
    said: dict[str, Any] = {
        name: value for name, value in asked.headers.items() if name not in OWN and not name.startswith(OURS)
    }
    if "x-amz-tagging" in said:  # in any order
        said["x-amz-tagging"] = urllib.parse.parse_qs(said["x-amz-tagging"])
    return said


SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "nothing": ("my-bucket", {}, {}),
    "a dotted name": ("my.bucket.name", {}, {}),
    "region_name": ("my-bucket", {}, {"region_name": "us-west-2"}),
    "us-east-1": ("my-bucket", {}, {"region_name": "us-east-1"}),
    "addressing_style path": ("my-bucket", {"s3": {"addressing_style": "path"}}, {}),
    "addressing_style virtual": ("my-bucket", {"s3": {"addressing_style": "virtual"}}, {}),
    "a store's endpoint_url": ("my-bucket", {}, {"endpoint_url": "http://store.example:9000/base"}),
    "virtual at a store": (
        *("my-bucket", {"s3": {"addressing_style": "virtual"}}),
        {"endpoint_url": "http://store.example"},
    ),
    "use_accelerate_endpoint": ("my-bucket", {"s3": {"use_accelerate_endpoint": True}}, {}),
    "use_dualstack_endpoint": ("my-bucket", {"use_dualstack_endpoint": True}, {}),
    "use_fips_endpoint": ("my-bucket", {"use_fips_endpoint": True}, {"region_name": "us-east-2"}),
    "an access point": (ACCESS_POINT, {}, {}),
    "an access point in another region": (
        *(ACCESS_POINT.replace("eu-central-1", "eu-west-1"), {"s3": {"use_arn_region": True}}, {}),
    ),
    "an access point's alias": ("mine-abcdefghijklmnopqrstuvwxyz0123use1b-s3alias", {}, {}),
    "user_agent_extra": ("my-bucket", {"user_agent_extra": "my-company/1"}, {}),
}

UNTIL = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
EXTRA_ARGS: dict[str, dict[str, Any]] = {
    "none": {},
    "what obstore can send": {
        **{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key", "BucketKeyEnabled": True},
        **{"ContentType": "text/csv", "CacheControl": "no-store", "StorageClass": "STANDARD_IA", "Tagging": "a=b&c=d"},
        **{"RequestPayer": "requester", "ExpectedBucketOwner": "123456789012"},
    },
    "what it cannot": {
        **{"ACL": "bucket-owner-full-control", "ContentLanguage": "de", "WebsiteRedirectLocation": "/elsewhere"},
        **{
            "ObjectLockMode": "GOVERNANCE",
            "ObjectLockRetainUntilDate": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        },
    },
}


#: Each setting; and what is said of an object, which does not depend on where its bucket is.
EXTRAS = [extra for extra in EXTRA_ARGS if EXTRA_ARGS[extra]]
CASES = [*((setting, "none") for setting in SETTINGS), *(("nothing", extra) for extra in EXTRAS)]


@pytest.mark.parametrize(("setting", "extra"), CASES)
async def test_requests_go_where_boto3s_go(recorder: Recorder, setting: str, extra: str) -> None:
    """And say the same of the object, but for what is each one's own."""
    bucket, config, arguments = SETTINGS[setting]
    extra_args = EXTRA_ARGS[extra]
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=arguments.get("region_name", REGION))
    # The recorder is their proxy, and so sees plain requests for any host.
    proxied = Config(**config, proxies={"http": f"http://127.0.0.1:{recorder.port}"}, retries={"total_max_attempts": 1})

    def client() -> Any:
        return session.client("s3", **arguments, use_ssl=False, config=proxied)

    use_boto3(client(), bucket, extra_args)
    wanted, recorder.asked = {asked.kind: asked for asked in recorder.asked}, []
    ours = Bucket(bucket, client(), session, TransferOptions(), extra_args=extra_args)
    await use(ours)
    assert {asked.kind for asked in recorder.asked} == wanted.keys()
    assert len(recorder.of("PutObject")) == 2
    for asked in recorder.asked:
        boto3s = wanted[asked.kind]
        assert (asked.method, asked.place) == (boto3s.method, boto3s.place), asked.kind
        said, boto3_said = compared(asked), compared(boto3s)
        if asked.kind in ("PutObject", "CreateMultipartUpload") and "ContentType" not in extra_args:
            boto3_said.pop("content-type", None)
            said.pop("content-type", None)
        if asked.kind == "CopyObject":  # what the object has is said again, and it was stored with nothing here
            shown = {"x-amz-acl"}
            boto3_said = {name: value for name, value in boto3_said.items() if name in {*shown, *said}}
        assert said == boto3_said, asked.kind
        agent = asked.headers["user-agent"]
        assert "Botocore/" in agent
        assert "airflow-provider-sftp-s3" in agent
        assert setting != "user_agent_extra" or "my-company/1" in agent


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def use_tls(recorder: Recorder, verify: bool | str | None = None, **config: Any) -> None:
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    client = session.client(
        "s3", endpoint_url=f"https://127.0.0.1:{recorder.port}", verify=verify, config=Config(**config)
    )
    await use(Bucket("my-bucket", client, session, TransferOptions(), verify))


KINDS = {
    *("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListObjectsV2", "HeadObject"),
    *("GetObject", "CopyObject"),
}


class TestCertificates:
    """Of servers that no public authority has signed, and of clients: on each way to S3."""

    @pytest.mark.parametrize("place", ["verify", "AWS_CA_BUNDLE"])
    async def test_an_authority_of_ones_own(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        with Recorder(certificates.server_context()) as recorder:
            if place == "AWS_CA_BUNDLE":
                monkeypatch.setenv(place, certificates.ca)
            await use_tls(recorder, certificates.ca if place == "verify" else None)
        assert {asked.kind for asked in recorder.asked} == KINDS

    async def test_an_authority_among_others(
        self, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file of many, as companies have it: their own stands behind the public ones."""
        (tmp_path / "others").mkdir()
        others = [Path(Certificates(tmp_path / "others", name).ca).read_bytes() for name in "abc"]
        (tmp_path / "bundle.pem").write_bytes(b"# of all\n" + b"\n".join([*others, Path(certificates.ca).read_bytes()]))
        with Recorder(certificates.server_context()) as recorder:
            await use_tls(recorder, str(tmp_path / "bundle.pem"))
        assert {asked.kind for asked in recorder.asked} == KINDS

    async def test_verify_false_takes_any(self, certificates: Certificates) -> None:
        with Recorder(certificates.server_context()) as recorder:
            await use_tls(recorder, verify=False)
        assert {asked.kind for asked in recorder.asked} == KINDS

    @pytest.mark.parametrize("size", [len(BODY), MIDDLE], ids=["our requests", "obstore"])
    async def test_what_nobody_signed_gets_no_request(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
        with Recorder(certificates.server_context()) as recorder:
            client = session.client("s3", endpoint_url=f"https://127.0.0.1:{recorder.port}")
            options = TransferOptions(idle_timeout=0.5, conn_timeout=0.5)
            async with Bucket("my-bucket", client, session, options) as bucket:
                with pytest.raises(StorageError):
                    await bucket.put(KEY, [bytes(size)], {})
        assert recorder.asked == []

    @pytest.mark.parametrize("verify", ["the authority", "nothing"])
    async def test_a_clients_certificate(self, certificates: Certificates, verify: str) -> None:
        """It is shown on each way, whether or not the server's is looked at."""
        with Recorder(certificates.server_context(asks_clients=True)) as recorder:
            await use_tls(
                recorder, certificates.ca if verify == "the authority" else False, client_cert=certificates.client
            )
        assert {asked.kind for asked in recorder.asked} == KINDS
