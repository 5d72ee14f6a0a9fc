"""
S3's XML: what its answers say, and what requests are made of.

All of it is read by a parser, but for two. The objects of a listing's page: 1,000 of them take 2.0 ms, and 3.5 by a
parser; whatever is not as plain there as S3 writes it goes to the parser, too. And the version that a copy has made.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"

#: What is used of an object in a listing.
_FIELDS = re.compile("<(Key|Size|ETag|LastModified)>([^<]*)</")
#: Whatever stands for a character; one that XML does not know has none of the groups.
_REFERENCE = re.compile("&(?:#([0-9]+);|#x([0-9A-Fa-f]+);|(amp|lt|gt|apos|quot);)?")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "apos": "'", "quot": '"'}


class Listing(NamedTuple):
    """
    One page of a listing.

    :param about: the page itself, with its objects or without them.
    :param objects: each as the texts in it.
    """

    about: Element
    objects: list[dict[str, str]]


def parse(body: bytes, *names: str) -> Element:
    """
    Return the element that a body is, of whatever namespace.

    :param names: what it may be called.
    :raises ValueError: the body is no XML, or another element; the message says what it is.
    """
    try:
        # S3 sends spaces while a copy is under way, some stores before the XML declaration.
        root = ElementTree.fromstring(body.lstrip())  # noqa: S314 - S3's own word
    except (ElementTree.ParseError, LookupError, ValueError) as wrong:
        raise ValueError(f"S3's answer is no XML, where <{names[0]}> is expected: {wrong}") from None
    if _local(root) not in names:
        raise ValueError(f"S3's answer is <{_local(root)}>, where <{names[0]}> is expected")
    return root


def text_of(element: Element, name: str) -> str:
    """Return the text of the first child `name`, "" where there is none."""
    return element.findtext(f"{{*}}{name}") or ""


def texts_of(element: Element) -> dict[str, str]:
    """Return the text of each child by its name."""
    return {_local(child): child.text or "" for child in element}


def error_of(body: bytes) -> dict[str, str]:
    """Return what an error says: ``Code``, ``Message`` and others. Empty where it is none of S3's, but a proxy's."""
    try:
        return texts_of(parse(body, "Error"))
    except ValueError:
        return {}


def is_error(body: bytes) -> bool:
    """Say whether the body of an answer that began as a success is an error: S3 begins before a copy is done."""
    if b"Error" not in body:
        return False
    try:
        parse(body, "Error")
    except ValueError:
        return b"<Error" in body  # half of one
    return True


def parse_listing(body: bytes) -> Listing:
    """Return a page of ListObjectsV2. :raises ValueError: it is none."""
    try:
        return _plain_listing(body.decode())
    except ValueError:
        root = parse(body, "ListBucketResult")
        return Listing(root, [texts_of(found) for found in root.iterfind("{*}Contents")])


def _plain_listing(page: str) -> Listing:
    """Read a page that is written as S3 does. :raises ValueError: this is none."""
    if "<!" in page or "\r" in page:  # CDATA and comments; line ends that a parser makes one of
        raise ValueError
    head, *pieces = page.replace("&quot;", '"').split("<Contents>")  # in every ETag
    objects, about = [], [head]
    for piece in pieces:
        inside, _, after = piece.partition("</Contents>")
        fields = dict(_FIELDS.findall(inside))
        if "&" in inside:
            fields = {name: _REFERENCE.sub(_character, text) for name, text in fields.items()}
        if "Key" not in fields or "Size" not in fields:
            raise ValueError
        objects.append(fields)
        about.append(after)
    root = parse("".join(about).encode(), "ListBucketResult")
    if root.find("{*}Contents") is not None:
        raise ValueError
    return Listing(root, objects)


def version_of_copy(body: bytes) -> tuple[str, str]:
    """
    Return ETag and time of change of the version that CopyObject has made, as a listing shows them.

    Each is "" where the answer does not say it as plainly as S3 does: who has to know asks for the object.
    """
    said = dict(_FIELDS.findall(body.decode("utf-8", "replace")))
    return html.unescape(said.get("ETag", "")), said.get("LastModified", "")[:19]


def parse_tags(body: bytes) -> dict[str, str]:
    """
    Return the tags that an object has.

    :raises ValueError: the answer is not plainly a list of tags. What is written back would not be all of them.
    """
    tags = {}
    for tag_set in _only(parse(body, "Tagging"), "TagSet"):
        for tag in _only(tag_set, "Tag"):
            names = sorted(map(_local, tag))
            if names != ["Key", "Value"] or any(len(child) for child in tag):
                raise ValueError(f"S3's answer has a <Tag> with {', '.join(names) or 'nothing'} in it")
            texts = texts_of(tag)
            tags[texts["Key"]] = texts["Value"]
    return tags


def _only(element: Element, name: str) -> list[Element]:
    for child in element:
        if _local(child) != name:
            raise ValueError(f"S3's answer has a <{_local(child)}>, where <{name}> is expected")
    return list(element)


def tagging(tags: Mapping[str, str]) -> bytes:
    """Return the body that sets an object's tags."""
    pairs = "".join(f"<Tag><Key>{escape(tag)}</Key><Value>{escape(value)}</Value></Tag>" for tag, value in tags.items())
    return f'<Tagging xmlns="{XMLNS}"><TagSet>{pairs}</TagSet></Tagging>'.encode()


def escape(text: str) -> str:
    """Return `text` as it stands in XML."""
    return html.escape(text).replace("\r", "&#13;")


def _character(found: re.Match[str]) -> str:
    """Return what a reference stands for. :raises ValueError: XML does not know it."""
    decimal, hexadecimal, name = found.groups()
    if name:
        return _NAMED[name]
    if not decimal and not hexadecimal:
        raise ValueError
    character = chr(int(decimal) if decimal else int(hexadecimal, 16))
    character.encode()  # half of one is none
    return character


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
