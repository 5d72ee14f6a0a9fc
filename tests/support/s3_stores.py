"""S3 stores that nobody here wrote, each as plain processes on 127.0.0.1.

* :class:`CephGateway` is Ceph's object gateway, with a monitor and an OSD of its own: 15 s to come up, 1 GB of memory.
* :class:`SwiftS3Api` is OpenStack Swift with its S3 API: 5 s.
* :class:`PlainMoto` is moto's server as it is, with none of the conditions that :class:`.s3_server.S3Server` adds.

rclone's server is in :mod:`.s3_server`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tests.support.ports import free_port
from tests.support.s3_server import S3Endpoint
from tests.support.secrets import secret

#: Seconds that a store may take to come up, or one command of it: a Ceph gateway takes 15 on an idle machine.
START_TIMEOUT = 240.0


class _Processes(S3Endpoint):
    """A store of one or more processes, with their files in one directory; as a context manager it leaves nothing."""

    session_token = None
    region = "us-east-1"

    def __init__(self) -> None:
        # Not pytest's own directory: the path of a Unix socket has 107 characters at most.
        self.home = Path(tempfile.mkdtemp(prefix="s3-store-"))
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    def missing(cls) -> str:
        """Say what has to be installed first; nothing: it is there."""
        return ""

    def start(self) -> None:
        """Come up; return once clients can connect."""
        raise NotImplementedError

    def stop(self) -> None:
        """Go down at once, the last one first."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._processes.clear()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _begin(self, *command: str, **environment: str) -> None:
        """Begin a process that stays until :meth:`stop`."""
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, cwd=self.home, env={**os.environ, **environment})
            )

    def _call(self, *command: str, **environment: str) -> str:
        """Run a command to its end and return what it prints."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.home,
            env={**os.environ, **environment},
            timeout=START_TIMEOUT,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        return done.stdout

    def _wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not what():
            if any(process.poll() is not None for process in self._processes) or time.monotonic() > deadline:
                raise RuntimeError(f"{type(self).__name__} did not start: {self._log.read_text()[-3000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Say whether the S3 API answers, whatever it says."""
        try:
            urllib.request.urlopen(self.url, timeout=30).close()
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code < 500
        except OSError:
            return False
        return True

    @property
    def _log(self) -> Path:
        return self.home / "log"


def _without(programs: Sequence[str]) -> bool:
    return not all(shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for program in programs)


# ------------------------------------------------------------------------------------------------ Ceph's object gateway


