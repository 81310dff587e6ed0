"""chainlit_agent: an application's events, its questions, and files for it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import APIResponse, expect

from appbuilder.components.app_client.schemas import Action
from appbuilder.serve.page.page_requests import MOST_KEPT
from appbuilder.testing import AppDouble, AppReply
from tests.browser.browsing import STRANGER, Chat, Watch
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, stored
from tests.process.page_client import FOREIGN_HOST
from tests.process.page_client import Browser as Client
from tests.process.page_client import Chat as Talk
from tests.process.server import Server, start
from tests.process.serving import free_port, settings

CHOICE = {"type": "function", "function": {"name": "search", "input": {}}}
TEXT = {"name": "计划.txt", "mimeType": "text/plain", "buffer": "第一步".encode()}
STEAL = b"<script>document.title='stolen'</script>"
PAGE_OF_HTML = {"name": "a.html", "mimeType": "text/html", "buffer": STEAL}
DROP = """(files) => {
    const moved = new DataTransfer();
    for (const {name, mimeType, bytes} of files)
        moved.items.add(new File([new Uint8Array(bytes)], name, {type: mimeType}));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.querySelector("#chat-input").dispatchEvent(
            new DragEvent(kind, {dataTransfer: moved, bubbles: true, cancelable: true}));
}"""

ASK = """async ([path, words]) => {
    const form = new FormData();
    form.append("file", new File([words ?? ""], "a.txt", {type: "text/plain"}));
    const answer = await fetch(path, words === null ? {} : {method: "POST", body: form});
    return [answer.status, await answer.text()];
}"""


def serve_agent(folder: Path, double: AppDouble, choice: Any) -> Server:
    """The page, in a process of its own; its folders as :func:`tests.browser.serving.serve_page` has them."""
    work = folder / "work"
    work.mkdir()
    given = {"GATEWAY_URL_V2": double.address, "TOKEN": "the-token", "CACHE_DIR": str(folder / "cache")}
    env = {**settings(folder, **given), "CHOICE": json.dumps(choice)}
    return start(work, [sys.executable, "-m", "tests.browser.apps.agent"], port=free_port(), env=env)


@pytest.fixture(scope="module")
def service() -> Iterator[AppDouble]:
    with AppDouble() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, service: AppDouble) -> Iterator[Server]:
    with serve_agent(tmp_path_factory.mktemp("agent"), service, CHOICE) as server:
        yield server


@pytest.fixture
def double(service: AppDouble) -> AppDouble:
    """The service, with nothing in it of other tests."""
    service.requests.clear()
    service.conversations.clear()
    return service


def choose(chat: Chat, *files: Any) -> None:
    """Chooses files with the paper clip."""
    expect(chat.page.locator("#upload-button")).to_be_visible()
    chat.page.locator("#upload-button-input").set_input_files(list(files))


def drop(chat: Chat, *files: Any) -> None:
    """Drops files on the page, as from a folder's window."""
    expect(chat.page.locator("#upload-button")).to_be_visible()
    chat.page.evaluate(DROP, [{**each, "buffer": None, "bytes": [*each["buffer"]]} for each in files])


def attached(chat: Chat) -> Any:
    """The files beside the box."""
    return chat.page.locator("#attachments > *")


def toast(chat: Chat) -> Any:
    """What the page says in a corner."""
    return chat.page.locator("[data-sonner-toast]")


def conversations(double: AppDouble) -> list[list[str]]:
    return [one.queries for one in double.conversations.values()]


