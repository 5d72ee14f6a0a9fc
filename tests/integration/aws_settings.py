"""
The settings of an `aws` connection, and what becomes of each.

docs/connections.md prints this table; test_aws_settings.py tries each row of it and compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from tests.support.certificates import Certificates
from tests.support.s3_recorder import ROLE_KEY, Asked
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN


@dataclass(frozen=True)
class Given:
    """
    What a try has at hand.

    :param url: of a server that takes each request and writes it down.
    :param tls_url: of one that has a certificate, and shows it to those only who have one, too.
    :param profiles: a file of profiles with one that is called ``mine``.
    """

    url: str
    tls_url: str
    certificates: Certificates
    profiles: str


@dataclass(frozen=True)
class Seen:
    """What a try has shown: the bucket, and what it has asked S3, small files and large ones."""

    bucket: Bucket
    asked: list[Asked]

    def all_say(self, name: str, value: str) -> bool:
        """Say whether a header of each request has a text in it."""
        of_s3 = [asked for asked in self.asked if asked.kind != "AssumeRole"]
        return bool(of_s3) and all(value in asked.headers.get(name, "") for asked in of_s3)

    def are_signed_by(self, key: str) -> bool:
        """Say whether all requests are signed by a key."""
        return self.all_say("authorization", f"Credential={key}/")

    def some_say(self, begin: str) -> bool:
        """Say whether a request has a header whose name begins so."""
        return any(name.startswith(begin) for asked in self.asked for name in asked.headers)


@dataclass(frozen=True)
class Try:
    """
    A setting, and how it is seen that it is heeded, or refused.

    :param extra: fields of Extra over those that lead to the server; None takes one out. Or makes them.
    :param shows: whether what was seen shows it; or what the error says.
    :param connection: other fields of the connection.
    :param environ: the environment. Or makes it.
    :param asks: whether requests are sent, small and large; else the bucket is made only.
    """

    extra: Mapping[str, Any] | Callable[[Given], Mapping[str, Any]]
    shows: Callable[[Seen], bool] | str
    connection: Mapping[str, Any] = field(default_factory=dict)
    environ: Callable[[Given], Mapping[str, str]] = lambda _: {}
    asks: bool = True


@dataclass(frozen=True)
class Setting:
    """
    A row of the table.

    :param names: of the settings, as the docs print them.
    :param becomes: what is done with them.
    """

    names: str
    becomes: str
    tries: tuple[Try, ...]


def _at(pattern: str) -> Callable[[Seen], bool]:
    return lambda seen: re.fullmatch(pattern, seen.bucket.endpoint.url) is not None


def _remarks(name: str) -> Callable[[Seen], bool]:
    return lambda seen: any(name in remark for remark in seen.bucket.remarks)


NO_KEYS = {"login": None, "password": None}
ROLE = "arn:aws:iam::123456789012:role/mover"
AT_AMAZON: dict[str, Any] = {"endpoint_url": None}


def _role(given: Given, **more: Any) -> dict[str, Any]:
    return {"role_arn": ROLE, "service_config": {"sts": {"endpoint_url": given.url}}, **more}


def _by_web_identity(given: Given, **more: Any) -> dict[str, Any]:
    method = "assume_role_with_web_identity"
    return _role(given, assume_role_method=method, **{"assume_role_with_web_identity_federation": "file", **more})


def _config(**fields: Any) -> dict[str, Any]:
    return {"config_kwargs": fields}


def _of_s3(**fields: Any) -> dict[str, Any]:
    return {"service_config": {"s3": fields}}


SETTINGS = (
    Setting(
        "login and password, or `aws_access_key_id` and `aws_secret_access_key`; `aws_session_token`",
        "sign each request; one of a pair without the other is an error",
        (
            Try({}, lambda seen: seen.are_signed_by(ACCESS_KEY)),
            Try({}, lambda seen: seen.all_say("x-amz-security-token", SESSION_TOKEN)),
            Try(
                {"aws_access_key_id": "AKIAOFEXTRA", "aws_secret_access_key": SECRET_KEY},
                lambda seen: seen.are_signed_by("AKIAOFEXTRA"),
                NO_KEYS,
            ),
            Try({}, "has one of login and password, and not the other one", {"password": None}),
            Try({"aws_access_key_id": "AKIAOFEXTRA"}, "has one of aws_access_key_id and", NO_KEYS),
            Try({"aws_access_key_id": 5}, "aws_access_key_id is a int, and must be a text"),
        ),
    ),
    Setting(
        "`region_name`",
        "requests are signed for it; a bucket in another region is an error that names that, and so is a region that "
        "boto3 does not know, where S3 cannot be reached in it",
        (
            Try(
                {"region_name": "ap-southeast-2"},
                lambda seen: seen.all_say("authorization", "/ap-southeast-2/s3/aws4_request"),
            ),
            Try({"region_name": "not a region"}, "region_name"),
            Try({"region_name": ["eu-central-1"]}, "region_name is a list, and must be a text"),
        ),
    ),
    Setting(
        "`endpoint_url`, `service_config.s3.endpoint_url`",
        "where S3 is; of both the second. A user and password in it is an error, and so is a host of the connection "
        "without one of them",
        (
            Try(lambda given: {"endpoint_url": f"{given.url}/base"}, _at(r"http://[\d.:]+/base/my-bucket")),
            Try(
                lambda given: {"endpoint_url": "http://127.0.0.1:1", **_of_s3(endpoint_url=given.url)},
                lambda seen: len(seen.asked) > 1,
            ),
            Try({"endpoint_url": "http://me:word@127.0.0.1:1"}, "endpoint_url .* has a user or a password"),
            Try({"endpoint_url": "127.0.0.1:9000"}, "endpoint_url"),
            Try(_of_s3(endpoint_url=["http://127.0.0.1:1"]), "service_config.s3.endpoint_url is a list"),
            Try(AT_AMAZON, "has a host", {"host": "store.example"}),
        ),
    ),
    Setting(
        "`role_arn`, `assume_role_method`, `assume_role_kwargs`, `assume_role_with_saml`, "
        "`assume_role_with_web_identity_...`",
        "the role's keys sign each request, and are renewed; a role that is denied is an error. Without `role_arn` the "
        "log says that no notice is taken of the others",
        (
            Try(_role, lambda seen: seen.are_signed_by(ROLE_KEY)),
            Try(
                lambda given: _role(given, assume_role_kwargs={"ExternalId": "mine"}),
                lambda seen: "ExternalId=mine" in seen.asked[0].body,
            ),
            Try({"role_arn": ROLE, "assume_role_method": "by_magic"}, "assume_role_method"),
            Try(lambda given: _role(given, assume_role_kwargs={"External": "mine"}), "assume_role_kwargs"),
            Try({"external_id": "mine"}, "Did you mean assume_role_kwargs"),
            Try({"assume_role_kwargs": {"ExternalId": "mine"}}, _remarks("assume_role_kwargs")),
            Try(
                lambda given: _by_web_identity(given, assume_role_with_web_identity_token_file=given.profiles),
                lambda seen: seen.are_signed_by(ROLE_KEY) and "WebIdentityToken=" in seen.asked[0].body,
            ),
            Try(
                lambda given: _by_web_identity(given, assume_role_with_web_identity_token_file="/no/token"),
                "cannot be used: .*/no/token",
            ),
            Try(
                lambda given: _by_web_identity(given, assume_role_with_web_identity_federation="nobodys"),
                "Unsupported federation: nobodys",
            ),
            Try(
                {"assume_role_with_web_identity_token_file": "/a"}, _remarks("assume_role_with_web_identity_token_file")
            ),
            Try(
                lambda given: _role(given, assume_role_method="assume_role_with_saml", assume_role_with_saml={}),
                "cannot be used: there is no 'principal_arn'",
            ),
            Try(
                lambda given: _role(given, assume_role_method="assume_role_with_saml"),
                "cannot be used: there is no 'assume_role_with_saml'",
            ),
            Try(
                {"aws_session_token": None},
                "the aws connection 'aws_here' cannot be used: .*/no/token",
                NO_KEYS,
                lambda _: {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token"},
            ),
            Try({"assume_role_with_saml": "mine"}, "assume_role_with_saml is a str, and must be an object"),
        ),
    ),
    Setting(
        "`profile_name`",
        "its keys sign each request",
        (
            Try(
                {"profile_name": "mine", "aws_session_token": None},
                lambda seen: seen.are_signed_by("AKIAOFAPROFILE"),
                NO_KEYS,
                lambda given: {"AWS_SHARED_CREDENTIALS_FILE": given.profiles},
            ),
            Try({"profile_name": "nobody"}, "profile_name"),
        ),
    ),
    Setting(
        "`session_kwargs`",
        "keys in it are used, as Airflow does; nothing else in it is, and the log says so",
        (
            Try(
                {"session_kwargs": {"aws_access_key_id": "AKIAOFSESSION", "aws_secret_access_key": SECRET_KEY}},
                lambda seen: seen.are_signed_by("AKIAOFSESSION"),
                NO_KEYS,
            ),
            Try({"session_kwargs": {"profile_name": "mine"}}, _remarks("session_kwargs.profile_name")),
        ),
    ),
    Setting(
        "`config_kwargs`: `s3.addressing_style`, `s3.use_accelerate_endpoint`, `use_dualstack_endpoint`, "
        "`use_fips_endpoint`",
        "as boto3 resolves them",
        (
            Try(
                _config(s3={"addressing_style": "virtual"}) | {"endpoint_url": "http://store.example:9000"},
                _at(r"http://my-bucket\.store\.example:9000"),
                asks=False,
            ),
            Try(_config(s3={"addressing_style": "path"}) | AT_AMAZON, _at(r"https://[^/]+/my-bucket"), asks=False),
            Try(_config(s3={"addressing_style": "diagonal"}), "config_kwargs"),
            Try(_config(s3={"adressing_style": "path"}), "Did you mean config_kwargs.s3.addressing_style"),
            Try(_config(s3={"use_accelerate_endpoint": "false"}), "config_kwargs.s3.use_accelerate_endpoint is a str"),
            Try(_config(use_dualstack_endpoint="yes"), "config_kwargs.use_dualstack_endpoint is a str"),
            Try(
                _config(s3={"use_accelerate_endpoint": True}) | AT_AMAZON,
                _at(r"https://my-bucket\.s3-accelerate\..+"),
                asks=False,
            ),
            Try(
                _config(use_dualstack_endpoint=True) | AT_AMAZON,
                _at(r"https://my-bucket\.s3\.dualstack\..+"),
                asks=False,
            ),
            Try(
                _config(use_fips_endpoint=True) | AT_AMAZON | {"region_name": "us-east-2"},
                _at(r"https://my-bucket\.s3-fips\..+"),
                asks=False,
            ),
        ),
    ),
    Setting(
        "`config_kwargs`: `proxies`",
        "heeded, with or without a scheme; `{}` means none, whatever the environment says. A proxy that does not speak "
        "HTTP is an error",
        (
            Try(
                lambda given: {
                    **_config(proxies={"http": given.url.removeprefix("http://")}),
                    "endpoint_url": "http://store.example",
                },
                lambda seen: {asked.host for asked in seen.asked} == {"store.example"},
            ),
            Try(
                _config(proxies={}),
                lambda seen: len(seen.asked) > 1,
                environ=lambda _: {"http_proxy": "http://127.0.0.1:1"},
            ),
            Try(_config(proxies={"http": "socks5://127.0.0.1:1"}), "proxies"),
            Try(_config(proxies={"http": "http://me:word@127.0.0.1:x"}), "proxies in config_kwargs .* port"),
            Try(_config(proxies={"http": 5}), "config_kwargs.proxies.http is a int"),
            Try(_config(proxies={"htttp": "http://127.0.0.1:1"}), "Did you mean config_kwargs.proxies.http"),
        ),
    ),
    Setting(
        "`config_kwargs`: `proxies_config`, `signature_version` other than `s3v4`",
        "an error",
        (
            Try(_config(proxies_config={"proxy_use_forwarding_for_https": True}), "proxies_config"),
            Try(_config(signature_version="s3"), "signature_version"),
            Try(_config(signature_version="unsigned"), "signature_version"),
        ),
    ),
    Setting(
        "`verify`, `AWS_CA_BUNDLE`, `ca_bundle` of a profile; `config_kwargs`: `client_cert`",
        "heeded; a file that is not there, or is no certificate, is an error",
        (
            Try(
                lambda given: {
                    "endpoint_url": given.tls_url,
                    "verify": given.certificates.ca,
                    **_config(client_cert=given.certificates.client),
                },
                lambda seen: len(seen.asked) > 1,
            ),
            Try(
                lambda given: {"endpoint_url": given.tls_url, **_config(client_cert=given.certificates.client)},
                lambda seen: len(seen.asked) > 1,
                environ=lambda given: {"AWS_CA_BUNDLE": given.certificates.ca},
            ),
            Try(
                lambda given: {
                    "endpoint_url": given.tls_url,
                    "verify": False,
                    **_config(client_cert=given.certificates.client),
                },
                lambda seen: len(seen.asked) > 1,
            ),
            Try({"verify": "/no/ca.pem"}, "verify"),
            Try({}, "AWS_CA_BUNDLE", environ=lambda _: {"AWS_CA_BUNDLE": "/no/ca.pem"}),
            Try(
                lambda given: {"endpoint_url": given.tls_url, "verify": given.profiles},
                "verify, ca_bundle, AWS_CA_BUNDLE or client_cert",
            ),
            Try(_config(client_cert="/no/client.pem"), "client_cert"),
            Try(_config(client_cert=["/a", "/b", "/c"]), "client_cert is a list, and must be"),
            Try(_config(client_cert=5), "client_cert is a int, and must be"),
        ),
    ),
    Setting(
        "`config_kwargs`: `user_agent_extra`, `user_agent_appid`, `user_agent`",
        "requests say so, and that they are ours",
        (
            Try(_config(user_agent_extra="my-company/1"), lambda seen: seen.all_say("user-agent", "my-company/1")),
            Try(_config(user_agent_appid="my-app"), lambda seen: seen.all_say("user-agent", "app/my-app")),
            Try({}, lambda seen: seen.all_say("user-agent", "airflow-provider-sftp-s3")),
            Try(_config(user_agent_extra="two\nlines"), "user_agent_extra"),
            Try(_config(user_agent_extra=5), "user_agent_extra is a int"),
        ),
    ),
    Setting(
        "`config_kwargs`: `request_checksum_calculation`, `response_checksum_validation`",
        "heeded: unless they say `when_required`, each object and part is sent with a checksum, and what S3 gives is "
        "compared",
        (
            Try({}, lambda seen: seen.some_say("x-amz-checksum-crc")),
            Try(
                _config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
                lambda seen: not seen.some_say("x-amz-checksum"),
            ),
            Try(_config(request_checksum_calculation="never"), "config_kwargs"),
        ),
    ),
    Setting(
        "`config_kwargs`: `retries`, `connect_timeout`, `read_timeout`, `max_pool_connections`, and what else is about "
        "how boto3's own HTTP client works",
        "hold for the request for a role; for all others the `options` of the transfer do, and the log says so",
        (
            Try(_config(retries={"max_attempts": 1}), _remarks("config_kwargs.retries")),
            Try(_config(connect_timeout=5, read_timeout=5), _remarks("config_kwargs.connect_timeout")),
            Try(_config(max_pool_connections=5), _remarks("config_kwargs.max_pool_connections")),
            Try(_config(connect_timeout="soon"), "config_kwargs"),
            Try(_config(nonsense=1), "config_kwargs"),
        ),
    ),
    Setting(
        '`service_config`: `{"s3": {"extra_args": {...}}}`',
        "`extra_args` of all transfers; an operator's own win, name by name. Customer keys (`SSECustomerAlgorithm`, "
        "`SSECustomerKey`) may stand here only. `extra_args` at the top of Extra is an error that says so",
        (
            Try(_of_s3(extra_args={"CacheControl": "no-store"}), lambda seen: seen.some_say("cache-control")),
            Try(_of_s3(extra_args={"ServerSideEncription": "aws:kms"}), "Did you mean 'ServerSideEncryption'"),
            Try(_of_s3(extra_args=["ACL"]), "must be a mapping"),
            Try(_of_s3(extra_args={"SSECustomerAlgorithm": "AES256"}), "SSECustomerAlgorithm and SSECustomerKey"),
            Try({"extra_args": {"CacheControl": "no-store"}}, "extra_args of the aws connection: put them into"),
            Try(_of_s3(ExtraArgs={"ServerSideEncryption": "aws:kms"}), "Did you mean service_config.s3.extra_args"),
            Try({"service_config": {"S3": {}}}, "Did you mean service_config.s3"),
            Try({"service_config": {"s3": None}}, "service_config.s3 is null"),
            Try({"service_config": None}, "service_config is null"),
        ),
    ),
    Setting(
        "`service_config`: `bucket_name` and `transfer_config_args` of `s3`",
        "no notice is taken of them, and the log says so",
        (
            Try(_of_s3(bucket_name="other"), _remarks("service_config.s3.bucket_name")),
            Try(
                _of_s3(transfer_config_args={"max_concurrency": 1}), _remarks("service_config.s3.transfer_config_args")
            ),
        ),
    ),
    Setting(
        "other fields of Extra",
        "an error where one is nearly called as one of these; else no notice is taken of it, and the log says so",
        (
            Try({"region": "eu-west-1"}, "Did you mean region_name"),
            Try({"endpoint-url": "http://127.0.0.1:1"}, "Did you mean endpoint_url"),
            Try({"host": "http://127.0.0.1:1"}, "Did you mean endpoint_url"),
            Try({"profile": "mine"}, "Did you mean profile_name"),
            Try({"aws_iam_role": "mover"}, "Did you mean role_arn"),
            Try({"ssl_verify": False}, "Did you mean verify"),
            Try({"comment": "of team red"}, _remarks("comment")),
        ),
    ),
)


def table() -> str:
    """Return the table that docs/connections.md prints."""
    rows = [f"| {setting.names} | {setting.becomes} |" for setting in SETTINGS]
    return "\n".join(["| setting, in the connection's Extra | |", "|---|---|", *rows])
