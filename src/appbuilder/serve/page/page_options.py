"""What a chat page looks like and who may use it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Starter:
    """A suggested first question: what its button says, and what is asked (the same, if not given)."""

    label: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class TrustedHeader:
    """Users come with a header that a proxy in front has set.

    :param name: the header's name, ``X-Forwarded-User`` for instance.
    :param proxies: addresses or networks the proxy connects from (``10.0.0.0/8``); from everywhere else the
        header is ignored.
    """

    name: str
    proxies: Sequence[str] = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Page:
    """A chat page.

    :param name: of the assistant; empty: the component's.
    :param icon: an image file (SVG, PNG...) for the assistant; None: the component's ``icon``, or ours.
    :param starters: suggested first questions; None: the component's ``starters``.
    :param theme: ``light`` or ``dark``; None: as the browser prefers.
    :param description: one sentence under the name on a page without messages; empty: the component's
        ``description``, or ours.
    :param users: name -> password, or what ``werkzeug.security.generate_password_hash`` makes of one. Users
        log in, and each sees only their own conversations.
    :param user_header: users come from a proxy that has logged them in.
    :param administrators: users who also see conversations begun over ``POST /chat``.
    :param debug: shows errors with their traceback, and what *steps* does.
    :param steps: shows each model call as a step that folds open: model, prompt, answer, tokens, time.
    :param uploads: lets users give files with a message; the component finds them in
        ``get_context().attachments``.
    :param image_hosts: sites that images and sounds in answers may be loaded from
        (``https://images.example.com``); by default none, so that an answer cannot tell anything to a
        other host by an image's address.

    Without *users* and *user_header* there is no login: a browser on this machine is the one local user, and
    every other browser is a visitor who sees only what it began itself.
    """

    name: str = ""
    icon: str | Path | None = None
    starters: Sequence[Starter | str] | None = None
    theme: Literal["light", "dark"] | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    user_header: TrustedHeader | None = None
    administrators: Collection[str] = ()
    debug: bool = False
    steps: bool = False
    uploads: bool = False
    image_hosts: Sequence[str] = ()
    description: str = ""