def test_an_answer_streams_and_the_runtimes_tool_is_chosen(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    chat = open_page(server)
    gate = threading.Event()
    double.reply(AppReply(pieces=["海淀区", "的面积"], gates={2: gate}))
    chat.ask("面积")
    expect(chat.answer).to_have_text("海淀区")
    expect(chat.stop_button).to_be_visible()
    gate.set()
    expect(chat.answer).to_have_text("海淀区的面积")
    chat.at_rest()
    assert chat.said == ["面积", "海淀区的面积"]
    assert double.runs[-1].body["tool_choice"] == CHOICE
    assert double.runs[-1].body["end_user_id"] == "local"


def test_each_event_is_a_step_that_folds_open_also_after_a_reload(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    found = {"event_type": "rag", "event_status": "done", "content_type": "rag",
             "outputs": {"text": "三处", "references": [{"content": "<b>海淀</b>", "from": "search"}]}}
    broken = {"event_type": "code_interpreter", "event_status": "error", "event_code": 7,
              "event_message": "除以零", "content_type": "code", "outputs": {"code": "1/0"}}
    double.reply(AppReply(events=[found, broken], pieces=["好", "的"]))
    chat = open_page(server)
    chat.ask("查")
    chat.at_rest()
    for _ in range(2):
        expect(chat.answer).to_have_text("好的")
        rag = chat.folds.filter(has_text="rag")
        expect(rag.locator("pre")).to_have_count(0)
        rag.get_by_role("button").first.click()
        expect(rag.locator("pre")).to_contain_text("<b>海淀</b>")
        code = chat.folds.filter(has_text="code_interpreter")
        code.get_by_role("button").first.click()
        expect(code).to_contain_text("1/0")
        expect(code).to_contain_text("除以零")
        expect(chat.folds.filter(has_text="ChatAgent")).to_have_count(1)
        chat.reload()


@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_a_file_arrives_in_this_users_conversation(
    server: Server, double: AppDouble, open_page: OpenPage, way: str
) -> None:
    chat = open_page(server)
    if way == "dropped":
        drop(chat, TEXT)
    else:
        choose(chat, TEXT)
    expect(attached(chat)).to_have_count(1)
    chat.ask("看")
    expect(chat.answer).to_have_text("看")
    chat.at_rest()
    [conversation] = double.conversations.values()
    [(file_id, file)] = conversation.files.items()
    assert (file.name, file.kind, file.data) == ("计划.txt", "text/plain", "第一步".encode())  # type: ignore[union-attr]
    assert double.runs[-1].body["file_ids"] == [file_id]
    expect(chat.page.get_by_text("计划.txt")).to_have_count(1)
    chat.reload()
    expect(chat.questions.last).to_contain_text("看")
    expect(chat.page.get_by_text("计划.txt")).to_have_count(1)
    chat.ask("再看")
    chat.at_rest()
    assert double.runs[-1].body["file_ids"] == []
    assert conversations(double) == [["看", "再看"]]


def test_a_workflows_question_is_asked_and_answered(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    chat = open_page(server)
    double.reply(AppReply(asks="哪座城市？"))
    chat.ask("天气")
    expect(chat.answer).to_have_text("哪座城市？")
    chat.at_rest()
    chat.reload()
    for words in ("北京", "谢谢"):
        chat.ask(words)
        expect(chat.answer).to_have_text(words)
        chat.at_rest()
    question = next(iter(double.conversations))
    assert [bool(run.body["action"]) for run in double.runs] == [False, True, False]
    asked = stored(server, "_appbuilder.app", session_id=chat.session_id)[-2]["message_value"]["content"]
    assert asked["conversation_id"] == question
    assert double.runs[1].body["action"] == Action.create_resume_action(asked["question"])


def test_two_users_never_share_a_conversation(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    mine, another = open_page(server), open_page(server, host=STRANGER)
    for number in range(3):
        for chat, who in ((mine, "local"), (another, "visitor")):
            chat.ask(f"{who}{number}")
            expect(chat.answer).to_have_text(f"{who}{number}")
            chat.at_rest()
    drop(another, TEXT)
    expect(attached(another)).to_have_count(1)
    another.ask("visitor3")
    expect(another.answer).to_have_text("visitor3")
    another.at_rest()
    assert conversations(double) == [[f"local{n}" for n in range(3)], [f"visitor{n}" for n in range(4)]]
    assert [len(one.files) for one in double.conversations.values()] == [0, 1]
    mine.new()
    mine.ask("another")
    expect(mine.answer).to_have_text("another")
    mine.at_rest()
    assert len(double.conversations) == 3


def test_what_is_too_much_is_refused_in_words(
    server: Server, double: AppDouble, open_page: OpenPage, tmp_path: Path
) -> None:
    chat = open_page(server, locale="en-US")
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(33_000_000)
    choose(chat, large)
    expect(toast(chat).first).to_contain_text("larger than 32 MB")
    expect(attached(chat)).to_have_count(0)
    six = [{**TEXT, "name": f"{number}.txt"} for number in range(6)]
    choose(chat, *six, *six)
    expect(toast(chat).filter(has_text="Too many files").first).to_be_visible()
    expect(attached(chat)).to_have_count(0)
    for count in (6, 12):  # each time few enough, together too many
        choose(chat, *six)
        expect(attached(chat)).to_have_count(count)
    chat.ask("all of them")
    expect(chat.answer).to_contain_text("at most 10 files")
    assert double.requests == []
    chat.ask("without")
    expect(chat.answer).to_have_text("without")


def test_an_empty_file_is_refused_in_words(
    server: Server, double: AppDouble, open_page: OpenPage, watch: Watch
) -> None:
    watch.allowed.append("status of 400")
    chat = open_page(server)
    drop(chat, {**TEXT, "buffer": b""})
    expect(toast(chat)).to_contain_text("empty")
    expect(attached(chat)).to_have_count(0)


KINDS = {"a.html": "text/html", "a.svg": "image/svg+xml", "a.txt": "text/plain", "a.pdf": "application/pdf",
         "a.mp3": "audio/mpeg", "a.mp4": "video/mp4", "a.bin": "", "../../etc/passwd": "text/x-python"}


def test_files_of_every_kind_are_shown_without_harm(
    server: Server, double: AppDouble, open_page: OpenPage, watch: Watch
) -> None:
    chat = open_page(server)
    files = [{**PAGE_OF_HTML, "name": name, "mimeType": kind} for name, kind in KINDS.items()]
    choose(chat, *files)
    expect(attached(chat)).to_have_count(len(files))
    chat.ask("种种")
    expect(chat.answer).to_have_text("种种")
    chat.at_rest()
    [conversation] = double.conversations.values()
    names = [file.name for file in conversation.files.values()]  # type: ignore[union-attr]
    assert names == [Path(name).name for name in KINDS]
    expect(chat.page).to_have_title("种种 – AppBuilder")


def uploaded(chat: Chat) -> APIResponse:
    """A page of HTML is uploaded by hand, as a program would; returns the answer to a GET of it."""
    with chat.page.expect_response("**/project/file?*") as sent:
        drop(chat, PAGE_OF_HTML)
    session = sent.value.url.partition("session_id=")[2].partition("&")[0]
    file_id = sent.value.json()["id"]
    return chat.page.request.get(f"{chat.address}/project/file/{file_id}?session_id={session}")


def test_a_file_of_html_is_never_a_page_of_ours(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    chat = open_page(server)
    answer = uploaded(chat)
    assert (answer.status, answer.body()) == (200, PAGE_OF_HTML["buffer"])
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"


def test_another_users_file_is_not_there(
    server: Server, double: AppDouble, open_page: OpenPage, watch: Watch
) -> None:
    watch.allowed.append("status of 40[14]")
    path = uploaded(open_page(server)).url.partition(str(server.port))[2]
    other = open_page(server, host=STRANGER)
    status, body = other.page.evaluate(ASK, [path, None])
    assert status in (401, 404)
    assert "stolen" not in body
    session = path.partition("?")[2]
    assert other.page.evaluate(ASK, [f"/project/file?{session}", "x"])[0] in (401, 404)


def test_a_page_without_uploads_has_no_such_routes(served: Serve, open_page: OpenPage) -> None:
    chat = open_page(served("echo"))
    expect(chat.page.locator("#upload-button")).to_have_count(0)
    for ask in (chat.page.request.get, chat.page.request.post):
        for path in ("/project/file", "/project/file/0f0e0d0c-0000-4000-8000-000000000000"):
            assert ask(f"{chat.address}{path}?session_id=0f0e0d0c-0000-4000-8000-000000000000").status == 404
    chat.page.evaluate(DROP, [])
    chat.ask("没有文件")
    expect(chat.answer).to_have_text("没有文件")
    expect(attached(chat)).to_have_count(0)


def test_a_service_that_fails_is_told_and_the_conversation_goes_on(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    chat = open_page(server)
    double.reply(AppReply(status=500))
    chat.ask("一")
    expect(chat.answer).to_contain_text("模型服务出错了")
    chat.at_rest()
    double.reply(AppReply(pieces=["半", "句"], cut_after=2))
    chat.ask("二")
    expect(chat.answers.filter(has_text="半")).to_have_count(1)
    expect(chat.answers.filter(has_text="模型服务出错了")).to_have_count(2)
    chat.at_rest()
    chat.ask("三")
    expect(chat.answer).to_have_text("三")
    chat.at_rest()
    states = [row["message_value"]["state"] for row in stored(server, TURN_KEY, session_id=chat.session_id)]
    assert states == ["failed", "failed", "complete"]


def test_stop_ends_the_services_answer_and_keeps_the_conversation(
    server: Server, double: AppDouble, open_page: OpenPage
) -> None:
    chat = open_page(server)
    left = double.left
    double.reply(AppReply(pieces=["半", "句"], silent_after=2))
    chat.ask("说")
    expect(chat.answer).to_have_text("半")
    chat.stop_button.click()
    expect(chat.answer).to_contain_text("已停止")
    double.wait_for_left(left + 1)
    chat.at_rest()
    chat.ask("再说")
    expect(chat.answer).to_have_text("再说")
    assert conversations(double) == [["说", "再说"]]


# Without a browser: what no page sends


def upload(somebody: Client, session_id: str, name: str, data: bytes) -> Any:
    """The answer to an upload."""
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    body = f"{head}Content-Type: text/plain\r\n\r\n".encode() + data + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    return somebody.request("POST", f"/project/file?session_id={session_id}", body, kind)


def say_with(chat: Talk, words: str, references: Any) -> str:
    """Sends a message with these references to files; the answer's text."""
    message_id = str(uuid4())
    message = {"id": message_id, "threadId": "", "name": "User", "type": "user_message", "output": words,
               "createdAt": "2026-01-01T00:00:00.000Z"}
    chat.emit("client_message", {"message": message, "fileReferences": references})
    return chat.answer(message_id)


def test_nobody_sends_another_users_file_or_one_of_this_machine(server: Server, double: AppDouble) -> None:
    mine, other = Client(server.port).enter(), Client(server.port, FOREIGN_HOST).enter()
    with mine.connect() as chat, other.connect() as another:
        file_id = upload(mine, chat.session_id, "mine.txt", b"mine").json["id"]
        assert upload(other, chat.session_id, "theirs.txt", b"x").status in (401, 404)
        own = upload(other, another.session_id, "own.txt", b"own").json["id"]
        forged = [{"id": file_id}, {"id": "../../etc/passwd"}, {"path": "/etc/passwd", "id": own},
                  {"id": None}, "/etc/passwd", None, {"id": [own]}]
        say_with(another, "看", forged)
        for odd in ("/etc/passwd", {"id": file_id}, None, 5):
            say_with(another, "再看", odd)
    [conversation] = double.conversations.values()
    [file] = conversation.files.values()
    assert (file.name, file.data) == ("own.txt", b"own")  # type: ignore[union-attr]


def test_an_upload_that_is_too_large_or_unfit_is_told_and_nothing_kept(
    server: Server, double: AppDouble
) -> None:
    somebody, before = Client(server.port).enter(), len(server.log)
    with somebody.connect() as chat:
        assert upload(somebody, chat.session_id, "a.txt", bytes(34 << 20)).status == 413
        assert upload(somebody, chat.session_id, "a.txt", b"").status == 400
        assert upload(somebody, chat.session_id, "", b"x").status in (400, 422)
        assert upload(somebody, str(uuid4()), "a.txt", b"x").status == 404
        assert upload(somebody, "../../x", "a.txt", b"x").status == 404
        assert upload(somebody, chat.session_id, "a.txt", b"x").status == 200
    assert "Traceback" not in server.log[before:]


def test_one_page_takes_so_many_files(server: Server, double: AppDouble) -> None:
    somebody = Client(server.port).enter()
    with somebody.connect() as chat, somebody.connect() as another:
        for number in range(MOST_KEPT):
            assert upload(somebody, chat.session_id, f"{number}.txt", b"x").status == 200
        refused = upload(somebody, chat.session_id, "one more.txt", b"x")
        assert (refused.status, refused.json["code"]) == (413, 413)
        assert upload(somebody, another.session_id, "a.txt", b"x").status == 200
