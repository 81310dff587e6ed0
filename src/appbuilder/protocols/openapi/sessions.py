"""What the OpenAPI document says of sessions and runs; pure."""

from __future__ import annotations

from typing import Any

from appbuilder.protocols.openapi.parts import (
    ID,
    TIME,
    body,
    content,
    enveloped,
    members,
    parameter,
    problems,
    ref,
)

MOST_LISTED = 100
"""Sessions of one page."""
MOST_TURNS = 100
"""Turns of one page."""
USUAL_LIMIT = 20
LONGEST_SEARCH = 300
LONGEST_TITLE = 1000
"""Characters of a title that may be sent; what is kept of it is shorter."""
LONGEST_COMMENT = 4000
LONGEST_ID = 1000
"""Characters of an id that is asked for: the SDK has written longer ones than it may have now."""
JSON_LINES = "application/x-ndjson"
FORMATS = ("jsonl", "openai")


def _operation(
    tag: str,
    name: str,
    summary: str,
    found: dict[str, Any],
    *statuses: str,
    parameters: tuple[dict[str, Any], ...] = (),
    sent: dict[str, Any] | None = None,
    about: str = "",
) -> dict[str, Any]:
    operation: dict[str, Any] = {"tags": [tag], "operationId": name, "summary": summary}
    if about:
        operation["description"] = about
    if parameters:
        operation["parameters"] = list(parameters)
    if sent is not None:
        operation["requestBody"] = sent
    usual = {"400", "401", "403", "429", "503"}
    operation["responses"] = {"200": found, **problems(*sorted({*usual, *statuses}))}
    return operation


def _query(name: str, text: str, **schema: Any) -> dict[str, Any]:
    return parameter("query", name, text, schema)


def _limit(text: str, most: int) -> dict[str, Any]:
    return _query("limit", text, type="integer", minimum=1, maximum=most, default=USUAL_LIMIT)


_STORED_ID = {**ID, "maxLength": LONGEST_ID}
_SESSION_ID = parameter(
    "path", "session_id", "Percent-encoded, a slash in it too.", _STORED_ID, required=True
)
_TURN_ID = parameter("path", "turn_id", "As the session's turns name it.", _STORED_ID, required=True)
_RUN_ID = parameter("path", "run_id", "As the list of runs names it.", ID, required=True)
_LONGEST_OWNER = 300
_USER = _query("user", "Of this user; for administrators, and the user.", type="string", minLength=1,
               maxLength=_LONGEST_OWNER)
_OWNER = _query("owner", "The same, as sessions name their owner: `user:ann`, `local`, `visitor:...`.",
                type="string", minLength=1, maxLength=_LONGEST_OWNER)
_ALL = _query("all", "Everybody's; for administrators.", type="boolean", default=False)
# Not of spaces alone.
_TITLE = {"type": "string", "maxLength": LONGEST_TITLE, "pattern": r"[^\s\x00-\x1f\x7f-\x9f]",
          "example": "About the weather"}
_FORMAT = _query("format", "`jsonl` keeps everything; `openai` what was said, as messages.",
                 type="string", enum=list(FORMATS), default=FORMATS[0])
_LINES = content(
    {"description": "A session is one line, followed by a line for each of its rows; of OpenAI's messages "
                    "one line a session."},
    "JSON Lines.",
    JSON_LINES,
)
_IMPORTED = members(
    {
        "imported": {
            "type": "array",
            "items": members({"session_id": {"type": "string"}, "rows": {"type": "integer"}}),
        },
        "existing": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Ids that are taken; these sessions were left out.",
        },
        "empty": {"type": "integer", "description": "How many sessions without a turn were left out."},
    }
)

