"""
The fields of an Airflow `aws` connection: what is wrong with them, and which of them a transfer takes no notice of.

Airflow and botocore pass over a field that they do not know, and over one half of a pair of keys, without a word: the
run would go to another place than is meant, as somebody else, or store objects with no encryption.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airflow_provider_sftp_s3.engine.errors import ConfigurationError

_KEYS = ("aws_access_key_id", "aws_secret_access_key")
_TOKEN = "aws_session_token"  # noqa: S105 - the name of a field
_TEXTS = (*_KEYS, _TOKEN, "region_name", "endpoint_url", "role_arn", "profile_name", "assume_role_method")
_OBJECTS = ("config_kwargs", "service_config", "session_kwargs", "assume_role_kwargs")
#: Of roles that are assumed by another word than a pair of keys.
_SAML = "assume_role_with_saml"
_WEB_IDENTITY = tuple(
    f"assume_role_with_web_identity_{end}" for end in ("federation", "federation_audience", "token_file")
)
#: What Airflow's Amazon hooks read of Extra. `extra_args` has an error of its own.
_OF_EXTRA = (*_TEXTS, *_OBJECTS, _SAML, *_WEB_IDENTITY, "verify", "extra_args")
#: What is read of `service_config.s3`.
_OF_S3 = ("endpoint_url", "extra_args")
#: What S3Hook reads there, besides.
_OF_S3_HOOK = ("bucket_name", "transfer_config_args")
#: What is heeded of `config_kwargs`, or is an error. The others are about how boto3's own HTTP client works.
_OF_CONFIG = (
    *("region_name", "signature_version", "s3", "use_dualstack_endpoint", "use_fips_endpoint"),
    *("ignore_configured_endpoint_urls", "client_context_params", "defaults_mode"),
    *("proxies", "proxies_config", "client_cert", "user_agent", "user_agent_extra", "user_agent_appid"),
    *("request_checksum_calculation", "response_checksum_validation"),
)
_OBJECTS_OF_CONFIG = ("s3", "proxies", "proxies_config", "retries")
_SWITCHES = ("use_dualstack_endpoint", "use_fips_endpoint", "ignore_configured_endpoint_urls")
_SWITCHES_OF_S3 = ("use_accelerate_endpoint", "use_dualstack_endpoint", "use_arn_region", "payload_signing_enabled")
#: What botocore reads of `config_kwargs.s3`. It passes over all else.
_OF_CONFIG_S3 = (*_SWITCHES_OF_S3, "addressing_style", "us_east_1_regional_endpoint")
#: Fields of old versions of Airflow, and others, whose names say nothing of those of today.
_OLD = {
    "assume_role_arn": "role_arn",
    "host": "endpoint_url",
    "aws_account_id": "role_arn",
    "aws_iam_role": "role_arn",
    "external_id": "assume_role_kwargs",
}
_AN_OBJECT = "an object, such as {}"


def check_fields(conn_id: str, connection: Any, fields: Mapping[str, Any]) -> None:
    """
    Look at what a connection says. A value may be a secret, and is in no error.

    :param fields: its Extra.
    :raises ConfigurationError: a field is of the wrong type, or misspelled, or half of what it takes.
    """
    for name in (*_TEXTS, *_WEB_IDENTITY):
        _check_kind(conn_id, name, fields.get(name), (str,), "a text")
    for name in (*_OBJECTS, _SAML):
        _check_kind(conn_id, name, fields.get(name), (dict,), _AN_OBJECT)
    services = fields.get("service_config", {})
    _check_kind(conn_id, "service_config", services, (dict,), _AN_OBJECT, may_be_null=False)
    for service, about in services.items():
        _check_kind(conn_id, f"service_config.{service}", about, (dict,), _AN_OBJECT, may_be_null=False)
    of_s3 = services.get("s3", {})
    _check_kind(conn_id, "service_config.s3.endpoint_url", of_s3.get("endpoint_url"), (str,), "a text")
    what = "true, false or a path of a file of CA certificates"
    _check_kind(conn_id, "verify", fields.get("verify"), (bool, str), what)
    _check_config(conn_id, fields.get("config_kwargs") or {})
    _check_names(conn_id, "", fields, _OF_EXTRA)
    _check_names(conn_id, "service_config.", services, ("s3",))
    _check_names(conn_id, "service_config.s3.", of_s3, (*_OF_S3, *_OF_S3_HOOK))
    _check_keys(conn_id, connection, fields)
    if connection.host and not (fields.get("endpoint_url") or of_s3.get("endpoint_url")):
        raise ConfigurationError(
            f"the aws connection {conn_id!r} has a host, which Airflow's Amazon hooks take no notice of: for a store "
            "that is not Amazon's set endpoint_url in Extra; for Amazon's take the host out"
        )


def _check_config(conn_id: str, config: Mapping[str, Any]) -> None:
    """Look at what botocore does not look at itself, or stumbles over."""
    for name in _OBJECTS_OF_CONFIG:
        _check_kind(conn_id, f"config_kwargs.{name}", config.get(name), (dict,), _AN_OBJECT)
    of_s3, proxies = config.get("s3") or {}, config.get("proxies") or {}
    for place, names, about in (("", _SWITCHES, config), ("s3.", _SWITCHES_OF_S3, of_s3)):
        for name in names:
            _check_kind(conn_id, f"config_kwargs.{place}{name}", about.get(name), (bool,), "true or false")
    for scheme, proxy in proxies.items():
        _check_kind(conn_id, f"config_kwargs.proxies.{scheme}", proxy, (str,), "a text")
    _check_kind(conn_id, "config_kwargs.user_agent_extra", config.get("user_agent_extra"), (str,), "a text")
    cert = config.get("client_cert")
    if not (isinstance(cert, list) and len(cert) == 2 and all(isinstance(each, str) for each in cert)):
        what = "a path of a file, or a list of two: of the certificate and of its key"
        _check_kind(conn_id, "config_kwargs.client_cert", cert, (str,), what)
    _check_names(conn_id, "config_kwargs.s3.", of_s3, _OF_CONFIG_S3)
    _check_names(conn_id, "config_kwargs.proxies.", proxies, ("http", "https"))


def _check_kind(
    conn_id: str, called: str, value: Any, kinds: tuple[type, ...], what: str, *, may_be_null: bool = True
) -> None:
    if not isinstance(value, kinds) and not (value is None and may_be_null):
        said = "null" if value is None else f"a {type(value).__name__}"
        raise ConfigurationError(f"Extra of the aws connection {conn_id!r}: {called} is {said}, and must be {what}")


def _check_names(conn_id: str, before: str, fields: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise where a name that is not known is nearly one that is."""
    for name in fields:
        if name not in known and (meant := _nearly(name, known)):
            raise ConfigurationError(
                f"Extra of the aws connection {conn_id!r}: {before}{name} is nothing that Airflow or a transfer reads. "
                f"Did you mean {before}{meant}?"
            )


