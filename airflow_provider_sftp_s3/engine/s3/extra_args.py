"""
Extra arguments: what boto3's `ExtraArgs` say of an object that is written, and the headers that stand for them.

They have boto3's names, botocore's model says what is allowed, and botocore's serializer which headers they become.
"""

from __future__ import annotations

import difflib
import functools
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import botocore.session
import botocore.validate

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.s3.endpoint import ask_botocore
from airflow_provider_sftp_s3.engine.s3.names import METADATA_NAMES, TAG

Direction = Literal["pull", "push"]

#: Where the aws connection's own are, beside S3Hook's `transfer_config_args`.
OF_THE_CONNECTION = "service_config.s3.extra_args of the aws connection"
#: What the engine says itself of each object.
_OURS = ("Bucket", "Key", "Body", "ContentLength", "ContentMD5", "IfMatch", "IfNoneMatch", "WriteOffsetBytes")
_CHECKSUMS = "Checksum"
#: Keys that are secrets, and so have no place in a Dag.
_CUSTOMER_KEY = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")
#: What a push can say: the rest of an object's settings is its producer's.
_OF_A_PUSH = ("ACL", "ExpectedBucketOwner", "RequestPayer")
#: What requests of all kinds take.
OF_EVERY_REQUEST = ("ExpectedBucketOwner", "RequestPayer")
#: A part of a header's name.
_METADATA_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: What an object is not asked for before it is copied onto itself, since S3 does not show it.
_NOT_SHOWN = (
    *("ACL", "GrantFullControl", "GrantRead", "GrantReadACP", "GrantWriteACP"),
    *("SSEKMSEncryptionContext", *_CUSTOMER_KEY),
)


class SentAlong(NamedTuple):
    """
    The headers that extra arguments put on requests, by kind of request.

    :param every: of all of them.
    :param read: of one that reads an object.
    :param put: of one that writes an object, or begins to, in parts.
    :param part: of one that sends a part.
    :param copy: of one that copies an object onto itself.
    """

    every: Mapping[str, str] = {}
    read: Mapping[str, str] = {}
    put: Mapping[str, str] = {}
    part: Mapping[str, str] = {}
    copy: Mapping[str, str] = {}


def checked(
    extra_args: object, direction: Direction, *, called: str = "extra_args", of_the_connection: bool = False
) -> dict[str, Any]:
    """
    Return extra arguments; the text of a number or a boolean, as templates give it, as what it stands for.

    :param called: their name in errors.
    :param of_the_connection: they may have customer keys, and a push what only a pull sends.
    :raises ConfigurationError: one is not allowed; the message names it.
    """
    if not extra_args:
        return {}
    if not isinstance(extra_args, Mapping) or not all(isinstance(name, str) for name in extra_args):
        raise ConfigurationError(
            f"{called} must be a mapping of names of boto3's ExtraArgs, such as {{'ServerSideEncryption': 'aws:kms'}}, "
            f"not a {type(extra_args).__name__}"
        )
    members = _put_object().members
    only_some = direction == "push" and not of_the_connection
    given: dict[str, Any] = {}
    for name, value in extra_args.items():
        if name not in members:
            known = {each.lower(): each for each in (_OF_A_PUSH if only_some else members)}
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f"Did you mean {known[near[0]]!r}? " if near else ""
            raise ConfigurationError(f"{called}: {name!r} is no argument of put_object. {hint}See boto3's ExtraArgs")
        if name in _CUSTOMER_KEY and not of_the_connection:
            raise ConfigurationError(f"{called}: {name} is a secret: put it into {OF_THE_CONNECTION}")
        if name in _OURS or name.startswith(_CHECKSUMS):
            raise ConfigurationError(f"{called}: {name} is set for each object by itself: leave it out")
        if only_some and name not in _OF_A_PUSH:
            raise ConfigurationError(
                f"{called}: a push takes {', '.join(_OF_A_PUSH)}, and not {name}: its marks keep what an object has"
            )
        given[name] = _as_modelled(members[name], value)
    _check_values(given, called)
    return given


def _as_modelled(shape: Any, value: Any) -> Any:
    if shape.type_name == "boolean" and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if shape.type_name in ("integer", "long") and isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value


