"""
What a transfer needs of an S3 store, on every one that can be had: ``make stores``.

What one of them cannot do is declared in tests/stores/table.py, with its reason.
"""

from __future__ import annotations

import os
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import (
    AuthenticationFailed,
    ConfigurationError,
    PlaceMissing,
    TransferError,
)
from airflow_provider_sftp_s3.engine.options import KiB
from airflow_provider_sftp_s3.engine.s3 import left_uploads, pages
from airflow_provider_sftp_s3.engine.s3.names import SYNCED
from airflow_provider_sftp_s3.engine.s3.requests import query_of
from tests.faults.harness import done_path, make_old, read_tree, write_tree
from tests.stores.conftest import PART, Needs, Place, on

pytestmark = pytest.mark.stores

FILES = {
    "empty": b"",
    "one": b"1",
    "16 KiB": os.urandom(16 * KiB),
    "more than 16 KiB": os.urandom(16 * KiB + 1),
    "a part": os.urandom(PART),
    "two parts": os.urandom(PART + 1),
    "three parts": os.urandom(2 * PART + 7),
}
SOME = {name: FILES[name] for name in ("one", "more than 16 KiB", "two parts")}
#: Of 1,024 bytes, as long as S3 takes one, in names as long as a file system takes them.
LONGEST = "/".join(("é" * 100 + "d" * 50, "e" * 255, "f" * 255, "g" * 255, "h" * 5))
ODD = [
    *("a 'single' b", 'a "double" b', "a&b", "a+b", "a%2Fb", "a%b", "~a~", "a;b", "a=b,c", "a b  c", "a?b#c", "[a]{b}"),
    *("$a@b!", "a*b", "(a)", "a:b|c^d`", "<a>", "&amp;", "a\\b", "Grüße", "u\u0308", "📦", ".hidden", "a..b", "-a"),
    LONGEST,
]


