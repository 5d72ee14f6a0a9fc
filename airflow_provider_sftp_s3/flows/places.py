"""
Flows of one file that do not go together: what one of them takes away, or brings back, the other has to send.

A flow is an edge between places. A place is a directory of an SFTP connection, or a prefix of a bucket; two overlap
where one contains the other. Where a template stands in a place, it is compared as it is written, but for blanks at its
ends. Two directories may be one though nothing here shows it: `in` and `/in` where a login begins in `/`, and those of
two connections that are one destination. A ring by such places is a warning.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_sftp_s3.flows.settings import Problem

Flow = Mapping[str, Any]

#: The blanks at the ends of what a template evaluates.
_BLANKS = re.compile(r"(?<=\{\{)\s+|\s+(?=\}\})")
#: What the path of a directory begins at: where a login does, or the server's root.
_HOME, _ROOT = "~", "/"


class Place(NamedTuple):
    """
    Where files or objects are.

    :param where: which connection, or which bucket.
    :param segments: of the path or prefix.
    """

    where: tuple[str, str]
    segments: tuple[str, ...]

    def ancestors(self) -> Iterator[Place]:
        """Yield the places that contain this one, itself the first."""
        for count in range(len(self.segments), -1, -1):
            yield Place(self.where, self.segments[:count])


@dataclass
class Found:
    """
    What is wrong between the flows of a file.

    :param problems: by the name of each flow that takes part; it makes no Dag.
    :param warnings: of what may be meant, since `include` or `exclude` may keep the flows apart.
    """

    problems: dict[str, list[Problem]] = field(default_factory=lambda: defaultdict(list))
    warnings: list[str] = field(default_factory=list)


def look_between(flows: Sequence[Flow]) -> Found:
    """
    Return what is wrong between flows.

    :param flows: as :func:`parse_flow` returns them, each with a name of its own.
    """
    found = Found()
    _look_at_pushes([flow for flow in flows if flow["direction"] == "push"], found)
    _look_at_receipts(flows, found)
    _look_for_rings(flows, found)
    return found


# --- places


def _directory(flow: Flow) -> Place:
    path = posixpath.normpath(_BLANKS.sub("", flow["sftp_path"]))
    names = [name for name in path.split("/") if name not in ("", ".")]
    start = _ROOT if path.startswith("/") else _HOME
    is_all = start == _ROOT and not names
    return Place(("sftp", flow.get("sftp_conn_id", "sftp_default")), () if is_all else (start, *names))


def _prefix(flow: Flow, name: str = "s3_prefix") -> Place:
    prefix = _BLANKS.sub("", flow.get(name, ""))
    return Place(("s3", _BLANKS.sub("", flow["s3_bucket"])), tuple(filter(None, prefix.split("/"))))


def _source(flow: Flow) -> Place:
    return _directory(flow) if flow["direction"] == "pull" else _prefix(flow)


def _targets(flow: Flow) -> list[Place]:
    if flow["direction"] == "pull":
        return [_prefix(flow)]
    return [_directory(flow), *([_prefix(flow, "sent_prefix")] if "sent_prefix" in flow else [])]


def _perhaps(place: Place, flow: Flow) -> set[Place]:
    """Return a place of a flow, and what else it may be called."""
    if place.where[0] == "s3":
        return {place}
    start, names = place.segments[:1], place.segments[1:]
    paths = {place.segments, *([(_ROOT, *names) if names else ()] if start == (_HOME,) else [])}
    return {Place(("sftp", name), path) for name in (place.where[1], _destination(flow)) for path in paths}


def _takes_all(flow: Flow) -> bool:
    return flow.get("include", ["*"]) == ["*"] and not flow.get("exclude")


class _Index:
    """Places by what they overlap with: thousands of flows are no work."""

    def __init__(self, places: Iterable[tuple[int, Place]]) -> None:
        self._at: dict[Place, set[int]] = defaultdict(set)
        self._beneath: dict[Place, set[int]] = defaultdict(set)
        for number, place in places:
            self._at[place].add(number)
            for above in place.ancestors():
                self._beneath[above].add(number)

    def overlapping(self, place: Place) -> set[int]:
        """Return the numbers of the places that contain this one, or that it contains."""
        inside = self._beneath.get(place, set())
        return inside.union(*(self._at.get(above, ()) for above in place.ancestors()))


# --- receipts


def _look_at_receipts(flows: Sequence[Flow], found: Found) -> None:
    """Receipts beneath a prefix that is moved from, or to, would be taken for files."""
    named = [
        (flow, name) for flow in flows for name in ("s3_prefix", "sent_prefix") if name == "s3_prefix" or name in flow
    ]
    index = _Index(enumerate(_prefix(flow, name) for flow, name in named))
    for flow in flows:
        bucket, slash, prefix = flow.get("receipts", "").removeprefix("s3://").partition("/")
        if not slash:
            continue
        place = Place(("s3", bucket), tuple(filter(None, prefix.split("/"))))
        for other, name in (named[number] for number in sorted(index.overlapping(place))[:1]):
            message = (
                f"{flow['receipts']!r} and {name} {other.get(name, '')!r} of flow {other['name']!r}: one of them is "
                "inside the other, and receipts would be taken for files. Allowed: a prefix or a bucket of their own"
            )
            found.problems[flow["name"]].append(Problem("receipts", message))


# --- two pushes


def _look_at_pushes(pushes: Sequence[Flow], found: Found) -> None:
    """Tell each flow of the first other that it does not go with: thousands may be wrong with each other."""
    index = _Index(enumerate(map(_prefix, pushes)))
    told: set[frozenset[str]] = set()
    for number, one in enumerate(pushes):
        doubtful = None
        for other in (pushes[other] for other in sorted(index.overlapping(_prefix(one))) if other != number):
            problem = _between(one, other)
            if problem and (_takes_all(one) or _takes_all(other)):
                message = f"flow {other['name']!r} pushes from an overlapping prefix, too: {problem}"
                found.problems[one["name"]].append(Problem("s3_prefix", message))
                break
            if problem and doubtful is None:
                doubtful = other["name"], problem
        else:
            if doubtful and (pair := frozenset((one["name"], doubtful[0]))) not in told:
                told.add(pair)
                found.warnings.append(f"flows {one['name']!r} and {doubtful[0]!r}: {doubtful[1]}")


def _between(one: Flow, other: Flow) -> str:
    """Return what is wrong with two pushes whose prefixes overlap; "" where nothing is."""
    change = "Change a prefix, or give both flows include or exclude so that each object is for one of them"
    if _destination(one) == _destination(other):
        if _directory(one).segments == _directory(other).segments:  # of one partner, whatever the connections
            return ""
        return (
            f"both have the destination {_destination(one)!r}, and different directories. An object that one of them "
            "has delivered is synced, and the other does not send it. "
            f"{change}; or give one another destination, where both are to deliver it"
        )
    if one.get("after_transfer", "keep") == other.get("after_transfer", "keep") == "keep":
        return ""
    return (
        "an object that one of them has delivered is moved or deleted, and the other has nothing to send. "
        f"{change}; or set after_transfer to keep in both"
    )


def _destination(flow: Flow) -> str:
    return str(flow.get("destination", flow.get("sftp_conn_id", "sftp_default")))


# --- rings


def _look_for_rings(flows: Sequence[Flow], found: Found) -> None:
    """A file that goes round can bring an older version back over a newer one: marks do not help there."""
    after = _followers(flows, lambda place, _: {place})
    perhaps = _followers(flows, _perhaps)
    open_ones = {number for number, flow in enumerate(flows) if _takes_all(flow)}
    told: set[frozenset[int]] = set()
    for number, flow in enumerate(flows):
        if ring := _ring(number, after, open_ones):
            message = (
                f"{_named(ring, flows)} go round in a ring: what one of them brings, the next one takes on, and an "
                "older version comes back over a newer one. Change a prefix or a directory so that they do not "
                "overlap, or give one of the flows include or exclude so that nothing goes all the way round"
            )
            found.problems[flow["name"]].append(Problem("", message))
        elif (ring := _ring(number, after, None) or _ring(number, perhaps, None)) and frozenset(ring) not in told:
            told.add(frozenset(ring))
            doubt = "" if _ring(number, after, None) else ", if the server takes their directories for one"
            found.warnings.append(
                f"{_named(ring, flows)} go round in a ring{doubt}. See to it that their include and exclude let "
                "nothing go all the way round: an older version would come back over a newer one"
            )


def _followers(flows: Sequence[Flow], names: Callable[[Place, Flow], set[Place]]) -> list[list[int]]:
    """
    Return the numbers of the flows that take on what each flow brings.

    :param names: what a place of a flow may be called.
    """
    index = _Index((number, place) for number, flow in enumerate(flows) for place in names(_source(flow), flow))
    targets = [set().union(*(names(place, flow) for place in _targets(flow))) for flow in flows]
    return [sorted(set().union(*map(index.overlapping, places))) for places in targets]


def _named(ring: Sequence[int], flows: Sequence[Flow]) -> str:
    return "the flows " + " -> ".join(repr(flows[each]["name"]) for each in [*ring, ring[0]])


def _ring(start: int, after: Sequence[Sequence[int]], among: set[int] | None) -> list[int]:
    """Return a shortest way from a flow back to itself, with that flow as its first; empty where there is none."""
    if among is not None and start not in among:
        return []
    before: dict[int, int] = {}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for there in after[here]:
            if there == start:
                way = [here]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if there not in before and (among is None or there in among):
                before[there] = here
                waiting.append(there)
    return []
