"""Who does the work: this project's operators, rclone, Airflow's own operators, lftp with s5cmd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import Place
from benchmarks.work import MiB, Scene, Work
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY

REPOSITORY = Path(__file__).resolve().parent.parent
#: Seconds that one run of one peer may take.
TIMEOUT = 900.0


@dataclass(frozen=True)
class Took:
    """
    What one run of the client took.

    :param memory: peak in bytes: of an operator above the interpreter with Airflow imported, else of the process.
    :param startup: seconds of importing Airflow, which are not in `seconds`.
    """

    seconds: float
    cpu: float
    memory: int
    startup: float = 0.0


class Peer(ABC):
    """One way to do the work."""

    name: str
    #: moves into .done, marks
    moves = False
    marks = False

    @abstractmethod
    def run(self, scene: Scene, place: Place, port: int, count: int | None = None) -> Took:
        """Do the work with the SFTP server at `port`; the first `count` files of it."""


class _Operators(Peer):
    """Operators in a process that has Airflow imported."""

    extra: dict[str, Any] = {}  # noqa: RUF012

    @abstractmethod
    def job(self, scene: Scene, count: int | None) -> tuple[str, list[dict[str, Any]]]:
        """Return the operator's name, and the arguments of each to execute one after another."""

    def run(self, scene: Scene, place: Place, port: int, count: int | None = None) -> Took:
        result = self.result(scene, place, port, count)
        return Took(result["seconds"], result["cpu"], result["memory"], result["imported"])

    def result(self, scene: Scene, place: Place, port: int, count: int | None = None, **more: Any) -> dict[str, Any]:
        """Run the process and return what it says; with ``whole_task=True``, of a whole Dag run."""
        operator, arguments = self.job(scene, count)
        sftp = place.sftp.airflow_connection(**self.extra) | {"port": port}
        job = {
            "operator": operator,
            "arguments": arguments,
            "root": str(place.root),
            "bytes": scene.work.bytes,
            "environment": {
                "AIRFLOW_CONN_SFTP_DEFAULT": json.dumps(sftp),
                "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(place.s3.airflow_connection()),
            },
            **more,
        }
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.client"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=TIMEOUT,
        )
        if ran.returncode:
            raise RuntimeError(f"{self.name} failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
        result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return result


class Ours(_Operators):
    """This project's operator, with its defaults. Verifies, moves into ``.done``, marks, logs every file."""

    name = "this project"
    moves = True
    marks = True

    def job(self, scene: Scene, count: int | None) -> tuple[str, list[dict[str, Any]]]:
        push = scene.work.direction == "push"
        arguments = {"sftp_path": str(scene.tree), "s3_bucket": scene.bucket, **scene.work.arguments}
        return ("S3ToSftpOperator" if push else "SftpTreeToS3Operator"), [arguments]

    def result(self, scene: Scene, place: Place, port: int, count: int | None = None, **more: Any) -> dict[str, Any]:
        result = super().result(scene, place, port, count, **more)
        report = result["report"]
        listed = report["skipped"].get("dry run", 0)
        if (listed if scene.work.direction == "list" else report["transferred"]) != (count or scene.work.files):
            raise RuntimeError(f"{self.name} did not do what was asked: {report}")
        return result


class OursFirst(Ours):
    """This project's first run: no ledger tells yet what was moved before, so it looks at each of those objects."""

    name = "this project, first"


class Official(_Operators):
    """
    The Amazon provider's operators at their best: one for all files, over one connection, without compression.

    One file after another; not verified, not moved, not marked. Directories are made beforehand.
    """

    name = "Amazon provider"
    extra = {"compress": "false"}  # noqa: RUF012

    def job(self, scene: Scene, count: int | None) -> tuple[str, list[dict[str, Any]]]:
        names = scene.work.names(count)
        if scene.work.direction == "push":
            return "S3ToSFTPOperator", [self._push(scene, "", f"{scene.tree}/", s3_filenames=names)]
        return "SFTPToS3Operator", [self._pull(scene, f"{scene.tree}/", "", sftp_filenames=names)]

    def run(self, scene: Scene, place: Place, port: int, count: int | None = None) -> Took:
        if scene.work.direction == "push":
            for name in scene.work.names(count):
                (scene.tree / name).parent.mkdir(parents=True, exist_ok=True)
        return super().run(scene, place, port, count)

    def sample_of(self, work: Work) -> int:
        """Return how many files to move: the time is scaled to all."""
        return work.sample

    @staticmethod
    def _push(scene: Scene, key: str, path: str, **more: Any) -> dict[str, Any]:
        return {"s3_bucket": scene.bucket, "s3_key": key, "sftp_path": path, "sftp_conn_id": "sftp_default", **more}

    @staticmethod
    def _pull(scene: Scene, path: str, key: str, **more: Any) -> dict[str, Any]:
        return {"s3_bucket": scene.bucket, "s3_key": key, "sftp_path": path, "sftp_conn_id": "sftp_default", **more}


class OfficialDefault(Official):
    """The Amazon provider's operators as their guide shows them: one for each file, all by default."""

    name = "Amazon provider, default"
    extra = {}  # noqa: RUF012

    def sample_of(self, work: Work) -> int:
        return max(1, work.sample // 10)  # each has a connection of its own: few tell as much

    def job(self, scene: Scene, count: int | None) -> tuple[str, list[dict[str, Any]]]:
        names = scene.work.names(count)
        if scene.work.direction == "push":
            return "S3ToSFTPOperator", [self._push(scene, name, f"{scene.tree}/{name}") for name in names]
        return "SFTPToS3Operator", [self._pull(scene, f"{scene.tree}/{name}", name) for name in names]


class Process(Peer):
    """A command, timed from its start to its end."""

    def timed(self, scene: Scene, place: Place, *commands: Sequence[str], environment: dict[str, str]) -> Took:
        """Run the commands one after another. :raises RuntimeError: one failed."""
        timed: list[str | Path] = [sys.executable, "-S", REPOSITORY / "benchmarks" / "timed.py"]
        timed += [str(TIMEOUT), str(place.root), str(scene.work.bytes)]
        took = []
        for command in commands:
            ran = subprocess.run(
                [*timed, *command],
                capture_output=True,
                text=True,
                errors="replace",
                env=os.environ | environment,
            )
            if ran.returncode:
                raise RuntimeError(f"{self.name} failed: {ran.stderr[-4000:]}")
            took.append(Took(**json.loads(ran.stdout)))
        return Took(
            sum(each.seconds for each in took), sum(each.cpu for each in took), max(each.memory for each in took)
        )


class Rclone(Process):
    """rclone copy. Does not move into ``.done``, and does not mark: it would look at each file to tell what is new."""

    name = "rclone"
    flags: tuple[str, ...] = ()

    def flags_for(self, scene: Scene) -> tuple[str, ...]:
        return ()

    def run(self, scene: Scene, place: Place, port: int, count: int | None = None) -> Took:
        work = scene.work
        tree, bucket = f"sftp:{scene.tree}", f"s3:{scene.bucket}"
        if work.direction == "list":
            command = ["rclone", "lsf", "-R", "--files-only", tree]
        else:
            command = ["rclone", "copy", *((bucket, tree) if work.direction == "push" else (tree, bucket))]
        if work.direction == "pull" and work.old:
            command += ["--exclude", ".done/**"]
        environment = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": "Other",
            "RCLONE_CONFIG_S3_ENDPOINT": place.s3.url,
            "RCLONE_CONFIG_S3_ACCESS_KEY_ID": ACCESS_KEY,
            "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": SECRET_KEY,
            "RCLONE_CONFIG_S3_REGION": REGION,
            "RCLONE_CONFIG_SFTP_TYPE": "sftp",
            "RCLONE_CONFIG_SFTP_HOST": "127.0.0.1",
            "RCLONE_CONFIG_SFTP_PORT": str(port),
            "RCLONE_CONFIG_SFTP_USER": place.sftp.username,
            "RCLONE_CONFIG_SFTP_KEY_FILE": str(place.sftp.client_key),
        }
        return self.timed(scene, place, [*command, *self.flags_for(scene)], environment=environment)


class RcloneTuned(Rclone):
    """rclone told all that helps: more at once, larger packets, the fast cipher, nothing asked for twice."""

    name = "rclone tuned"

    def flags_for(self, scene: Scene) -> tuple[str, ...]:
        work = scene.work
        # Each transfer has a connection of its own: near, 64 handshakes cost more than they bring.
        transfers = 4 if work.size >= MiB else 64 if work.round_trip else 16
        flags = [
            *("--sftp-ciphers", "aes128-gcm@openssh.com", "--sftp-chunk-size", "255k", "--sftp-concurrency", "64"),
            *("--sftp-shell-type", "none", "--sftp-disable-hashcheck", "--sftp-set-modtime=false"),
            *("--s3-no-check-bucket", "--s3-no-head", "--s3-disable-checksum"),
            *("--transfers", str(transfers), "--checkers", str(max(transfers, 8))),
        ]
        if work.direction == "list":
            return tuple(flags)
        if work.old:
            # What is there already is told by its date in S3, with no HEAD for each: less than a comparison of mtimes.
            return (*flags, "--fast-list", "--update", "--use-server-modtime")
        return (*flags, "--fast-list", "--no-check-dest")


class LftpS5cmd(Process):
    """lftp between the SFTP server and a local directory, s5cmd between that and S3."""

    name = "lftp + s5cmd"

    @staticmethod
    def available() -> bool:
        """Say whether both are installed."""
        return bool(shutil.which("lftp") and shutil.which("s5cmd"))

    def run(self, scene: Scene, place: Place, port: int, count: int | None = None) -> Took:
        with tempfile.TemporaryDirectory(dir=place.root) as home:
            local = Path(home, "files")
            local.mkdir()
            ssh = f"ssh -a -x -i {place.sftp.client_key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
            verb = "mirror -R" if scene.work.direction == "push" else "mirror"
            sides = (local, scene.tree) if scene.work.direction == "push" else (scene.tree, local)
            script = f"""set sftp:connect-program "{ssh} -c aes128-gcm@openssh.com"; set sftp:max-packets-in-flight 64;
open -u {place.sftp.username},x -p {port} sftp://127.0.0.1; {verb} -P 16 {sides[0]} {sides[1]}; exit"""
            s5cmd = ["s5cmd", "--endpoint-url", place.s3.url, "--numworkers", "64", "cp"]
            lftp = ["lftp", "--norc", "-c", script]
            environment = {
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                "AWS_REGION": REGION,
                "HOME": home,
            }
            if scene.work.direction == "push":
                return self.timed(
                    scene, place, [*s5cmd, f"s3://{scene.bucket}/*", f"{local}/"], lftp, environment=environment
                )
            return self.timed(
                scene, place, lftp, [*s5cmd, f"{local}/", f"s3://{scene.bucket}/"], environment=environment
            )


def run(peer: Peer, scene: Scene, where: Place, port: int, count: int | None = None) -> Took:
    """Have one peer do the work, from its laying out to its verification, which are not in its time."""
    scene.prepare(count)
    try:
        took = peer.run(scene, where, port, count)
        keeps = scene.work.arguments.get("after_transfer") == "keep"
        scene.verify(
            done=peer.moves and scene.work.direction == "pull" and not keeps,
            marked=peer.marks and scene.work.marks,
            count=count,
        )
    finally:
        scene.clean_up()
    return took
