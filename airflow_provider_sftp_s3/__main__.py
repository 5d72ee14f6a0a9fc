"""
The command line: ``python -m airflow_provider_sftp_s3``.

``check FILE`` looks at a flows.yaml as Airflow's Dag processor does, and needs no database of Airflow's: for CI.

Exit status 0: all is well; 1: something is wrong with the file, and standard error has the text of the import error;
2: the command line itself is wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path


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
    given = parser.parse_args(arguments)
    status: int = given.run(given)
    return status


def check(path: Path) -> int:
    """
    Print a line for each good flow of a file, and what is wrong with the others to standard error, with warnings.

    :return: the exit status: 0, or 1 where something is wrong.
    """
    # Importing Airflow makes it set up its log, and warn of what is not the file's fault.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow_provider_sftp_s3.engine.paths import printable
        from airflow_provider_sftp_s3.flows.entries import FlowsFileError
        from airflow_provider_sftp_s3.flows.file import load_flows

        logging.disable(logging.CRITICAL)  # load_flows logs what is printed here
        try:
            flows = load_flows(path)
        except FlowsFileError as unusable:
            print(unusable, file=sys.stderr)
            return 1
        finally:
            logging.disable(logging.NOTSET)
    for name, dag in flows.dags.items():
        sentence, _, _ = dag.doc_md.rpartition("\n\n")
        print(f"{name}: {printable(sentence)}")
    for warning in flows.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
    if flows.error:
        print(flows.error, file=sys.stderr)
    return 1 if flows.error else 0


if __name__ == "__main__":
    sys.exit(main())
