"""
The command line: ``python -m airflow_provider_sftp_s3``.

``check FILE`` looks at a flows.yaml as Airflow's Dag processor does, and needs no database of Airflow's: for CI.
``plan FILE FLOW`` says what a run of a flow would move, and where to, and touches nothing.
``pools FILE`` writes the pools that flows name, for ``airflow pools import``.
``status [FLOW ...]`` says what waits to be moved, and whether a flow is behind: for a monitoring system.
``test-connection ID`` tries a connection step by step, and says what to change.

Exit status 0: all is well; 1: something is wrong, and standard error says what; 2: the command line itself is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.flows.file import Read


_nowhere = io.StringIO()


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says, and return the exit status.

    :param arguments: without the program's name; None: those of the process.
    :raises SystemExit: with status 2, where they are wrong; with 0 after ``--help``.
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_sftp_s3")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "check",
        help="say what is wrong with the flows of a file",
        description="Say what is wrong with the flows of a file, as Airflow would. Needs no Airflow database. "
        "Prints a line for each good flow; what is wrong goes to standard error, and the exit status is 1. "
        "Warnings go there, too, and change no status.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="such as flows.yaml")
    command.set_defaults(run=lambda given: check(given.file))
    command = commands.add_parser(
        "plan",
        help="say what a run of a flow would move, and where to",
        description="List what a run of a flow would do now. Nothing is touched, on either side. Connections are "
        "Airflow's own: its database, its secrets backend, or environment variables AIRFLOW_CONN_...",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="such as flows.yaml")
    command.add_argument("flow", metavar="FLOW", help="the flow's name")
    command.add_argument(
        "--date", type=_day, metavar="DAY", help="the day that templates know, such as 2026-01-31; today"
    )
    command.set_defaults(run=lambda given: plan(given.file, given.flow, given.date or datetime.now(UTC).date()))
    command = commands.add_parser(
        "pools",
        help="write the pools that flows name, as JSON for `airflow pools import`",
        description="Write the pools that flows name, as JSON for `airflow pools import`, which overwrites what pools "
        "of the same names have. Each has the slots that the flow needs that needs most.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="such as flows.yaml")
    command.set_defaults(run=lambda given: pools(given.file))
    command = commands.add_parser(
        "status",
        help="say what waits to be moved by flows, and which is behind",
        description="List what waits for each flow, where it moves from. Nothing is touched. The exit status is 1 "
        "where a flow is behind: it cannot be looked at, or with --older-than, a file that waits is older than that.",
    )
    command.add_argument("flows", nargs="*", metavar="FLOW", help="names of flows; all of the file")
    command.add_argument(
        "--file", type=Path, help="such as flows.yaml; else that of this directory, or of the Dag files"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--older-than", type=_duration, metavar="AGE", help="such as 90s, 2h or 1d")
    command.set_defaults(run=lambda given: status(given.flows, given.file, given.older_than, as_json=given.json))
    command = commands.add_parser(
        "test-connection",
        help="try a connection step by step",
        description="Try an sftp or an aws connection of Airflow's step by step, each with what to change. Nothing "
        "that is there is changed, opened or read. The exit status is 1 where a step fails.",
    )
    command.add_argument("connection", metavar="ID", help="the connection's id; none: credentials as boto3 finds them")
    command.add_argument("--path", default=".", metavar="DIRECTORY", help="sftp_path, for an sftp connection")
    command.add_argument("--write", action="store_true", help="make an empty file in it, rename it and remove it")
    command.add_argument("--bucket", help="s3_bucket, for an aws connection")
    command.add_argument("--prefix", default="", help="s3_prefix")
    command.set_defaults(run=test_connection)
    given = parser.parse_args(arguments)
    done: int = given.run(given)
    return done


def check(path: Path) -> int:
    """
    Print a line for each good flow of a file, and what is wrong with the others to standard error, with warnings.

    So is a pool that Airflow does not have, where its database can be asked.

    :return: the exit status: 0, or 1 where something is wrong.
    """
    began = time.monotonic()
    read = _read(path)
    if read is None:
        return 1
    with _quiet():
        from airflow.configuration import conf

        from airflow_provider_sftp_s3.engine.paths import printable
        from airflow_provider_sftp_s3.flows.docs import END
        from airflow_provider_sftp_s3.flows.file import dags_of
        from airflow_provider_sftp_s3.flows.pools import pools_of, pools_of_airflow

        flows = dags_of(read)
        took, limit = time.monotonic() - began, conf.getfloat("core", "dagbag_import_timeout")
        wanted = pools_of(found.flow for found in read.flows.values())
        there = pools_of_airflow() if wanted else None
    for name, dag in flows.dags.items():
        print(f"{name}: {printable(dag.doc_md.partition(END)[0])}")
    for warning in flows.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
    if 0 < limit < took:
        slow = f"the Dags of this file took {took:.0f} s, and Airflow gives up a Dag file after {limit:.0f} s"
        print(f"warning: {slow} ([core] dagbag_import_timeout): spread the flows over several files", file=sys.stderr)
    if flows.error:
        print(flows.error, file=sys.stderr)
    missing = sorted(wanted.keys() - there) if there is not None else []
    for pool in missing:
        used = f"{wanted[pool]['description']}. `pools {path}` writes it for `airflow pools import`"
        print(f"pool {pool!r} does not exist, and tasks in it never begin. {used}", file=sys.stderr)
    return 1 if flows.error or missing else 0


def plan(path: Path, name: str, day: date) -> int:
    """
    Print what a run of a flow would do.

    :return: the exit status: 0, or 1 where it would fail, and why, to standard error.
    """
    _show_connections()
    read = _read(path)
    if read is None:
        return 1
    with _quiet():
        from airflow_provider_sftp_s3._compat import AirflowException
        from airflow_provider_sftp_s3.engine.errors import SftpS3Error
        from airflow_provider_sftp_s3.flows.plan import plan as plan_flow
        from airflow_provider_sftp_s3.flows.settings import FlowsError

    if name not in read.flows:
        wrong = FlowsError.of([error for error in read.errors if error.flow == name])
        print(wrong or f"There is no flow {name!r}. There are: {', '.join(read.flows)}", file=sys.stderr)
        return 1
    log = logging.Logger("plan")
    log.manager = logging.Manager(log)  # type: ignore[arg-type] # of its own, to be heard where all others are silent
    log.addHandler(logging.StreamHandler(sys.stdout))
    try:
        with _quiet():
            plan_flow(read.flows[name].flow, day, log)
    except (SftpS3Error, AirflowException) as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def pools(path: Path) -> int:
    """
    Print the pools of the good flows of a file as JSON.

    :return: the exit status: 0, or 1 where a flow is wrong, and what, to standard error.
    """
    read = _read(path)
    if read is None:
        return 1
    with _quiet():
        from airflow_provider_sftp_s3.flows.pools import pools_of
        from airflow_provider_sftp_s3.flows.settings import FlowsError

    print(json.dumps(pools_of(found.flow for found in read.flows.values()), indent=4))
    if error := FlowsError.of(read.errors):
        print(error, file=sys.stderr)
    return 1 if read.errors else 0


def status(names: Sequence[str], path: Path | None, older_than: timedelta | None, *, as_json: bool) -> int:
    """
    Print what waits for flows, and which is behind.

    :param names: of the flows; none: all.
    :param path: of the file; None: flows.yaml here, or those beneath Airflow's Dag files that have the flows.
    :return: the exit status: 0, or 1 where a flow is behind, or there is no such flow.
    """
    _show_connections()
    flows: dict[str, Mapping[str, Any]] = {}
    for file in [path] if path is not None else _flow_files():
        if (read := _read(file)) is None:
            return 1
        flows |= {name: found.flow for name, found in read.flows.items()}
    missing = [name for name in names if name not in flows]
    if missing or not flows:
        there = f"There are: {', '.join(flows)}" if flows else "No flows.yaml was found: say where it is, by --file"
        print(f"There is no flow {', '.join(map(repr, missing))}. {there}" if missing else there, file=sys.stderr)
        return 1
    with _quiet():
        from airflow_provider_sftp_s3.flows.status import table, waiting

        today = datetime.now(UTC).date()
        several = [waiting(flows[name], today, older_than) for name in names or flows]
    several.sort(key=lambda each: not each.behind)
    print(json.dumps([each.as_dict() for each in several], indent=4) if as_json else table(several))
    return 1 if any(each.behind for each in several) else 0


def test_connection(given: argparse.Namespace) -> int:
    """
    Try a connection, and print a line a step.

    :param given: the command line: `connection`, `path`, `write`, `bucket`, `prefix`.
    :return: the exit status: 0, or 1 where a step has failed.
    """
    _show_connections()
    output = sys.stdout
    with _quiet():
        from airflow_provider_sftp_s3.engine.errors import ConfigurationError
        from airflow_provider_sftp_s3.engine.paths import printable_lines
        from airflow_provider_sftp_s3.hooks.connection_test import ConnectionTest, kind_of

        test = ConnectionTest(
            lambda step: print(f"{step.state:6}  {step.name:10}  {printable_lines(step.said)}", file=output, flush=True)
        )
        found = None if given.connection.lower() == "none" else given.connection  # as aws_conn_id of a flow says it
        try:
            kind = kind_of(found) if found else "aws"
        except ConfigurationError as missing:
            print(missing, file=sys.stderr)
            return 1
        if kind == "aws":
            test.s3(found, given.bucket, given.prefix)
        else:
            test.sftp(given.connection, given.path, writes=given.write)
    return 0 if test.is_fine else 1


def _show_connections() -> None:
    """Have Airflow 3 show the connections of its database, if there is one: it shows them to its own processes only."""
    with _quiet():
        from airflow_provider_sftp_s3.flows.pools import has_database

        if has_database():
            os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def _flow_files() -> list[Path]:
    """Return the flows.yaml of this directory or, where there is none, those beneath Airflow's Dag files."""
    here = Path("flows.yaml")
    if here.exists():
        return [here]
    with _quiet():
        from airflow.configuration import conf

        return sorted(Path(conf.get("core", "dags_folder")).rglob("flows.yaml"))


def _duration(text: str) -> timedelta:
    from airflow_provider_sftp_s3.hooks.quantities import duration

    try:
        return duration(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"{wrong}: give one such as 90s, 2h or 1d") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: give one such as 2026-01-31") from None


def _read(path: Path) -> Read | None:
    """Return what is in a file of flows; None, and why to standard error, where none of it can be used."""
    with _quiet():
        from airflow_provider_sftp_s3.flows.entries import FlowsFileError
        from airflow_provider_sftp_s3.flows.file import read_flows

        try:
            return read_flows(path)
        except FlowsFileError as unusable:
            print(unusable, file=sys.stderr)
            return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """
    Let nobody log, warn or print: Airflow does all three, of what is not the file's fault.

    Airflow 3 logs to standard output, past the standard library.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(_nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


if __name__ == "__main__":
    sys.exit(main())
