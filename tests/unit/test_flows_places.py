"""Flows that do not go together are refused, all that take part and no other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.flows.file import check_flows, load_flows
from airflow_provider_sftp_s3.flows.places import Found, look_between
from airflow_provider_sftp_s3.flows.settings import FlowError, FlowsError, parse_flow

pytestmark = pytest.mark.unit

CSV, XML, NOT_CSV = {"include": "*.csv"}, {"include": ["*.xml"]}, {"exclude": "*.csv"}
DELETE = {"after_transfer": "delete"}


def pull(name: str, sftp: str, s3: str, **more: Any) -> dict[str, Any]:
    return _flow("pull", name, sftp, s3, more)


def push(name: str, s3: str, sftp: str, **more: Any) -> dict[str, Any]:
    return _flow("push", name, sftp, s3, more)


def _flow(direction: str, name: str, sftp: str, s3: str, more: dict[str, Any]) -> dict[str, Any]:
    connection, _, path = sftp.partition(":")
    bucket, _, prefix = s3.partition("/")
    fields = {"name": name, "direction": direction, "sftp_conn_id": connection, "sftp_path": path}
    return parse_flow({**fields, "s3_bucket": bucket, **({"s3_prefix": prefix} if prefix else {}), **more})


def moving_to(prefix: str) -> dict[str, str]:
    return {"after_transfer": "move", "sent_prefix": prefix}


def refused(*flows: dict[str, Any]) -> Found:
    """Look between flows in each order: the same ones are refused."""
    found = [look_between(order) for order in itertools.permutations(flows)]
    assert len({frozenset(each.problems) for each in found}) == 1
    assert len({len(each.warnings) for each in found}) == 1
    return found[0]


FINE = {
    "a relay": [pull("in", "a:/out", "bkt/p"), push("out", "bkt/p", "b:/in")],
    "a relay both ways": [
        *(pull("in", "a:/out", "bkt/ab"), push("out", "bkt/ab", "b:/in")),
        *(pull("back", "b:/out", "bkt/ba"), push("home", "bkt/ba", "a:/in")),
    ],
    "one prefix to several partners": [push(f"to_{n}", "bkt/p", f"{n}:/in") for n in "abc"],
    "to one partner of two names": [
        push("one", "bkt/p", "a:/in", destination="a1"),
        push("two", "bkt/p", "a:/in2", destination="a2"),
    ],
    "twice the same": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p", "a:/in/")],
    "one partner by two connections": [
        push("one", "bkt/p", "a:/in", destination="a"),
        push("two", "bkt/p", "b:/in", destination="a"),
    ],
    "neighbours": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p2", "a:/in2")],
    "two buckets": [push("one", "bkt/p", "a:/in"), push("two", "other/p", "a:/in2")],
    "days": [push("one", "bkt/{{ ds }}/a", "a:/in"), push("two", "bkt/{{ ds }}/b", "a:/in2")],
    "two directories of a server": [pull("in", "a:/out", "bkt/p"), push("out", "bkt/p", "a:/in")],
    "two servers": [pull("in", "a:/x", "bkt/p"), push("out", "bkt/p", "b:/x")],
    "what was sent goes on": [
        push("one", "bkt/p", "a:/in", **moving_to("sent")),
        push("two", "bkt/sent", "b:/in", **moving_to("done")),
    ],
    "two that delete, each its own": [push("one", "bkt/p", "a:/in", **DELETE), push("two", "bkt/q", "b:/in", **DELETE)],
    "two that delete, to one place": [push("one", "bkt/p", "a:/in", **DELETE), push("two", "bkt/p", "a:/in", **DELETE)],
}


@pytest.mark.parametrize("flows", FINE.values(), ids=FINE)
def test_what_goes_together(flows: list[dict[str, Any]]) -> None:
    found = look_between(flows)
    assert (dict(found.problems), found.warnings) == ({}, [])


TWO_DIRECTORIES = {
    "the same prefix": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p", "a:/in2")],
    "one inside the other": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p/sub/", "a:/in2")],
    "the whole bucket": [push("one", "bkt", "a:/in"), push("two", "bkt/p", "a:/in2")],
    "a template inside": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p/{{ ds }}", "a:/in2")],
    "the same template": [push("one", "bkt/{{ ds }}", "a:/in"), push("two", "bkt/{{ ds }}", "a:/{{ ds }}")],
    "one destination of two connections": [
        push("one", "bkt/p", "a:/in"),
        push("two", "bkt/p", "b:/in2", destination="a"),
    ],
    "one of them takes all": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p", "a:/in2", **CSV)],
}


@pytest.mark.parametrize("flows", TWO_DIRECTORIES.values(), ids=TWO_DIRECTORIES)
def test_two_pushes_to_one_destination_and_two_directories(flows: list[dict[str, Any]]) -> None:
    """Either would send what the other has not, and nobody would see it."""
    found = refused(*flows, push("other", "elsewhere/p", "a:/in3"))
    assert set(found.problems) == {"one", "two"}
    for name, other in (("one", "two"), ("two", "one")):
        (problem,) = found.problems[name]
        assert problem.field == "s3_prefix"
        assert f"flow '{other}' pushes from an overlapping prefix, too: both have the destination 'a'" in str(problem)
        assert "Change a prefix" in str(problem)


TAKEN_AWAY = {
    "one deletes": [push("one", "bkt/p", "a:/in", **DELETE), push("two", "bkt/p", "b:/in")],
    "one moves": [push("one", "bkt/p", "a:/in"), push("two", "bkt/p/q", "b:/in", **moving_to("sent"))],
    "both": [push("one", "bkt/p", "a:/in", **DELETE), push("two", "bkt/p", "b:/in", **DELETE)],
    "some of them": [push("one", "bkt/p", "a:/in", **DELETE, **CSV), push("two", "bkt/p", "b:/in")],
}


@pytest.mark.parametrize("flows", TAKEN_AWAY.values(), ids=TAKEN_AWAY)
def test_a_push_that_takes_away_what_another_one_has_to_send(flows: list[dict[str, Any]]) -> None:
    found = refused(*flows)
    assert set(found.problems) == {"one", "two"}
    assert "is moved or deleted, and the other has nothing to send" in str(found.problems["one"][0])


@pytest.mark.parametrize("more", [{}, DELETE], ids=["marks", "deletes"])
def test_globs_may_keep_two_pushes_apart(more: dict[str, str]) -> None:
    """*.csv here and *.xml there, as many have it: whether that is so, only the user knows."""
    to = "a" if not more else "b"
    found = refused(push("one", "bkt/p", "a:/csv", **CSV, **more), push("two", "bkt/p", f"{to}:/all", **NOT_CSV))
    assert not found.problems
    (warning,) = found.warnings
    assert warning.startswith(("flows 'one' and 'two': ", "flows 'two' and 'one': "))


RINGS = {
    "there and back": [pull("in", "a:/x", "bkt/p"), push("out", "bkt/p", "a:/x")],
    "into a directory of the tree": [pull("in", "a:/", "bkt/p"), push("out", "bkt/p/q", "a:/x/y")],
    "into a directory above": [pull("in", "a:/x/y", "bkt/p/q"), push("out", "bkt/p", "a:/x")],
    "of paths that are relative": [pull("in", "a:.", "bkt/p"), push("out", "bkt/p", "a:x/")],
    "of templates": [pull("in", "a:/{{ ds }}", "bkt/{{ ds }}"), push("out", "bkt/{{ ds }}", "a:/{{ ds }}")],
    "of odd spellings": [pull("in", "a:/x/./y/../", "bkt/p/"), push("out", "bkt/p", "a://x")],
    "of a template with no blanks": [
        pull("in", "a:/{{ ds }}", "bkt/{{ds}}"),
        push("out", "bkt/{{ ds  }}", "a:/{{ds}}"),
    ],
    "of a root that holds all": [pull("in", "a:/", "bkt/p"), push("out", "bkt/p", "a:in")],
    "by two servers": [
        *(pull("in", "a:/x", "bkt/p"), push("out", "bkt/p", "b:/x")),
        *(pull("in2", "b:/x", "bkt/q"), push("out2", "bkt/q", "a:/x")),
    ],
    "by the sent prefix": [
        push("in", "bkt/p", "a:/x", **moving_to("sent")),
        push("out", "bkt/sent", "b:/x", **moving_to("p/again")),
    ],
    "by the sent prefix and a server": [
        push("in", "bkt/p", "a:/x", **moving_to("sent")),
        *(push("out", "bkt/sent", "b:/x"), pull("back", "b:/x", "bkt/p")),
    ],
}


@pytest.mark.parametrize("flows", RINGS.values(), ids=RINGS)
def test_a_ring_is_refused(flows: list[dict[str, Any]]) -> None:
    """A push of v1, the producer's v2, and the pull that brings v1 back over it: marks do not help there."""
    beside = [pull("beside", "c:/x", "bkt/p"), push("after", "bkt/p", "d:/x")]
    found = look_between([*flows, *beside])
    assert set(found.problems) >= {flow["name"] for flow in flows}
    assert not {"beside"} & set(found.problems)
    for flow in flows:
        said = str(found.problems[flow["name"]][-1])
        assert f"the flows '{flow['name']}' -> " in said
        assert f"-> '{flow['name']}' go round in a ring" in said
    if not any("after_transfer" in flow for flow in flows):  # where one takes away, it does so of `after`, too
        assert "after" not in found.problems


