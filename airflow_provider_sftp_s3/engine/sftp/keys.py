"""Keys as people paste them: into the form that an SSH library reads, or a word on what they look like instead."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

_PEM = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----(?P<body>.*?)-----END (?P=kind)-----", re.DOTALL)
#: RFC 1421's headers of an encrypted key, which an empty line parts from the data. The cipher says how long its
#: initialization vector is.
_ENCRYPTION = re.compile(
    r"\s*Proc-Type:\s*4,ENCRYPTED\s*DEK-Info:\s*(AES-\d+-CBC,[0-9A-Fa-f]{32}|DES-(?:EDE3-)?CBC,[0-9A-Fa-f]{16})\s*"
)
_DATA = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PUBLIC = re.compile(r"(ssh-|ecdsa-|sk-)\S+ AAAA|-+ ?BEGIN (SSH2 |RSA |EC )?PUBLIC KEY")
#: A line of known_hosts, of ssh-keyscan or of a .pub file: a marker and the hosts, where it has them, type and data.
_HOST_KEY = re.compile(
    r"(?:@(?P<marker>\S+)\s+)?(?:(?P<hosts>\S+)\s+)?(?P<key>(?:ssh-|ecdsa-|sk-)\S+\s+[A-Za-z0-9+/]+={0,2})(?:\s.*)?"
)

FORM = "it begins with '-----BEGIN OPENSSH PRIVATE KEY-----' or the like, and is many lines, in JSON with \\n between"


def tidy(text: str) -> str:
    """
    Return a private key's text with what pasting has done to it undone, where that is unambiguous.

    That is: literal ``\\n`` for line breaks, none or too many line breaks, indents, quotes, a byte order mark, and
    base64 around the whole. Any other text is returned as it is.
    """
    bare = _unwrapped(text)
    if "-----BEGIN" not in bare:
        try:
            inner = base64.b64decode("".join(bare.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            return text
        bare = _unwrapped(inner)
    found = _PEM.search(bare)
    if not found:
        return text
    kind, body = found["kind"], found["body"]
    headers = ""
    if encrypted := _ENCRYPTION.match(body):
        headers = f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {encrypted[1]}\n\n"
        body = body[encrypted.end() :]
    data = "".join(body.split())
    if not _DATA.fullmatch(data):
        return text
    lines = "\n".join(data[at : at + 64] for at in range(0, len(data), 64))
    return f"-----BEGIN {kind}-----\n{headers}{lines}\n-----END {kind}-----\n"


def _unwrapped(text: str) -> str:
    bare = text.replace("\\r", "\r").replace("\\n", "\n") if "-----BEGIN" in text else text
    return bare.strip().strip("\ufeff\"'").strip()


def looks_like(text: str) -> str:
    """Say what a text is that is no private key: "" where there is no telling."""
    bare = text.strip().strip("\ufeff\"'").strip()
    if _PUBLIC.match(bare):
        return "it looks like a public key: the private one is the other file of the two, without .pub"
    if bare.startswith("PuTTY-User-Key-File"):
        return "it is in PuTTY's format: have PuTTYgen export it, by Conversions, Export OpenSSH key"
    if bare.startswith("-----BEGIN CERTIFICATE"):
        return "it looks like a certificate"
    if "-----BEGIN" in bare and "-----END" not in bare:
        return "its end is missing"
    if re.fullmatch(r"(~|\.{0,2}/|[A-Za-z]:\\)?[\w./\\ -]{1,250}", bare) and ("/" in bare[:3] or "\\" in bare[:4]):
        return "it looks like a path: that belongs into key_file"
    return ""


@dataclass(frozen=True)
class HostKeys:
    """Public keys of a server, each as ``ssh-ed25519 AAAA...``: to trust, to trust as a CA, and never to trust."""

    trusted: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()


def host_keys(text: str) -> HostKeys:
    """
    Return the keys in the text of a `host_key`: a key, or lines of known_hosts or of ssh-keyscan.

    Whose lines they are is not looked at: they were given as this server's.

    :raises ValueError: a line is none of these; there is none.
    """
    found: dict[str, list[str]] = {"": [], "cert-authority": [], "revoked": []}
    for line in _lines(text):
        if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", line):
            found[""].append(f"ssh-rsa {line}")  # as Airflow's SSHHook takes it
            continue
        key = _HOST_KEY.fullmatch(line)
        if not key or (key["marker"] or "") not in found:
            raise ValueError("it is no public key, and no line of known_hosts or of ssh-keyscan")
        found[key["marker"] or ""].append(" ".join(key["key"].split()))
    if not any(found.values()):
        raise ValueError("there is no key in it")
    return HostKeys(tuple(found[""]), tuple(found["cert-authority"]), tuple(found["revoked"]))


def _lines(text: str) -> Iterator[str]:
    bare = text.replace("\\n", "\n").strip().strip("\ufeff\"'")
    for line in bare.splitlines():
        if (line := line.strip()) and not line.startswith("#"):
            yield line
