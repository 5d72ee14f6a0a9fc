"""
Where a bucket is and how it is reached, as botocore resolves it for the connection's own client.

A twin of the client does all of its work but for the request itself: a handler of ours answers in S3's place, as
botocore's own Stubber does. So nothing is sent, and regions, styles of addresses, access points and the names of
headers are botocore's business.
"""

from __future__ import annotations

import copy
import difflib
import functools
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore
import botocore.exceptions
import botocore.utils
from botocore.awsrequest import AWSResponse

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.paths import reason_of
from airflow_provider_sftp_s3.engine.settings import bucket_not_supported, check_bucket_name

if TYPE_CHECKING:
    import boto3

#: A key whose place in a URL is seen at once.
_KEY = "k"
#: Settings of an aws connection's `config_kwargs` that only botocore's own HTTP client could heed.
_PROXY_SETTINGS = ("proxy_ca_bundle", "proxy_client_cert", "proxy_use_forwarding_for_https")


class Asked(NamedTuple):
    """A request as botocore would send it, but for the signature."""

    url: str
    headers: Mapping[str, str]
    region: str
    service: str


class Endpoint(NamedTuple):
    """
    Where a bucket is.

    :param url: of the bucket, with no slash at its end: the key follows.
    :param region: for which requests are signed.
    """

    url: str
    region: str


class Network(NamedTuple):
    """
    How S3 is reached, for those who are no botocore.

    :param proxy: URL of a proxy, if there is one.
    :param verify: False: any TLS certificate will do; a path: a file of CA certificates to trust.
    :param client_cert: a file with certificate and key, or one of each.
    """

    proxy: str | None = None
    verify: bool | str | None = None
    client_cert: str | tuple[str, str] | None = None
    user_agent: str = "airflow-provider-sftp-s3"