PERHAPS = {
    "two names of a directory": [pull("in", "a:/x", "bkt/p"), push("out", "bkt/p", "a:x")],
    "where a login begins, and a directory of the root": [pull("in", "a:.", "bkt/p"), push("out", "bkt/p", "a:/x/y")],
    "two connections of one destination": [
        pull("in", "a:/x", "bkt/p", destination="partner"),
        push("out", "bkt/p", "b:/x/y", destination="partner"),
    ],
    "a connection, and another one that is said to be the same": [
        pull("in", "a:/x", "bkt/p"),
        push("out", "bkt/p", "b:/x", destination="a"),
    ],
    "both": [pull("in", "a:x", "bkt/p"), push("out", "bkt/p", "b:/x", destination="a")],
}


@pytest.mark.parametrize("flows", PERHAPS.values(), ids=PERHAPS)
def test_what_may_be_a_ring_is_a_warning(flows: list[dict[str, Any]]) -> None:
    """Only the server knows: nobody is kept from working."""
    found = refused(*flows)
    assert not found.problems
    (warning,) = found.warnings
    assert "go round in a ring, if the server takes their directories for one" in warning


@pytest.mark.parametrize("flows", RINGS.values(), ids=RINGS)
@pytest.mark.parametrize("globs", [CSV, XML, NOT_CSV], ids=str)
def test_globs_of_one_flow_may_break_a_ring(flows: list[dict[str, Any]], globs: dict[str, Any]) -> None:
    """Then it is said, once."""
    broken = [{**flow, **({"include": ["*"]} | globs if number == 0 else {})} for number, flow in enumerate(flows)]
    found = look_between(broken)
    assert not found.problems
    (warning,) = found.warnings
    assert "go round in a ring" in warning
    assert all(repr(flow["name"]) in warning for flow in flows)