def _nearly(name: str, known: Collection[str]) -> str | None:
    if name.lower() in _OLD and _OLD[name.lower()] in known:
        return _OLD[name.lower()]
    spelled = {each.replace("_", ""): each for each in known}
    plain = name.lower().replace("-", "").replace("_", "")
    near = difflib.get_close_matches(plain, spelled, 1, 1.0 if len(known) == 1 else 0.6)
    return spelled[near[0]] if near else None


def _check_keys(conn_id: str, connection: Any, fields: Mapping[str, Any]) -> None:
    """Raise where there is one half of a pair of keys, and no pair: Airflow would take the worker's own role."""
    session = fields.get("session_kwargs") or {}
    pairs = {
        "login and password": (connection.login, connection.password),
        " and ".join(_KEYS): tuple(fields.get(name) for name in _KEYS),
        f"session_kwargs' {' and '.join(_KEYS)}": tuple(session.get(name) for name in _KEYS),
    }
    if any(all(pair) for pair in pairs.values()):
        return
    if half := next((called for called, pair in pairs.items() if any(pair)), None):
        raise ConfigurationError(
            f"the aws connection {conn_id!r} has one of {half}, and not the other one: the worker's own role would be "
            "used. Give both, or none"
        )


def remarks_on(conn_id: str | None, fields: Mapping[str, Any]) -> list[str]:
    """Return what a run says of the fields that a transfer takes no notice of."""
    unheeded = list(_unheeded(fields))
    if not unheeded:
        return []
    return [f"a transfer takes no notice of {', '.join(unheeded)} in Extra of the aws connection {conn_id!r}"]


def _unheeded(fields: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in fields if name not in _OF_EXTRA)
    if not fields.get("role_arn"):
        of_a_role = ("assume_role_method", "assume_role_kwargs", _SAML, *_WEB_IDENTITY)
        yield from (name for name in of_a_role if fields.get(name))
    config = fields.get("config_kwargs") or {}
    known: dict[str, tuple[Mapping[str, Any] | None, Collection[str]]] = {
        "config_kwargs": (config, _OF_CONFIG),
        "config_kwargs.s3": (config.get("s3"), _OF_CONFIG_S3),
        "config_kwargs.proxies": (config.get("proxies"), ("http", "https")),
        "session_kwargs": (fields.get("session_kwargs"), (*_KEYS, _TOKEN)),
        "service_config.s3": ((fields.get("service_config") or {}).get("s3"), _OF_S3),
    }
    for place, (inner, heeded) in known.items():
        yield from (f"{place}.{name}" for name in inner or {} if name not in heeded)