PATHS: dict[str, Any] = {
    "/sessions": {
        "get": _operation(
            "Sessions",
            "list_sessions",
            "List sessions, the one with the newest turn first",
            enveloped(ref("SessionPage")),
            parameters=(
                _limit("Sessions of a page.", MOST_LISTED),
                _query("cursor", "`next` of the page before.", type="string"),
                _query("search", "Text in the title, in upper or lower case.", type="string",
                       maxLength=LONGEST_SEARCH),
                _USER, _OWNER, _ALL,
            ),
        ),
        "delete": _operation(
            "Sessions",
            "erase_user",
            "Erase a user",
            enveloped(members({"sessions": {"type": "integer", "description": "How many were erased."}})),
            "409",
            parameters=({**_USER, "example": "NAME"}, _OWNER),
            about="Stops the turns of the user, and takes all sessions of the user out of the database, "
                  "those deleted before too. It cannot be undone. `user` or `owner` must be there.",
        ),
    },
    "/sessions/export": {
        "get": _operation(
            "Sessions",
            "export_sessions",
            "Export all sessions of the caller",
            _LINES,
            parameters=(_FORMAT, _USER, _OWNER, _ALL),
        )
    },
    "/sessions/import": {
        "post": _operation(
            "Sessions",
            "import_sessions",
            "Import sessions",
            enveloped(_IMPORTED),
            "409", "413", "415",
            parameters=(
                _query("ids", "`new`: each session gets a new id, so that it can be there twice.",
                       type="string", enum=["keep", "new"], default="keep"),
                _query("all", "Owners stay as the file has them, for administrators; otherwise the sessions "
                              "are the caller's.", type="boolean", default=False),
            ),
            sent=body({"description": "What an export gave."}, JSON_LINES),
            about="A file with a line that cannot be read, or with too many sessions or lines, is "
                  "refused, and nothing of it is imported. If the client leaves, what was stored until "
                  "then stays. Each session is imported whole, or left out where its id is taken; 400 if "
                  "all are, 409 if one of them is taken by a turn under way.",
        )
    },
    "/sessions/{session_id}": {
        "get": _operation(
            "Sessions",
            "read_session",
            "Read a session and its newest turns",
            enveloped(ref("SessionWithTurns")),
            "404",
            parameters=(
                _SESSION_ID,
                _limit("Turns of a page; fewer where their texts are large.", MOST_TURNS),
                _query("cursor", "`next` of the page before, for earlier turns.", type="string"),
            ),
        ),
        "patch": _operation(
            "Sessions",
            "rename_session",
            "Rename a session",
            enveloped(ref("Session")),
            "404", "413", "415",
            parameters=(_SESSION_ID,),
            sent=body(members({"title": _TITLE})),
            about="A title is one line of at most 80 characters; a longer one is cut.",
        ),
        "delete": _operation(
            "Sessions",
            "delete_session",
            "Delete a session",
            enveloped(members({"session_id": {"type": "string"}})),
            "404", "409",
            parameters=(_SESSION_ID,),
            about="Stops its turns first. What the component remembers of it goes with it.",
        ),
    },
    "/sessions/{session_id}/export": {
        "get": _operation(
            "Sessions", "export_session", "Export a session", _LINES, "404", parameters=(_SESSION_ID, _FORMAT)
        )
    },
    "/sessions/{session_id}/turns/{turn_id}/rating": {
        "put": _operation(
            "Sessions",
            "rate_turn",
            "Rate an answer",
            enveloped(ref("Rating")),
            "404", "413", "415",
            parameters=(_SESSION_ID, _TURN_ID),
            sent=body(ref("Rating")),
        ),
        "delete": _operation(
            "Sessions",
            "unrate_turn",
            "Take a rating back",
            enveloped({"type": "null"}),
            "404",
            parameters=(_SESSION_ID, _TURN_ID),
        ),
    },
    "/runs": {
        "get": _operation(
            "Runs",
            "list_runs",
            "List the turns under way, the oldest first",
            enveloped(members({"runs": {"type": "array", "items": ref("Run")}})),
            parameters=(_USER, _OWNER),
            about="The caller's own; for administrators everybody's. Those of other workers are as of a "
                  "second ago.",
        )
    },
    "/runs/{run_id}": {
        "get": _operation("Runs", "read_run", "Read a run", enveloped(ref("Run")), "404",
                          parameters=(_RUN_ID,)),
        "delete": _operation("Runs", "end_run", "Stop a run", enveloped(ref("Stopped")), "404",
                             parameters=(_RUN_ID,)),
    },
    "/runs/{run_id}/stop": {
        "post": _operation("Runs", "stop_run", "Stop a run", enveloped(ref("Stopped")), "404",
                           parameters=(_RUN_ID,),
                           about="In whichever worker it is. What was answered so far is kept, and marked "
                                 "as incomplete."),
    },
}

_TEXT = {"type": "string"}
_NULLABLE = ["string", "null"]
_SESSION = {
    "session_id": {"type": "string"},
    "owner": {"type": _NULLABLE, "description": "null: the owner is unknown."},
    "title": {"type": "string"},
    "created_at": TIME,
    "updated_at": {**TIME, "description": "When its newest turn was stored; in UTC."},
}
_NEXT = {"type": _NULLABLE, "description": "The cursor of what comes after; null: nothing does."}

SCHEMAS: dict[str, Any] = {
    "Session": members(_SESSION),
    "SessionPage": members({"sessions": {"type": "array", "items": ref("Session")}, "next": _NEXT}),
    "SessionWithTurns": members(
        {
            **_SESSION,
            "turns": {"type": "array", "items": ref("Turn"), "description": "In the order they were said."},
            "next": {**_NEXT, "description": "The cursor of earlier turns; null: there are none."},
        }
    ),
    "Turn": members(
        {
            "id": {"type": "string"},
            "request_id": {"type": "string"},
            "created_at": {**TIME, "description": "When it was stored; in UTC."},
            "milliseconds": {"type": ["integer", "null"], "description": "How long the answer took."},
            "state": {"enum": ["complete", "incomplete", "failed"]},
            "input": {"description": "What was asked; null: nothing."},
            "answer": {"description": "What was answered; null: nothing."},
            "token_usage": {"type": "object", "description": "As the model's server counted."},
            "error": {
                "anyOf": [members({"kind": _TEXT, "text": _TEXT}), {"type": "null"}],
                "description": "Why it failed.",
            },
            "rating": {"anyOf": [ref("Rating"), {"type": "null"}]},
        }
    ),
    "Rating": {
        **members(
            {
                "good": {"type": "boolean"},
                "comment": {"type": "string", "maxLength": LONGEST_COMMENT, "default": ""},
            },
            optional=("comment",),
        ),
    },
    "Run": members(
        {
            "id": {"type": "string"},
            "session_id": {"type": "string"},
            "request_id": {"type": "string"},
            "owner": {"type": _NULLABLE},
            "started_at": TIME,
            "state": {"enum": ["waiting", "running", "stopping"]},
            "worker": {"type": "string", "description": "The process, as host:pid."},
            "pieces": {"type": ["integer", "null"],
                       "description": "How many of the answer are there; null: it runs in another worker."},
        }
    ),
    "Stopped": members({"id": {"type": "string"}, "state": {"const": "stopping"}}),
}
