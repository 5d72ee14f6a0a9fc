"""
The command line: ``python -m airflow_provider_sftp_s3``.

``check FILE`` looks at a flows.yaml as Airflow's Dag processor does, and needs no database of Airflow's: for CI.
``plan FILE FLOW`` says what a run of a flow would move, and where to, and touches nothing.
``pools FILE`` writes the pools that flows name, for ``airflow pools import``.

Exit status 0: all is well; 1: something is wrong, and standard error says what; 2: the command line itself is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.flows.file import Read


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
        "--date", type=date.fromisoformat, metavar="DAY", help="the day that templates know, such as 2026-01-31; today"
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
    given = parser.parse_args(arguments)
    status: int = given.run(given)
    return status


def check(path: Path) -> int:
    """
    Print a line for each good flow of a file, and what is wrong with the others to standard error, with warnings.

    So is a pool that Airflow does not have, where its database can be asked.

    :return: the exit status: 0, or 1 where something is wrong.
    """
    read = _read(path)
    if read is None:
        return 1
    with _quiet():
        from airflow_provider_sftp_s3.engine.paths import printable
        from airflow_provider_sftp_s3.flows.file import load_flows
        from airflow_provider_sftp_s3.flows.pools import pools_of, pools_of_airflow

        flows = load_flows(path)
        wanted = pools_of(found.flow for found in read.flows.values())
        there = pools_of_airflow() if wanted else None
    for name, dag in flows.dags.items():
        sentence, _, _ = dag.doc_md.rpartition("\n\n")
        print(f"{name}: {printable(sentence)}")
    for warning in flows.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
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
    # Airflow 3 shows its database's connections to its own processes only.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
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
    """Let nobody log or warn: importing Airflow makes it do both, of what is not the file's fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


if __name__ == "__main__":
    sys.exit(main())