def _check_values(given: Mapping[str, Any], called: str) -> None:
    shape = _put_object()
    report = botocore.validate.ParamValidator().validate({**given, "Bucket": "bucket", "Key": "k"}, shape)
    if report.has_errors():
        raise ConfigurationError(f"{called}: {report.generate_report()}")
    for name, value in given.items():
        # Stores that are not Amazon's have storage classes of their own.
        allowed = getattr(shape.members[name], "enum", None)
        if allowed and value not in allowed and name != "StorageClass":
            raise ConfigurationError(f"{called}: {name} must be one of {', '.join(allowed)}, not {value!r}")
    if len({"SSECustomerAlgorithm", "SSECustomerKey"} & given.keys()) == 1:
        raise ConfigurationError(
            f"{called}: SSECustomerAlgorithm and SSECustomerKey need each other: give both, or none"
        )
    for name, value in given.items():
        # Libraries lose such a header, or the request, each in its own way.
        if isinstance(value, str) and not value.isprintable() and name not in _CUSTOMER_KEY:
            raise ConfigurationError(f"{called}: {name} must be one line of printable characters, not {value!r}")
    _check_metadata(given.get("Metadata", {}), called)
    tags = [name for name, _ in urllib.parse.parse_qsl(given.get("Tagging", ""), keep_blank_values=True)]
    if TAG in tags:
        raise ConfigurationError(f"{called}: the tag {TAG!r} is a mark of ours: choose another name")
    if len(set(tags)) < len(tags):
        raise ConfigurationError(f"{called}: Tagging gives a tag twice, and an object has each once")


def _check_metadata(metadata: Mapping[str, str], called: str) -> None:
    for name, value in metadata.items():
        if name.lower() in METADATA_NAMES:
            raise ConfigurationError(f"{called}: the metadata {name!r} is a mark of ours: choose another name")
        if not _METADATA_NAME.fullmatch(name):
            raise ConfigurationError(f"{called}: metadata cannot be called {name!r}: letters, digits, '.', '_' and '-'")
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"{called}: the metadata {name!r} must be one line of ASCII characters, not {value!r}: S3 has no others"
            )
    if len({name.lower() for name in metadata}) < len(metadata):
        raise ConfigurationError(
            f"{called}: Metadata has a name twice, but for capital letters, which S3 does not keep"
        )


@functools.cache
def _put_object() -> Any:
    """Return botocore's model of the arguments of PutObject."""
    return botocore.session.Session().get_service_model("s3").operation_model("PutObject").input_shape


def sent_along(client: Any, bucket: str, extra_args: Mapping[str, Any]) -> SentAlong:
    """
    Return the headers of the requests of a run.

    :param extra_args: as :func:`checked` has returned them.
    :raises ConfigurationError: botocore says that they cannot be sent.
    """
    if not extra_args:
        return SentAlong()
    every = {name: extra_args[name] for name in OF_EVERY_REQUEST if name in extra_args}
    own = {name: value for name, value in extra_args.items() if name not in every}
    copy = {name: value for name, value in own.items() if name in _NOT_SHOWN}
    source = {f"CopySource{name}": value for name, value in copy.items() if name in _CUSTOMER_KEY}

    def headers(operation: str, **arguments: Any) -> dict[str, str]:
        known = client.meta.service_model.operation_model(operation).input_shape.members
        return _headers(client, bucket, operation, {name: arguments[name] for name in arguments if name in known})

    return SentAlong(
        every=headers("HeadObject", **every),
        read=headers("GetObject", **{name: own[name] for name in own if name in _CUSTOMER_KEY}),
        put=headers("PutObject", **own),
        part=headers("UploadPart", **own, PartNumber=1, UploadId="u"),
        copy=headers("CopyObject", **copy, **source, CopySource={"Bucket": bucket, "Key": "k"}),
    )


def _headers(client: Any, bucket: str, operation: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    try:
        asked = ask_botocore(client, operation, {**arguments, "Bucket": bucket, "Key": "k"})
    except ConfigurationError as wrong:
        raise ConfigurationError(f"extra_args: {wrong}") from None
    return {
        # botocore before 1.36 writes a boolean as Python does.
        name: value.lower() if value in ("True", "False") else value
        for name, value in asked.headers.items()
        if name.lower() not in ("user-agent", "expect", "x-amz-copy-source", "content-md5")
        and not name.lower().startswith(("x-amz-sdk-", "x-amz-checksum-"))
    }