def test_a_flow_is_in_two_rings_and_one_of_them_is_no_excuse() -> None:
    found = look_between(
        [
            *(pull("in", "a:/x", "bkt/p"), push("out", "bkt/p", "a:/x")),
            *(push("other", "bkt/p", "b:/x", **CSV), pull("back", "b:/x", "bkt/p")),
        ]
    )
    assert set(found.problems) == {"in", "out"}
    assert len(found.warnings) == 1


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "flows.yaml").write_text(text)
        return tmp_path / "flows.yaml"

    return write


def test_in_a_file_each_flow_that_takes_part_is_told_and_no_other_is(write: Callable[[str], Path]) -> None:
    path = write(
        "- {name: in, direction: pull, sftp_path: /x, s3_bucket: a-bucket, s3_prefix: p}\n"
        "- {name: bad, direction: up}\n"
        "- {name: good, direction: pull, sftp_path: /x, s3_bucket: a-bucket, s3_prefix: q}\n"
        "- {name: out, direction: push, sftp_path: /x/y, s3_bucket: a-bucket, s3_prefix: p}\n"
    )
    assert list(load_flows(path).dags) == ["good"]
    with pytest.raises(FlowsError) as caught:
        check_flows(path)
    *bad, first, last = str(caught.value).splitlines()
    assert all(line.startswith("flows.yaml, line 2: flow 'bad': ") for line in bad)
    assert first.startswith("flows.yaml, line 1: flow 'in': the flows 'in' -> 'out' -> 'in' go round in a ring")
    assert last.startswith("flows.yaml, line 4: flow 'out': the flows 'out' -> 'in' -> 'out' go round in a ring")


def test_a_broken_flow_takes_no_part(write: Callable[[str], Path]) -> None:
    """It makes no Dag, and so brings nothing."""
    path = write(
        "- {name: in, direction: pull, sftp_path: /x, s3_bucket: a-bucket, s3_prefix: p}\n"
        "- {name: out, direction: push, sftp_path: /x, s3_bucket: a-bucket, s3_prefix: p, retries: many}\n"
    )
    assert list(load_flows(path).dags) == ["in"]


RECEIPTS = "s3://bkt/books/"


@pytest.mark.parametrize(
    "other",
    [
        pull("other", "a:/out", "bkt/books"),
        pull("other", "a:/out", "bkt/books/in"),
        push("other", "bkt/", "a:/in"),
        push("other", "bkt/p", "a:/in", **moving_to("books/sent/")),
    ],
)
def test_receipts_are_beneath_no_flows_prefix(other: dict[str, Any]) -> None:
    """Only the flow that writes them is refused, whichever it is that would take them for files."""
    found = refused(pull("in", "b:/out", "bkt/in", receipts=RECEIPTS), other)
    assert list(found.problems) == ["in"]
    (problem,) = found.problems["in"]
    assert problem.field == "receipts"
    assert "receipts would be taken for files" in problem.message


def test_receipts_are_not_beneath_the_flows_own_prefix() -> None:
    with pytest.raises(FlowError, match="receipts would be taken for files"):
        pull("in", "b:/out", "bkt/books/in", receipts=RECEIPTS)


def test_receipts_in_a_place_of_their_own_are_fine() -> None:
    """All flows may write theirs to one, which may be a template."""
    flows = [
        pull("in", "b:/out", "bkt/in", receipts=RECEIPTS),
        push("out", "bkt/out", "b:/in", receipts=RECEIPTS, **moving_to("sent/")),
        pull("other", "b:/out2", "other/books", receipts="{{ var.value.books }}"),
    ]
    assert refused(*flows) == Found()
