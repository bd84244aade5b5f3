"""The token: who may pass the gate, by header, by cookie, or by a link that works once."""

import hmac
import html
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256

from tinychat.errors import SettingsError

TRIES = 5  # wrong tokens before an address has to wait
LONGEST_WAIT = 60.0
_ADDRESSES = 1024
_TOKEN = re.compile(r"[!-~]{16,256}")
_SESSION_SECONDS = 30 * 24 * 3600


class Access:
    """Judges credentials. Everything secret is compared in constant time.

    After five wrong tokens an address waits before its next is looked at, twice as long each time.
    A cookie cannot be guessed, so a browser that has signed in never waits for others' mistakes.
    """

    def __init__(
        self,
        token: str,
        *,
        on_link: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_link` is told the next key whenever one was used. Raises SettingsError for a token
        that is easily guessed."""
        if not _TOKEN.fullmatch(token):
            raise SettingsError(
                "The token must be 16 to 256 characters of plain ASCII without spaces; this makes "
                "a good one: python -c 'import secrets; print(secrets.token_urlsafe(24))'"
            )
        self._token = token.encode()
        self._session = hmac.new(self._token, b"tinychat session", sha256).hexdigest()
        self._key = secrets.token_urlsafe(24)
        self._on_link = on_link
        self._clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}  # how many, and when the next may come

    @property
    def key(self) -> str:
        """What `?token=` must be in the next link that signs a browser in."""
        return self._key

    def wait_of(self, address: str) -> int:
        """Seconds until a token from that address is looked at."""
        _, until = self._wrong.get(address, (0, 0.0))
        return max(0, int(until - self._clock() + 0.999))

    def has_token(self, given: bytes, address: str) -> bool:
        """Whether an Authorization header carries the token."""
        scheme, _, value = given.partition(b" ")
        right = scheme.lower() == b"bearer" and hmac.compare_digest(value.strip(), self._token)
        self._count(address, right)
        return right

    def has_cookie(self, cookies: bytes, name: str) -> bool:
        """Whether a Cookie header carries the session."""
        for cookie in cookies.split(b";"):
            key, _, value = cookie.strip().partition(b"=")
            if key == name.encode() and hmac.compare_digest(value, self._session.encode()):
                return True
        return False

    def use_link(self, given: str, address: str) -> bool:
        """Sign in by a link's key. It works once; the next one is then told."""
        right = hmac.compare_digest(given.encode(), self._key.encode())
        self._count(address, right)
        if right:
            self._key = secrets.token_urlsafe(24)
            if self._on_link is not None:
                self._on_link(self._key)
        return right

    def cookie(self, name: str) -> str:
        """The Set-Cookie header of a browser that has signed in."""
        return (
            f"{name}={self._session}; Path=/; Max-Age={_SESSION_SECONDS}; HttpOnly; SameSite=Strict"
        )

    def _count(self, address: str, right: bool) -> None:
        if right:
            self._wrong.pop(address, None)
            return
        times = self._wrong.pop(address, (0, 0.0))[0] + 1
        wait = min(LONGEST_WAIT, 2.0 ** min(times - TRIES, 10)) if times >= TRIES else 0.0
        while len(self._wrong) >= _ADDRESSES:  # whoever tried longest ago
            del self._wrong[next(iter(self._wrong))]
        self._wrong[address] = (times, self._clock() + wait)


def page(title: str, text: str, *, onward: bool = False) -> bytes:
    """A small page for a browser at the gate. `onward` goes to the start page by itself."""
    refresh = '<meta http-equiv="refresh" content="0;url=/">' if onward else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"{refresh}<title>{html.escape(title)}</title>"
        '<body style="font-family:system-ui;max-width:40em;margin:4em auto;padding:0 1em">'
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></body></html>"
    ).encode()