class TestPull:
    async def test_files_of_each_size(self, place: Place) -> None:
        """Arrive byte for byte and move into ``.done``; then there is nothing to do."""
        write_tree(place.sftp.root / "in", FILES)
        assert (await place.pull()).transferred == len(FILES)
        assert place.contents() == FILES
        assert read_tree(place.sftp.root / "in") == {done_path(name): data for name, data in FILES.items()}
        assert (await place.pull()).transferred == 0
        assert place.seen.notices == []

    async def test_odd_keys(self, place: Place) -> None:
        names = {name: name.encode() for name in ODD}
        assert max(len(name.encode()) for name in names) == 1024
        write_tree(place.sftp.root / "in", names)
        assert (await place.pull(after_transfer="keep")).transferred == len(names)
        assert place.contents() == names
        assert (await place.pull(after_transfer="keep")).skipped == {"unchanged": len(names)}

    async def test_extra_arguments_are_stored_as_boto3_stores_them(self, place: Place, needs: Needs) -> None:
        """By each of the three ways to S3, with characters outside ASCII and with blanks."""
        arguments: dict[str, Any] = {
            "CacheControl": "max-age = 60,  private",
            "ContentDisposition": 'attachment; filename="Grüße, 日本.txt"',
            "ContentType": "text/x; title=Grüße",
            "Metadata": {"team": 'a "red"  one', "empty": ""},
        }
        if not place.store.lacks("tags"):
            arguments["Tagging"] = "a=b%20c%2Bd&e=%C3%BC&f="
        write_tree(place.sftp.root / "in", SOME)
        await place.pull(extra_args=arguments)
        place.put("as boto3 has it", b"1", **arguments)
        wanted = place.head("as boto3 has it")
        for key in SOME:
            found = place.head(key)
            for name in ("CacheControl", "ContentDisposition", "ContentType"):
                assert found[name] == wanted[name], key
            assert found["Metadata"].items() >= wanted["Metadata"].items(), key
        if "Tagging" in arguments:
            assert place.tags("one") == place.tags("more than 16 KiB") == place.tags("as boto3 has it")
            needs("tags of an upload in parts")
            assert place.tags("two parts") == place.tags("one")

    async def test_a_newer_file_replaces_an_older_one(self, place: Place) -> None:
        for body in (FILES["one"], FILES["two parts"], FILES["three parts"], b"22"):
            write_tree(place.sftp.root / "in", {"f": body})
            assert (await place.pull()).transferred == 1
            assert place.contents() == {"f": body}

    async def test_keep(self, place: Place) -> None:
        """The second run pulls what is new, and what has changed."""
        write_tree(place.sftp.root / "in", SOME)
        assert (await place.pull(after_transfer="keep")).transferred == len(SOME)
        write_tree(place.sftp.root / "in", {"new": b"new"})
        write_tree(place.sftp.root / "in", {"one": b"2"}, age=1800)
        report = await place.pull(after_transfer="keep")
        assert (report.transferred, report.skipped) == (2, {"unchanged": len(SOME) - 1})
        assert place.contents() == {**SOME, "new": b"new", "one": b"2"}

    async def test_retention(self, place: Place) -> None:
        """A file of 400 days stays for `retention` after its transfer, by the store's clock, and goes then."""
        write_tree(place.sftp.root / "in", {"a": b"a"}, age=400 * 86_400)
        await place.pull(retention=3600.0)
        assert (await place.pull(retention=3600.0)).purged == 0
        make_old(place.sftp.root / "in/.done/a", 7200)
        assert (await place.pull(retention=3600.0)).purged == 1

    async def test_a_retry_aborts_the_uploads_that_were_left(
        self, place: Place, needs: Needs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of this very key; others, and what goes on, are left alone."""
        needs("left uploads")
        client = place.store.client
        for key in ("two parts", "two parts and more"):
            upload = {"Bucket": place.bucket, "Key": key}
            upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
            client.upload_part(**upload, PartNumber=1, Body=FILES["a part"])
        since = datetime.now(UTC) - timedelta(hours=1)
        assert left(place) == ["two parts", "two parts and more"]
        write_tree(place.sftp.root / "in", SOME)
        await place.pull(retried_since=since, after_transfer="keep")
        assert left(place) == ["two parts", "two parts and more"], "a part has come a moment ago"
        monkeypatch.setattr(left_uploads, "SILENT", timedelta(seconds=-10))
        write_tree(place.sftp.root / "in", SOME, age=1800)
        await place.pull(retried_since=since)
        assert left(place) == ["two parts and more"]
        assert place.seen.notices == []


def left(place: Place) -> list[str]:
    """Return the keys of the uploads that were neither completed nor aborted."""
    answer = place.store.client.list_multipart_uploads(Bucket=place.bucket)
    return sorted(upload["Key"] for upload in answer.get("Uploads", ()))


class TestPush:
    async def test_files_of_each_size(self, place: Place, mark: str) -> None:
        """Arrive byte for byte, over older ones too; once they are marked there is nothing to do."""
        for key, body in FILES.items():
            (place.put_in_parts if len(body) > PART else place.put)(f"d/{key}", body)
        write_tree(place.sftp.root / "b", {"d/one": b"an older one"})
        assert (await place.push_to("b", mark=mark)).transferred == len(FILES)
        assert place.there("b") == {f"d/{key}": body for key, body in FILES.items()}
        assert place.contents() == {f"d/{key}": body for key, body in FILES.items()}
        again = await place.push_to("b", mark=mark)
        if mark == "none":
            assert again.transferred == len(FILES)
        else:
            assert (again.transferred, again.skipped["synced"]) == (0, len(FILES))
        assert place.seen.notices == []

    async def test_odd_keys(self, place: Place, mark: str) -> None:
        names = {name: name.encode() for name in ODD}
        for key, body in names.items():
            place.put(key, body)
        assert (await place.push_to("b", mark=mark)).transferred == len(names)
        assert place.there("b") == names
        if mark != "none":
            assert (await place.push_to("b", mark=mark)).skipped["synced"] == len(names)
        assert place.contents() == names

    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_an_object_keeps_its_headers_and_tags(self, place: Place, mark: str, in_parts: bool) -> None:
        """Whatever a mark does to it. The bytes go as they are: an encoding is the reader's affair."""
        headers = {
            "CacheControl": "max-age=60",
            "ContentDisposition": 'attachment; filename="a b, Grüße, 日本.txt"',
            "ContentEncoding": "gzip",
            "ContentLanguage": "de",
            "ContentType": "text/plain; charset=latin-1",
        }
        metadata = {"mine": "a = 'b', c", "mtime": "5"}
        tags = {"cost": "a b/c", "x:y": ""}
        if place.store.lacks("tags") or (in_parts and place.store.lacks("tags of an upload in parts")):
            tags = {}
        store, body = (place.put_in_parts, FILES["two parts"]) if in_parts else (place.put, b"1")
        more = {"Tagging": urllib.parse.urlencode(tags, quote_via=urllib.parse.quote)} if tags else {}
        store("f", body, **headers, Metadata=metadata, **more)
        # As boto3 shows what is no ASCII.
        headers["ContentDisposition"] = headers["ContentDisposition"].encode().decode("latin-1")
        assert headers.items() <= place.head("f").items()
        assert (await place.push_to("b", mark=mark)).transferred == 1
        assert place.there("b") == place.contents() == {"f": body}
        found = place.head("f")
        assert headers.items() <= found.items()
        assert metadata.items() <= {name.lower(): value for name, value in found["Metadata"].items()}.items()
        if tags:
            assert tags.items() <= place.tags("f").items()

    @pytest.mark.parametrize("store", [on("ceph")], indirect=True)
    async def test_an_object_whose_tags_are_not_shown_fails_alone(self, place: Place) -> None:
        """Its tags are never replaced, and the others of the run are marked."""
        place.put_in_parts("0", b"x", Tagging="a=b")
        place.put("1", b"x")
        with pytest.raises(TransferError, match="<Tagging>"):
            await place.push_to("b")
        assert place.there("b") == {"1": b"x"}

    async def test_an_overwritten_object_is_pushed_again(self, place: Place, mark: str) -> None:
        """Once, and of any size: its mark went with the bytes that it was for."""
        for body in (b"1", b"2", FILES["two parts"], FILES["three parts"]):
            (place.put_in_parts if len(body) > PART else place.put)("f", body)
            assert (await place.push_to("b", mark=mark)).transferred == 1
            assert place.there("b") == {"f": body}
            if mark != "none":
                assert (await place.push_to("b", mark=mark)).skipped["synced"] == 1

    async def test_marks_name_the_partner(self, place: Place, mark: str) -> None:
        """What came from one goes to another and not back; a third gets it, too; each of them once."""
        write_tree(place.sftp.root / "in", SOME)
        await place.pull(destination="a")
        if mark == "none":
            assert (await place.push_to("a", mark=mark)).transferred == len(SOME)
            return
        for _ in range(2):
            assert (await place.push_to("a", mark=mark)).skipped["synced"] == len(SOME)
        for destination in ("b", "c"):
            assert (await place.push_to(destination, mark=mark)).transferred == len(SOME)
        for destination in ("a", "b", "c"):
            assert (await place.push_to(destination, mark=mark)).skipped["synced"] == len(SOME)
        assert (place.there("a"), place.there("b"), place.there("c")) == ({}, SOME, SOME)


async def test_what_has_no_room_for_a_mark_is_not_delivered(place: Place) -> None:
    """10 tags of the user's own: the object fails before it is sent, and the others go."""
    if "tag" not in place.store.about.modes:
        return
    place.put("full", b"x", Tagging="&".join(f"t{number}=x" for number in range(10)))
    place.put("other", b"x")
    with pytest.raises(TransferError, match="10 tags"):
        await place.push_to("b", mark="tag")
    assert place.there("b") == {"other": b"x"}
    assert len(place.tags("full")) == 10


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
async def test_a_versioned_bucket(place: Place, needs: Needs, mark: str, status: str) -> None:
    """What is marked and overwritten is the newest version; the older ones are the user's."""
    needs("versions")
    for each in dict.fromkeys(("Enabled", status)):
        configuration = {"Status": each}
        place.store.client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration=configuration)
    write_tree(place.sftp.root / "in", SOME)
    await place.pull(destination="a")
    for body in (b"1", b"2"):
        place.put("f", body)
        assert (await place.push_to("b", mark=mark)).transferred >= 1
        assert place.there("b") == {**SOME, "f": body}
        if mark != "none":
            assert (await place.push_to("b", mark=mark)).skipped["synced"] == len(SOME) + 1
    assert place.contents() == {**SOME, "f": b"2"}
    listed = place.store.client.list_object_versions(Bucket=place.bucket)
    assert not [key for key in (each["Key"] for each in listed.get("DeleteMarkers", ())) if ".sftp-s3/" not in key]


