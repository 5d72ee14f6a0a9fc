"""The rows of the matrix: one per Airflow that the provider has to work under."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints")


@dataclass(frozen=True)
class Row:
    """One Airflow, one Python.

    :param name: what it is called on the command line and in `.matrix/`.
    :param python: version of the interpreter, `3.12`.
    :param airflow: version to install; none: the newest there is.
    :param lowest: install every direct dependency in the lowest version that is declared.
    """

    name: str
    python: str
    airflow: str | None = None
    lowest: bool = False

    @property
    def constraints(self) -> Path | None:
        """The constraints of its Airflow; None where nothing is constrained."""
        return CONSTRAINTS / f"airflow-{self.airflow}.txt" if self.airflow else None


#: The Airflows of Amazon MWAA.
MWAA = (
    Row("mwaa-2.10.3", "3.11", "2.10.3"),
    Row("mwaa-2.11.2", "3.12", "2.11.2"),
    Row("mwaa-3.0.6", "3.12", "3.0.6"),
    Row("mwaa-3.2.1", "3.12", "3.2.1"),
    Row("mwaa-3.3.1", "3.12", "3.3.1"),
)


def mwaa_table() -> str:
    """Return the versions of MWAA that are tried, for docs/mwaa.md."""
    rows = ["| Airflow | Python |", "|---|---|", *(f"| {row.airflow} | {row.python} |" for row in MWAA)]
    return "\n".join(rows)


#: The newest asyncssh that the rows without constraints have been green with; they install the newest there is.
NEWEST_ASYNCSSH = "2.24.1"

ROWS = (
    # What is not a direct dependency comes as in the constraints of the lowest Airflow, which does not run with
    # today's versions of its own dependencies.
    Row("lowest", "3.11", "2.10.3", lowest=True),
    *MWAA,
    Row("newest-3.12", "3.12"),
    Row("newest-3.13", "3.13"),
)
