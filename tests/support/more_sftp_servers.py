"""More real SFTP servers on 127.0.0.1, for ``make servers`` alone: see :mod:`tests.support.sftp_servers`.

* :class:`NodeSftpServer` is npm's ``ssh2-sftp-server`` on npm's ``ssh2``.
* :class:`DropbearServer` is Dropbear with OpenSSH's ``sftp-server``, as on routers and small Linux machines.
* :class:`GreenEndServer` is the Green End SFTP server, beneath OpenSSH's ``sshd``.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
from pathlib import Path

import psutil

from tests.support.secrets import secret
from tests.support.sftp_servers import Daemon, OpenSshServer

NODE_MODULES = Path(__file__).parents[2] / ".servers/node_modules"
"""Where npm puts its packages: in the repository's directory, and not in Git."""
NODE_PACKAGES = "ssh2@1.17.0 ssh2-sftp-server@1.1.2"
"""The versions that were tried."""


class NodeSftpServer(Daemon):
    """npm's ssh2-sftp-server; password login only. Paths are this machine's own: there is no chroot."""

    username = "user"
    password = "password-of-the-user"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        secret(self.password or "")
        self._script = self.home / "server.js"
        # It looks for constants where ssh2 0.8 had them. It answers nothing where the system says no to a RENAME,
        # REMOVE, MKDIR or RMDIR; without a handler of exceptions the process would end.
        self._script.write_text(f"""\
const {{ Server, utils }} = require("{NODE_MODULES}/ssh2"), Served = require("{NODE_MODULES}/ssh2-sftp-server");
const serve = session => {{ Object.assign(session.constructor, utils.sftp); new Served(session); }};
process.on("uncaughtException", error => console.log(error.stack));
new Server({{ hostKeys: [require("fs").readFileSync("{self._host_key_file}")] }}, client => client
  .on("authentication", it => it.method === "password" && it.username === "{self.username}"
    && it.password === "{self.password}" ? it.accept() : it.reject(["password"]))
  .on("error", error => console.log(error.message))
  .on("ready", () => client.on("session", accept => accept().on("sftp", begin => serve(begin())))))
  .listen({self.port}, "{self.host}");
""")

    @classmethod
    def missing(cls) -> str:
        if not shutil.which("node"):
            return "Node.js is not installed (apt-get install nodejs npm)"
        if not (NODE_MODULES / "ssh2-sftp-server").exists():
            return f"npm install --prefix {NODE_MODULES.parent} --ignore-scripts --omit=optional {NODE_PACKAGES}"
        return ""

    def path(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))

    def local(self, path: str) -> Path:
        return Path(path)

    def _command(self) -> list[str]:
        return ["node", str(self._script)]


class DropbearServer(Daemon):
    """Dropbear, run by and for the current user, whose home is another one for it; key login only.

    Paths are this machine's own: there is no chroot.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.username = getpass.getuser()
        # It looks for keys in the user's home only, and has no option for another place.
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        keys = ssh / "authorized_keys"
        keys.write_text(self.client_public_key + "\n")
        keys.chmod(0o600)
        (self.home / "passwd").write_text(f"{self.username}:!:{os.geteuid()}:{os.getegid()}::{self.home}:/bin/sh\n")
        (self.home / "group").write_text(f"{self.username}:!:{os.getegid()}:\n")

    @staticmethod
    def _dropbear() -> str | None:
        return shutil.which("dropbear", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    @classmethod
    def missing(cls) -> str:
        programs = (cls._dropbear(), shutil.which("dropbearconvert"), shutil.which("/usr/lib/sftp-server"))
        if all(programs) and _nss_wrapper():
            return ""
        return "Dropbear is not installed (apt-get install dropbear-bin openssh-sftp-server libnss-wrapper)"

    def path(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))

    def local(self, path: str) -> Path:
        return Path(path)

    def start(self) -> None:
        own_format = self.home / "dropbear_host_key"
        if not own_format.exists():
            convert = ["dropbearconvert", "openssh", "dropbear", str(self._host_key_file), str(own_format)]
            subprocess.run(convert, check=True, capture_output=True)
        super().start()

    def stop(self) -> None:
        # Each connection has a session, and so a process group, of its own.
        sessions = psutil.Process(self._process.pid).children(recursive=True) if self._process else []
        super().stop()
        for session in sessions:
            with contextlib.suppress(psutil.NoSuchProcess):
                session.kill()

    def _command(self) -> list[str]:
        return [
            *("env", f"LD_PRELOAD={_nss_wrapper()}"),
            *(f"NSS_WRAPPER_PASSWD={self.home}/passwd", f"NSS_WRAPPER_GROUP={self.home}/group"),
            *(str(self._dropbear()), "-F", "-E", "-s", "-m", "-P", str(self.home / "pid")),
            *("-p", f"{self.host}:{self.port}", "-r", str(self.home / "dropbear_host_key")),
        ]


def _nss_wrapper() -> str | None:
    """Return the library that gives a process other users than the machine has."""
    return next(map(str, Path("/usr/lib").glob("*/libnss_wrapper.so")), None)


class GreenEndServer(OpenSshServer):
    """The Green End SFTP server, beneath OpenSSH's sshd."""

    subsystem = "/usr/libexec/gesftpserver"

    @classmethod
    def missing(cls) -> str:
        if not Path(cls.subsystem).exists():
            return "the Green End SFTP server is not installed (apt-get install gesftpserver)"
        return super().missing()