class CephGateway(_Processes):
    """Ceph's object gateway on one OSD that keeps all in memory."""

    @classmethod
    def missing(cls) -> str:
        if _without(("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool")):
            return (
                "Ceph's object gateway is not installed "
                "(apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common)"
            )
        return ""

    def start(self) -> None:
        monitor = f"[v1:127.0.0.1:{free_port()}]"
        cluster = str(uuid.uuid4())
        for directory in ("mon", "osd", "run", "logs", "rgw"):
            (self.home / directory).mkdir()
        (self.home / "ceph.conf").write_text(self._configuration(cluster, monitor))
        for name in ("mon.", "client.admin"):
            may = [word for daemon in ("mon", "osd", "mgr") for word in ("--cap", daemon, "allow *")]
            new = [] if name == "client.admin" else ["--create-keyring"]
            self._ceph("ceph-authtool", "keyring", *new, "--gen-key", "-n", name, *may)
        self._ceph("monmaptool", "--create", "--addv", "a", monitor, "--fsid", cluster, "monmap")
        self._ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._begin("ceph-mon", "-i", "a", "-f", CEPH_CONF=self._conf)
        osd = str(uuid.uuid4())
        number = self._ceph("ceph", "osd", "create", osd).strip()
        # What the OSD would do by itself, and may ask for before it knows the cluster, on a busy machine.
        self._ceph("ceph", "osd", "crush", "add", f"osd.{number}", "1", "root=default", "host=tests")
        self._ceph("ceph-osd", "-i", number, "--mkfs", "--mkkey", "--osd-uuid", osd, "--no-mon-config")
        self._begin("ceph-osd", "-i", number, "-f", CEPH_CONF=self._conf)
        self._wait_for(lambda: "1 up" in self._ceph("ceph", "osd", "stat"))
        keys = (f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        self._ceph("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)
        self._begin("radosgw", "-n", "client.rgw", "-f", CEPH_CONF=self._conf)
        self._wait_for(self._answers)

    @property
    def _conf(self) -> str:
        return str(self.home / "ceph.conf")

    def _ceph(self, *command: str) -> str:
        return self._call(*command, CEPH_CONF=self._conf)

    def _configuration(self, cluster: str, monitor: str) -> str:
        return f"""\
[global]
fsid = {cluster}
mon host = {monitor}
mon initial members = a
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
osd pool default pg num = 1
osd pool default pgp num = 1
mon allow pool size one = true
mon max pg per osd = 1000
mon data = {self.home}/mon
mon data avail warn = 2
mon data avail crit = 1
osd data = {self.home}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd memory target = 939524096
keyring = {self.home}/keyring
run dir = {self.home}/run
admin socket = {self.home}/run/$name.asok
log file = {self.home}/logs/$name.log
setuser match path =
[client.rgw]
rgw data = {self.home}/rgw
rgw frontends = beast endpoint={self.host}:{self.port}
rgw dns name = s3.ceph.test
rgw thread pool size = 32
rgw crypt require ssl = false
rgw gc max objs = 8
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
"""


# --------------------------------------------------------------------------------------------- OpenStack Swift's S3 API


class SwiftS3Api(_Processes):
    """OpenStack Swift: an account, a container and an object server, and a proxy with the S3 API in it."""

    access_key = "test:tester"
    secret_key = secret("testing-of-tests")

    @classmethod
    def missing(cls) -> str:
        if (
            _without((PYTHON, "memcached"))
            or subprocess.run([PYTHON, "-c", "import swift"], capture_output=True).returncode
        ):
            return "OpenStack Swift is not installed (apt-get install --no-install-recommends python3-swift memcached)"
        return ""

    def start(self) -> None:
        (self.home / "disks" / "d1").mkdir(parents=True)
        (self.home / "swift.conf").write_text(SWIFT)
        memory = str(free_port())
        self._begin("memcached", "-l", self.host, "-p", memory, "-u", "root")
        for kind in ("account", "container", "object"):
            port = free_port()
            self._run_in_swift(RING, str(self.home), kind, str(port))
            pipeline = f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
            self._serve(kind, port, pipeline)
        self._serve("proxy", self.port, self._proxy(memory))
        self._wait_for(self._answers)

    def _serve(self, kind: str, port: int, pipeline: str) -> None:
        configuration = self.home / f"{kind}.conf"
        common = f"""\
[DEFAULT]
bind_ip = {self.host}
bind_port = {port}
user = root
swift_dir = {self.home}
devices = {self.home}/disks
mount_check = false
workers = 0
log_level = ERROR
{PATIENT}"""
        configuration.write_text(common + pipeline)
        self._begin(PYTHON, "-c", SERVE, str(self.home), str(configuration), f"{kind}-server")

    def _run_in_swift(self, code: str, *arguments: str) -> None:
        self._call(PYTHON, "-c", code, *arguments)

    def _proxy(self, memory: str) -> str:
        filters = {
            "catch_errors": "",
            "cache": f"memcache_servers = {self.host}:{memory}",
            "listing_formats": "",
            "bulk": "",
            "s3api": f"location = {self.region}\ndns_compliant_bucket_names = no",
            "tempauth": f"user_{self.access_key.replace(':', '_')} = {self.secret_key} .admin .reseller_admin",
            "copy": "",
            "slo": "min_segment_size = 1",
            "dlo": "",
            "versioned_writes": "allow_object_versioning = true",
            "symlink": "",
        }
        programs = {"cache": "memcache"}
        sections = "".join(
            f"[filter:{name}]\nuse = egg:swift#{programs.get(name, name)}\n{fields}\n"
            for name, fields in filters.items()
        )
        return f"""\
[pipeline:main]
pipeline = {" ".join(filters)} proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0
{sections}"""


#: How long its servers wait for each other, in seconds. By default it is a second or less until what one of them has
#: stored is not listed, or is answered with 503; and one that was late is asked no more for a minute.
PATIENT = """\
conn_timeout = 30
node_timeout = 60
container_update_timeout = 60
"""
#: Debian's own Python, which has its packages.
PYTHON = "/usr/bin/python3"
SWIFT = """\
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
[swift-constraints]
max_header_size = 16384
"""
#: Swift reads its constraints from /etc/swift, unless it is told before anything else is imported.
_ELSEWHERE = "import os, sys, swift.common.utils as utils; utils.SWIFT_CONF_FILE = sys.argv[1] + '/swift.conf'\n"
#: argv: directory, kind, port. Makes a ring of one device.
RING = (
    _ELSEWHERE
    + """\
from swift.common.ring import RingBuilder
directory, kind, port = sys.argv[1:]
ring = RingBuilder(4, 1, 0)
where = {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1}
ring.add_dev({**where, "replication_ip": "127.0.0.1", "replication_port": int(port), "meta": ""})
ring.rebalance()
ring.get_ring().save(f"{directory}/{kind}.ring.gz")
"""
)
#: argv: directory, configuration, section.
SERVE = (
    _ELSEWHERE
    + """\
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[2], sys.argv[3]))
"""
)


# ---------------------------------------------------------------------------------------------------- moto's own server


class PlainMoto(_Processes):
    """moto's server in a process of its own, as ``moto_server`` starts it."""

    def start(self) -> None:
        self._begin(sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(self.port))
        self._wait_for(self._answers)
