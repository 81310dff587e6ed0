"""Which session a request names."""

from __future__ import annotations

from appbuilder.protocols.chat import Header, id_in
from appbuilder.protocols.openai import open_webui

SESSION_ID_HEADER = "X-Appbuilder-Session-Id"


def named_session(header: Header, in_body: str | None) -> str | None:
    """The session a request names, in the first of these places: our header, Open WebUI's, the body.

    :raises InvalidRequest: our header holds no id.
    """
    return id_in(header, SESSION_ID_HEADER) or open_webui.session_of(header) or in_body


def is_open_webui_chat(header: Header) -> bool:
    """Whether it is Open WebUI's header that names the session."""
    return not id_in(header, SESSION_ID_HEADER) and open_webui.session_of(header) is not None