def ask_botocore(client: Any, operation: str, arguments: Mapping[str, Any]) -> Asked:
    """
    Return the request that a boto3 client would send.

    :param operation: the API's name for it, such as ``PutObject``.
    :raises ConfigurationError: botocore says that it cannot work.
    """
    asked: list[dict[str, Any]] = []

    def answer(params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        asked.append(params)
        return AWSResponse(None, 200, {}, None), {}

    twin = _twin_of(client)
    twin.meta.events.register_first(f"before-call.s3.{operation}", answer)
    try:
        getattr(twin, botocore.xform_name(operation))(**arguments)
    except (botocore.exceptions.BotoCoreError, ValueError) as wrong:
        raise ConfigurationError(reason_of(wrong)) from None
    signing = asked[0]["context"].get("signing") or {}
    return Asked(
        asked[0]["url"],
        asked[0]["headers"],
        signing.get("region") or client.meta.region_name or "us-east-1",
        signing.get("signing_name") or "s3",
    )


def _twin_of(client: Any) -> Any:
    """Return a client that does as this one, with handlers of its own: others may be using this one right now."""
    twin = object.__new__(type(client))  # copy.copy asks it for attributes before it has any
    vars(twin).update(vars(client))
    twin.meta = copy.copy(client.meta)
    twin.meta.events = copy.copy(client.meta.events)
    return twin


def endpoint_of(client: Any, bucket: str) -> Endpoint:
    """
    Return where a bucket is.

    :param bucket: its name, or the alias or ARN of an access point.
    :raises ConfigurationError: it is none, or of a kind that is not supported; the message names the setting.
    """
    check_bucket_name(bucket)
    _check_signature(client)
    try:
        asked = ask_botocore(client, "GetObject", {"Bucket": bucket, "Key": _KEY})
    except ConfigurationError as wrong:
        what = "endpoint_url" if "Custom endpoint" in str(wrong) else f"s3_bucket {bucket!r}"
        raise ConfigurationError(f"{what} cannot be used with the aws connection: {wrong}") from None
    if asked.service != "s3":
        raise bucket_not_supported(bucket, f"of {asked.service}")
    if "@" in urllib.parse.urlsplit(asked.url).netloc:
        raise ConfigurationError(
            "endpoint_url of the aws connection has a user or a password in it, and S3 knows neither: take out what is "
            "before the '@', and set login and password of the connection"
        )
    return Endpoint(asked.url.removesuffix(f"/{_KEY}"), asked.region)


def _check_signature(client: Any) -> None:
    version = client.meta.config.signature_version
    if version not in (None, "s3v4", "v4"):
        said = version if isinstance(version, str) else "unsigned"
        raise ConfigurationError(
            f"config_kwargs of the aws connection: signature_version {said!r} is not supported: requests are signed "
            "with s3v4, which is the default"
        )


def check_region(session: boto3.Session, endpoint: Endpoint, failed: Exception) -> None:
    """
    Look whether S3 cannot be reached since a bucket's host is made of a region that does not exist.

    :param failed: what has shown that it cannot be reached.
    :raises ConfigurationError: boto3 has never heard of the region.
    """
    if f".{endpoint.region}." not in endpoint.url:
        return
    known = [each for name in session.get_available_partitions() for each in session.get_available_regions("s3", name)]
    if endpoint.region in known:
        return
    near = difflib.get_close_matches(endpoint.region.lower(), known, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise ConfigurationError(
        f"region_name of the aws connection: boto3 knows no region {endpoint.region!r}. {hint}{failed}"
    ) from None


def network_of(client: Any, session: boto3.Session, verify: bool | str | None) -> Network:
    """
    Return how the network of a client is set, by its connection, the environment and ``~/.aws/config``.

    :param verify: as the client was given it.
    :raises ConfigurationError: a file is missing, or a setting is one that cannot be heeded; the message names it.
    """
    config, url = client.meta.config, client.meta.endpoint_url
    if ignored := [name for name in _PROXY_SETTINGS if (config.proxies_config or {}).get(name)]:
        raise ConfigurationError(
            f"config_kwargs of the aws connection: proxies_config with {', '.join(ignored)} is not supported"
        )
    # An empty mapping is a setting, too: no proxy, whatever the environment says.
    proxies = botocore.utils.get_environ_proxies(url) if config.proxies is None else config.proxies
    proxy = proxies.get(url.partition(":")[0]) or None
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy.removeprefix('//')}"
    _check_proxy(proxy)
    if verify is None:
        # As a client finds it: AWS_CA_BUNDLE, and `ca_bundle` of a profile.
        verify = session._session.get_config_variable("ca_bundle")
    cert = config.client_cert
    for name, path in (
        ("verify, ca_bundle or AWS_CA_BUNDLE", verify),
        *(("client_cert", each) for each in ((cert,) if isinstance(cert, str) else cert or ())),
    ):
        if isinstance(path, str) and not Path(path).is_file():
            raise ConfigurationError(f"{name} of the aws connection: there is no file {path!r}")
    agent = ask_botocore(client, "GetObject", {"Bucket": "bucket", "Key": _KEY}).headers.get("User-Agent", "")
    if not (agent.isascii() and agent.isprintable()):
        raise ConfigurationError(
            "user_agent_extra in config_kwargs of the aws connection: a header takes one line of ASCII characters"
        )
    return Network(proxy, verify, tuple(cert) if isinstance(cert, list) else cert, f"{agent} {Network().user_agent}")


def _check_proxy(proxy: str | None) -> None:
    """Raise ConfigurationError where a proxy cannot be used. Its URL may have a password, and is in no error."""
    if not proxy:
        return
    where = "proxies in config_kwargs of the aws connection, or of the environment"
    scheme = proxy.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{where}: a proxy that speaks {scheme} is not supported: http:// or https://, or {{}} for none"
        )
    try:
        url = urllib.parse.urlsplit(proxy)
        is_place = bool(url.hostname) and url.port != 0
    except ValueError:
        is_place = False
    if not is_place:
        raise ConfigurationError(f"{where}: a URL of a proxy has no host in it, or no number for a port")


def copy_source(bucket: str, key: str) -> str:
    """Return what ``x-amz-copy-source`` says of an object."""
    return f"{quoted(f'{bucket}/object' if bucket.startswith('arn:') else bucket)}/{quoted(key)}"


@functools.lru_cache(maxsize=1024)  # asked for a few times while an object is moved
def quoted(key: str) -> str:
    """Return a key as the path of a URL has it."""
    return urllib.parse.quote(key, safe="/~")
