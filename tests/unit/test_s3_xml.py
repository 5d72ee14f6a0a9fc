"""S3's XML is read as a parser reads it, the page of a listing included, which no parser reads."""

from __future__ import annotations

import urllib.parse
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape as sax_escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import StorageError
from airflow_provider_sftp_s3.engine.s3 import xml as s3_xml
from airflow_provider_sftp_s3.engine.s3.pages import entries_of
from airflow_provider_sftp_s3.engine.s3.requests import Answer

pytestmark = pytest.mark.unit

NAMESPACE = f' xmlns="{s3_xml.XMLNS}"'
#: All that XML can hold, and more often what means something in XML, HTML or a URL.
CHARACTERS = st.one_of(
    st.sampled_from("&;<>'\"+%#27apmltx \x85\x80é€😀/"),
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"),
)
ETAG = '"0123"'
TEXTS = st.lists(CHARACTERS, min_size=1, max_size=30).map("".join)
WORDS = st.lists(
    st.sampled_from(["&amp;", "&", "'", "%27", "+", " ", "&copy;", "&apos;", "&#128;", "%", "]]>", "a"]), min_size=1
).map("".join)


@st.composite
def references(draw: st.DrawFn, text: str) -> str:
    """Return `text` as XML, each character by itself or as one of the ways to refer to it."""

    def spelled(character: str) -> str:
        ways = [f"&#{ord(character)};", f"&#x{ord(character):x};", f"&#x{ord(character):04X};"]
        named = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}.get(character)
        if named:
            ways += [named] * 5
        if character not in "&<>":
            ways += [character] * 10
        return draw(st.sampled_from(ways))

    return "".join(map(spelled, text))


