"""What the model's process and its users know of each other: order, files, state.

The files lie in a folder only this user can read, named by model and parameters, so that two programs that
want the same model share one process and two that do not never meet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from appbuilder._version import __version__
from appbuilder.errors import ConfigurationError
from appbuilder.models.local.file_lock import FileLock
from appbuilder.models.local.weights import Weights, cache_folder, find
from appbuilder.settings import Settings

FETCHING, LOADING, READY, FAILED = "fetching", "loading", "ready", "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """A model process to be: which weights, how many slots, tokens of context per slot, threads.

    ``threads`` write, ``prompt_threads`` read. Reading is heavy work in large steps; writing is thousands of
    small steps after each of which all threads wait for the slowest, so one that shares its core with the
    service stops all (2 cores with one busy: 28 tokens/s with 1 thread, 4 to 14 with 2; idle: 27 and 27).
    """

    model: str
    cache: str
    slots: int
    context: int
    threads: int
    prompt_threads: int
    connect_timeout: float
    folder: str
    key: str

    @classmethod
    def of(cls, name: str, settings: Settings) -> Order:
        """:raises ConfigurationError: there is no such model, or no safe folder for the state."""
        weights = find(name)
        slots, context = max(1, settings.local_slots), max(1, settings.local_context)
        cores = usable_cores()
        threads = settings.local_threads or max(1, cores - 1)
        prompt_threads = settings.local_threads or cores
        identity = [_identity(weights), slots, context, threads, prompt_threads, str(cache_folder(settings)),
                    version("xllamacpp"), __version__, _network()]
        return cls(
            model=name if isinstance(weights, Weights) else str(weights),
            cache=str(cache_folder(settings)),
            slots=slots,
            context=context,
            threads=threads,
            prompt_threads=prompt_threads,
            connect_timeout=settings.connect_timeout,
            folder=str(runtime_folder()),
            key=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16],
        )

    @classmethod
    def from_json(cls, text: str) -> Order:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def owner_lock(self) -> FileLock:
        """Held by the model's process as long as it lives."""
        return FileLock(self._path("owner.lock"))

    def start_lock(self) -> FileLock:
        """Held while one of the users starts the model's process."""
        return FileLock(self._path("start.lock"))

    @property
    def state_path(self) -> Path:
        return self._path("state.json")

    @property
    def log_path(self) -> Path:
        """The engine's own words: errors only, never a prompt."""
        return self._path("log")

    def last_words(self) -> str:
        """A sentence with the end of the log."""
        try:
            lines = self.log_path.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return f"Its last words, in {self.log_path}: {' | '.join(lines[-3:]) or 'none'}"

    def _path(self, suffix: str) -> Path:
        return Path(self.folder, f"{self.key}.{suffix}")


@dataclass(frozen=True, slots=True)
class State:
    """What the model's process says of itself.

    ``lease_port`` takes the connections that keep it alive, ``secret`` proves both sides to each other and
    is the key of the HTTP API at ``address``; ``what``, ``done`` and ``total`` tell how far it is.
    """

    pid: int
    lease_port: int
    secret: str
    phase: str = FETCHING
    what: str = ""
    done: int = 0
    total: int = 0
    address: str = ""
    error: str = ""
    is_configuration: bool = False

    def write(self, path: Path) -> None:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> State | None:
        """None if it does not exist."""
        try:
            fields: dict[str, Any] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return cls(**fields)

    def prove(self, nonce: str) -> str:
        """What only a process that knows the secret can answer to *nonce*."""
        return hmac.new(self.secret.encode(), nonce.encode(), "sha256").hexdigest()


def runtime_folder() -> Path:
    """A folder for files that mean nothing after a restart; only this user can read it.

    :raises ConfigurationError: another user made a folder of that name.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base and os.access(base, os.W_OK):
        folder = Path(base, "appbuilder")
    else:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir(), f"appbuilder-{user}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} for files of running processes cannot be made ({error.strerror}). "
            "Set XDG_RUNTIME_DIR or TMPDIR to a folder that can be written."
        ) from None
    # The temporary folder is everybody's: another user could have put a folder or a link here first.
    foreign = hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077)
    if foreign or not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(
            f"{folder} must be a folder that belongs to you and that only you can read. "
            "Remove it, or set XDG_RUNTIME_DIR to another place."
        )
    return folder


def usable_cores() -> int:
    """Cores this process may use, a container's CPU quota included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # cgroup v2: "<microseconds allowed> <period>", or "max <period>".
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)


def _identity(weights: Weights | Path) -> list[object]:
    if isinstance(weights, Weights):
        return [weights.sha256]
    found = weights.stat()
    return [str(weights), found.st_size, found.st_mtime_ns]


def _network() -> int:
    """Two containers may share a temporary folder, but not a loopback address."""
    try:
        return os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return 0
