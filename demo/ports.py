"""Ports that nobody uses, for two demos side by side too."""

from __future__ import annotations

import socket
from dataclasses import dataclass

HOST = "127.0.0.1"
#: Airflow's own port first. All are below the range from which systems take ports for outgoing connections, which
#: could otherwise take one between our look at it and Airflow's start.
BLOCKS = range(8080, 12080, 10)


class NoPortsError(Exception):
    """There is no free block of ports."""


@dataclass(frozen=True)
class Ports:
    """
    Ports that belong to this demo.

    :param airflow: Airflow's UI and API; names the demo among those that run side by side.
    :param sftp: a socket that listens already: who holds it owns the ports that follow it.
    :param s3: the S3 server.
    :param logs: what Airflow's scheduler and triggerer serve logs on.
    """

    airflow: int
    sftp: socket.socket
    s3: int
    logs: tuple[int, int]


def claim_ports() -> Ports:
    """Return the first block of ports of which all are free. :raises NoPortsError: there is none."""
    for airflow in BLOCKS:
        try:
            sftp = socket.create_server((HOST, airflow + 1))
        except OSError:
            continue
        if all(map(_is_free, (airflow, airflow + 2, airflow + 3, airflow + 4))):
            return Ports(airflow, sftp, airflow + 2, (airflow + 3, airflow + 4))
        sftp.close()
    raise NoPortsError(f"no five free ports together from {BLOCKS.start} to {BLOCKS.stop}")


def _is_free(port: int) -> bool:
    """Say whether nobody listens, on loopback or on all addresses: Airflow serves logs on all."""
    places = [(socket.AF_INET, HOST), (socket.AF_INET, "")]
    if socket.has_dualstack_ipv6():
        places.append((socket.AF_INET6, "::"))
    for family, host in places:
        try:
            socket.create_server((host, port), family=family).close()
        except OSError:
            return False
    return True
