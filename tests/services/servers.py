"""Throw-away database servers: own data folder, own port on loopback, durable as in production.

They are real servers from the system's packages (``install.sh``). A missing one is a failure of the test
that wants it, never a skip.
"""

from __future__ import annotations

import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg
import pymysql
from sqlalchemy.engine import URL

PASSWORD = "s3cret/p@ss:w%rd"
START_TIMEOUT = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process have stopped (state T, see proc(5))."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(each.read_text().rpartition(")")[2].split()[0] in "TZ" for each in tasks)


def program(name: str, *places: str) -> str:
    """The path of a server's program; raises where it is not installed."""
    found = shutil.which(name) or next(
        (path for place in places for path in sorted(glob.glob(f"{place}/{name}"), reverse=True)), None
    )
    if found is None:
        raise RuntimeError(f"{name} is not installed: run tests/services/install.sh")
    return found


class Server(ABC):
    """One database server. Start and stop it from the main thread: it dies with the thread it is from."""

    account = ""
    """The system's user that runs the server where the tests are run by root."""
    drivername = ""
    crash_signal = signal.SIGKILL

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"appbuilder-{self.account}-"))
        self.process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            owner = pwd.getpwnam(self.account)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.initialise()
        self.start()
        self.make_accounts()

    @abstractmethod
    def initialise(self) -> None:
        """Makes the data folder."""

    @abstractmethod
    def command(self) -> list[str]:
        """What to run in the foreground."""

    @abstractmethod
    def execute(self, sql: str) -> None:
        """Runs a statement as administrator."""

    @abstractmethod
    def make_accounts(self) -> None:
        """Makes the account of the tests, in the server that has just been started."""

    def as_account(self, command: list[str], *, dies_with_us: bool = False) -> list[str]:
        if os.getuid() != 0:
            return command
        dying = ["--pdeathsig", "KILL"] if dies_with_us else []
        who = ["--reuid", self.account, "--regid", self.account, "--init-groups"]
        return [program("setpriv"), *who, *dying, *command]

    def run(self, command: list[str]) -> None:
        done = subprocess.run(
            self.as_account(command), capture_output=True, text=True, cwd=self.folder, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.as_account(self.command(), dies_with_us=True),
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return self.execute("SELECT 1")
            except (psycopg.OperationalError, pymysql.err.OperationalError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    text = (self.folder / "server.log").read_text(errors="replace")
                    raise RuntimeError(f"{self.account} does not start: {text[-2000:]}") from None
            time.sleep(0.05)

    def stop(self) -> None:
        self._end(signal.SIGINT if self.account == "postgres" else signal.SIGTERM)

    def crash(self) -> None:
        self._end(self.crash_signal)

    def _end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)

    def freeze(self) -> None:
        """Stops every process of the server: connections stay, answers do not come."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        # A thread that runs on another processor may still answer until it has seen the signal.
        while not all(map(_is_stopped, pids)):
            time.sleep(0.001)

    def thaw(self) -> None:
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        assert self.process is not None
        top = self.process.pid
        children = Path(f"/proc/{top}/task/{top}/children").read_text().split()
        return [top, *map(int, children)]

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> URL:
        return URL.create(
            self.drivername, username="tester", password=PASSWORD,
            host="127.0.0.1", port=self.port, database=database,
        )

    def new_database(self) -> URL:
        """An empty database of its own."""
        name = "t" + secrets.token_hex(8)
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


class PostgresServer(Server):
    account = "postgres"
    drivername = "postgresql"
    crash_signal = signal.SIGQUIT  # the children of a postmaster killed with -9 would be in the way

    _places = ("/usr/lib/postgresql/*/bin",)

    def initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = str(self.folder / "data")
        self.run([
            program("initdb", *self._places), "-D", data, "-U", "tester", "--auth=scram-sha-256",
            f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8",
        ])

    def make_accounts(self) -> None:
        pass  # initdb made it

    def command(self) -> list[str]:
        return [
            program("postgres", *self._places), "-D", str(self.folder / "data"), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}",
            "-c", "fsync=on", "-c", "max_connections=200",
        ]

    def execute(self, sql: str) -> None:
        where = {"host": "127.0.0.1", "port": self.port, "user": "tester", "dbname": "postgres"}
        with psycopg.connect(
            **where, password=PASSWORD, autocommit=True, connect_timeout=5  # type: ignore[arg-type]
        ) as connection:
            connection.execute(sql.encode())


class MariaServer(Server):
    account = "mysql"
    drivername = "mysql"

    _administrator = ("root", "")

    def initialise(self) -> None:
        self.run([
            program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        ])

    def make_accounts(self) -> None:
        self.execute(f"CREATE USER 'tester'@'%' IDENTIFIED BY '{PASSWORD}'")
        self.execute("GRANT ALL ON *.* TO 'tester'@'%'")

    def command(self) -> list[str]:
        return [
            program("mariadbd", "/usr/sbin"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            f"--port={self.port}", f"--socket={self.folder / 's'}", f"--pid-file={self.folder / 'pid'}",
            "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=64M", "--max-connections=200", "--character-set-server=utf8mb4",
        ]

    def execute(self, sql: str) -> None:
        user, password = self._administrator
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, autocommit=True,
            connect_timeout=5,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)


class PgBouncer:
    """A connection pooler in front of a PostgreSQL server.

    :param mode: what it lends a connection for: ``session`` or ``transaction``.
    """

    def __init__(self, server: PostgresServer, mode: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="appbuilder-pgbouncer-"))
        (self.folder / "users").write_text(f'"tester" "{PASSWORD}"\n')
        (self.folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = plain\n"
            f"auth_file = {self.folder}/users\npool_mode = {mode}\n"
        )
        for each in (self.folder, *self.folder.iterdir()):
            each.chmod(0o755)
        command = [program("pgbouncer", "/usr/sbin"), f"{self.folder}/ini"]
        self.process = subprocess.Popen(
            server.as_account(command, dies_with_us=True),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def remove(self) -> None:
        self.process.kill()
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