async def test_a_bucket_with_dots_in_its_name(place: Place, needs: Needs, mark: str) -> None:
    needs("dots in a bucket's name")
    place.bucket = place.store.s3.store.new_bucket("a.bucket.with.dots")
    write_tree(place.sftp.root / "in", SOME)
    assert (await place.pull(destination="a")).transferred == len(SOME)
    assert (await place.push_to("b", mark=mark)).transferred == len(SOME)
    assert place.there("b") == SOME


async def test_a_bucket_with_object_lock(place: Place, needs: Needs, mark: str) -> None:
    """Whose objects nobody may remove for a day: they come and go all the same, and a mark is no version more."""
    needs("object lock")
    client = place.store.client
    place.bucket = place.store.s3.store.new_bucket(ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    client.put_object_lock_configuration(Bucket=place.bucket, ObjectLockConfiguration=configuration)
    write_tree(place.sftp.root / "in", SOME)
    assert (await place.pull(destination="a")).transferred == len(SOME)
    assert (await place.push_to("b", mark=mark)).transferred == len(SOME)
    assert place.there("b") == SOME
    if mark != "none":
        assert (await place.push_to("b", mark=mark)).skipped["synced"] == len(SOME)
    versions = client.list_object_versions(Bucket=place.bucket)["Versions"]
    assert sorted(each["Key"] for each in versions if ".sftp-s3" not in each["Key"]) == sorted(SOME)


async def test_a_listing_of_three_pages_and_its_ledger(
    place: Place, needs: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once runs have moved something, what they have learned of the others is asked for no more."""
    monkeypatch.setattr(pages, "query_of", lambda query: query_of({**query, "max-keys": "100"}))  # and not 1,000
    files = {f"{number:04}": b"" for number in range(250)}
    write_tree(place.sftp.root / "in", files)
    assert (await place.pull(after_transfer="keep")).transferred == len(files)
    assert place.listed() == sorted(files)
    for number in range(2):
        write_tree(place.sftp.root / "in", {f"new {number}": b""})
        place.by_proxy = number > 0
        report = await place.pull(after_transfer="keep")
        assert (report.transferred, report.skipped["unchanged"]) == (1, len(files) + number)
    assert any(each.query.get("max-keys") == "100" for each in place.s3.requests)
    needs("ledger")
    assert len([request for request in place.s3.requests if request.operation == "HeadObject"]) < 50


async def test_what_auto_takes(place: Place) -> None:
    """As tests/stores/table.py has it. Where that is nothing, nothing is delivered, and nothing has changed."""
    about = place.store.about
    place.by_proxy = True
    for number in range(3):
        place.put(f"d/{number}", b"x")
    etags = {key: place.head(key)["ETag"] for key in place.listed()}
    if about.auto is None:
        for mark in ("auto", "metadata", "tag"):
            with pytest.raises(ConfigurationError, match="is not safe"):
                await place.push_to("b", mark=mark)
        assert place.there("b") == {}
    else:
        assert (await place.push_to("b", mark="auto")).transferred == 3
        (remark,) = place.seen.remarks
        assert remark.startswith(f"mark='auto': objects are marked by {about.auto}")
        assert (about.auto == "metadata") == all(
            place.head(key)["Metadata"].get(SYNCED) == "true" for key in place.listed()
        )
        if about.auto == "tag":
            with pytest.raises(ConfigurationError, match="is not safe"):
                await place.push_to("c", mark="metadata")
            assert place.there("c") == {}
    assert place.contents() == dict.fromkeys(etags, b"x")
    assert {key: place.head(key)["ETag"] for key in place.listed()} == etags
    left = place.store.client.list_objects_v2(Bucket=place.bucket).get("Contents", ())
    assert [each["Key"] for each in left if "probe" in each["Key"]] == []
    probes = [request for request in place.s3.requests if "/.sftp-s3/probe" in f"/{request.key}"]
    assert len(probes) <= 4 * (1 if about.auto == "metadata" else 3)


class TestErrors:
    async def test_no_such_bucket(self, place: Place) -> None:
        """Ends at once, and names the setting."""
        place.bucket = "no-such-bucket"
        write_tree(place.sftp.root / "in", SOME)
        for run in (place.pull(), place.push_to("b", mark="none")):
            with pytest.raises(PlaceMissing, match="no-such-bucket"):
                await run
        assert read_tree(place.sftp.root / "in") == SOME

    @pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
    async def test_wrong_credentials(
        self, place: Place, needs: Needs, monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        """A retry cannot mend them, and the key is in no message."""
        needs("credentials")
        monkeypatch.setattr(place.store.s3.store, wrong, "AKIAWRONGWRONGWRONG0")
        write_tree(place.sftp.root / "in", SOME)
        with pytest.raises(AuthenticationFailed) as caught:
            await place.pull()
        assert "AKIAWRONG" not in str(caught.value)
        assert read_tree(place.sftp.root / "in") == SOME

    async def test_an_object_that_is_gone(self, place: Place, mark: str) -> None:
        place.put("there", b"x")
        report = await place.push_to("b", mark=mark, s3_keys=["there", "gone", "d/gone, too"])
        assert (report.transferred, report.skipped) == (1, {"deleted": 2})