@st.composite
def pages(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Return a page of a listing, and the keys that are in it."""
    keys = draw(st.lists(st.one_of(TEXTS, WORDS), max_size=4))
    encoded = draw(st.booleans())
    objects = []
    for key in keys:
        in_url = (
            draw(st.sampled_from([urllib.parse.quote_plus, urllib.parse.quote]))(key, safe="/'") if encoded else key
        )
        fields = [
            f"<Key>{draw(references(in_url))}</Key>",
            f"<LastModified>2026-01-31T06:00:0{draw(st.integers(0, 9))}.000Z</LastModified>",
            f"<ETag>{draw(references(ETAG))}</ETag>",
            f"<Size>{draw(st.integers(0, 10**13))}</Size>",
            "<Owner><ID>x</ID><DisplayName>y</DisplayName></Owner>",
        ]
        gap = draw(st.sampled_from(["", "\n  ", "<!-- <Key>no</Key> -->"]))
        objects.append(f"<Contents>{gap.join(draw(st.permutations(fields)))}</Contents>")
    parts = [*objects, "<IsTruncated>false</IsTruncated>"]
    parts += ["<EncodingType>url</EncodingType>"] if encoded else []
    namespace = draw(st.sampled_from(["", NAMESPACE]))
    return f"<ListBucketResult{namespace}>{''.join(parts)}</ListBucketResult>".encode(), keys


def by_a_parser(page: bytes) -> list[dict[str, str]]:
    used = ("Key", "Size", "ETag", "LastModified")
    return [
        {name: found.findtext(f"{{*}}{name}") or "" for name in used}
        for found in ElementTree.fromstring(page).iterfind("{*}Contents")
    ]


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(pages())
def test_a_page_is_read_as_a_parser_reads_it(made: tuple[bytes, list[str]]) -> None:
    """And its keys come out as they went in, whatever is literal text in them."""
    page, keys = made
    used = ("Key", "Size", "ETag", "LastModified")
    read = [{name: found[name] for name in used} for found in s3_xml.parse_listing(page).objects]
    assert read == by_a_parser(page)
    entries, after = entries_of(page)
    assert [entry.key for entry in entries] == keys
    assert after is None


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXTS, st.one_of(st.just(""), TEXTS, st.just(" a\r\nb\t ")), max_size=10))
def test_tags_are_written_as_they_were_read(tags: dict[str, str]) -> None:
    assert s3_xml.parse_tags(s3_xml.tagging(tags)) == tags


def listing(contents: str, about: str = "", root: str = "ListBucketResult") -> bytes:
    return f'<?xml version="1.0"?>\n<{root}{NAMESPACE}>{about}{contents}</{root}>'.encode()


OBJECT = "<Contents><Key>{}</Key><Size>5</Size></Contents>"


@pytest.mark.parametrize(
    "page",
    [
        listing("<Contents><Key><![CDATA[a&b]]></Key><Size>5</Size></Contents>"),
        listing('<Contents a="b"><Key>a&amp;b</Key><Size>5</Size></Contents>'),
        listing('<Contents><Key a="b">a&amp;b</Key><Size>5</Size></Contents>'),
        b'<s:ListBucketResult xmlns:s="urn:x"><s:Contents><s:Key>a&amp;b</s:Key><s:Size>5</s:Size></s:Contents>'
        b"</s:ListBucketResult>",
        b"\n " + listing(OBJECT.format("a&#38;b")),
    ],
)
def test_a_page_that_is_written_otherwise_is_read_all_the_same(page: bytes) -> None:
    assert [(entry.key, entry.size) for entry in entries_of(page)[0]] == [("a&b", 5)]


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html><body>Sign in</body></html>",
        listing("", root="Error"),
        listing(OBJECT.format("a"))[:-10],
        listing(OBJECT.format("a"))[:-40],
        listing(OBJECT.format("a&b")),
        listing(OBJECT.format("a&nbsp;b")),
        listing("<Contents><Size>5</Size></Contents>"),
        listing("<Contents><Key>a</Key><Size>many</Size></Contents>"),
        listing(OBJECT.format("a"), "<IsTruncated>true</IsTruncated>"),
    ],
)
def test_what_is_no_page_of_a_listing_is_an_error(page: bytes) -> None:
    """Above all it is not one with no objects, or with no page after it."""
    with pytest.raises(StorageError, match=r"s3://b/k: "):
        Answer("s3://b/k", {}, page).read(entries_of)


def test_a_size_that_is_not_said_is_unknown() -> None:
    assert entries_of(listing("<Contents><Key>a</Key><Size/></Contents>"))[0][0].size == -1


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        ("<Tagging><TagSet/></Tagging>", {}),
        ("<Tagging/>", {}),
        ("<Tagging><TagSet><Tag><Key>a</Key><Value/></Tag></TagSet></Tagging>", {"a": ""}),
        ("<Tagging><TagSet><Tag><Value>1</Value>\n<Key>a</Key></Tag></TagSet></Tagging>", {"a": "1"}),
        (
            f"<Tagging{NAMESPACE}> <TagSet> <Tag>\n<Key>a</Key> <Value> 1 </Value></Tag></TagSet></Tagging>",
            {"a": " 1 "},
        ),
        (
            "<Tagging><TagSet><Tag><Key>a&apos;&#x26;</Key><Value><![CDATA[<]]></Value></Tag></TagSet></Tagging>",
            {"a'&": "<"},
        ),
    ],
)
def test_tags_however_they_are_written(body: str, tags: dict[str, str]) -> None:
    assert s3_xml.parse_tags(body.encode()) == tags


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "<html/>",
        "<TagSet/>",
        "<Tagging><TagSet>",
        "<Error><Code>AccessDenied</Code></Error>",
        "<Tagging><Tag><Key>a</Key><Value>1</Value></Tag></Tagging>",
        "<Tagging><TagSet><Key>a</Key><Value>1</Value></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key><Value><b/></Value></Tag></TagSet></Tagging>",
    ],
)
def test_what_is_no_list_of_tags_is_an_error(body: str) -> None:
    with pytest.raises(StorageError, match=r"s3://b/k: "):
        Answer("s3://b/k", {}, body.encode()).read(s3_xml.parse_tags)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", False),
        ("<CopyObjectResult><ETag>&quot;1&quot;</ETag></CopyObjectResult>", False),
        ("<CompleteMultipartUploadResult><Key>Error &lt;Error&gt;</Key></CompleteMultipartUploadResult>", False),
        ("\n \n<Error><Code>InternalError</Code></Error>", True),
        (f"<Error{NAMESPACE}><Code>InternalError</Code></Error>", True),
        ("<Error><Code>Internal", True),
    ],
)
def test_an_error_after_a_success(body: str, error: bool) -> None:
    assert s3_xml.is_error(body.encode()) == error


def test_what_an_error_says() -> None:
    """Of a proxy's page it is nothing, and not an error of ours."""
    said: dict[str, Any] = {"Code": "NoSuchKey", "Message": f"no {sax_escape('<key>')}"}
    body = "".join(f"<{name}>{text}</{name}>" for name, text in said.items())
    assert s3_xml.error_of(f"<Error{NAMESPACE}>{body}</Error>".encode()) == {"Code": "NoSuchKey", "Message": "no <key>"}
    assert s3_xml.error_of(b"<html><head><title>503<br></html>") == {}


@pytest.mark.parametrize("quote", ['"', "&quot;", "&#34;", "&#x22;"])
@pytest.mark.parametrize("namespace", [NAMESPACE, ""])
def test_the_version_that_a_copy_has_made(quote: str, namespace: str) -> None:
    """However the store writes the quotes of an ETag."""
    etag, modified = f"<ETag>{quote}0123{quote}</ETag>", "<LastModified>2026-01-31T06:00:00.000Z</LastModified>"
    for said in (etag + modified, modified + "<ChecksumCRC32>AAAA</ChecksumCRC32>\n" + etag):
        body = f"  <?xml version='1.0'?>\n<CopyObjectResult{namespace}>{said}</CopyObjectResult>".encode()
        assert s3_xml.version_of_copy(body) == (ETAG, "2026-01-31T06:00:00")


@pytest.mark.parametrize("body", [b"", b"<CopyObjectResult/>", b"\xff\xfe", b"<html>a proxy's</html>"])
def test_a_copy_that_does_not_say_its_version(body: bytes) -> None:
    """The next run asks."""
    assert s3_xml.version_of_copy(body) == ("", "")
