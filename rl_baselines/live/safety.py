"""What a visdom server must not take in as it comes: whose request it is, names of environments, texts with code."""

import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
ALLOWED_TAGS = (
    "b|blockquote|br|code|dd|div|dl|dt|em|h[1-6]|hr|i|li|ol|p|pre|s|small|span|strong|sub|sup|table|tbody|td|tfoot|th|"
    "thead|tr|u|ul"
)
ALLOWED_HTML = re.compile(rf"(</?(?:{ALLOWED_TAGS}) ?/?>|&(?:\w+|#[0-9]+|#x[0-9a-f]+);)", re.IGNORECASE | re.ASCII)
"""Tags for formatting, without attributes, and characters that are escaped already."""
NAME_KEYS = ("eid", "prev_eid")
TEXT_KEYS = ("content", "html")
MAX_NAME_LENGTH = 200


def is_own_request(headers: Mapping[str, str]) -> bool:
    """Tell whether a request names this machine as its host and comes from no page but the server's own.

    The first foils sites whose name resolves to this machine, the second any other site open in the same browser.

    :param headers: of the request
    """
    host, origin = headers.get("Host", ""), headers.get("Origin")
    try:
        is_own_host = urlsplit(f"//{host}").hostname in OWN_HOSTS
        return is_own_host and (origin is None or urlsplit(origin).netloc == host)
    except ValueError:
        return False


def content_security_policy(nonce: str) -> str:
    """Give the header by which a browser runs no script but the server's files, and asks no other host for anything.

    :param nonce: names the one script that stands in the page itself
    """
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def safe_name(name: str) -> str:
    """Give the name of an environment without what is special in HTML, scripts, addresses and paths."""
    return re.sub(r"[^\w .,:=@()-]", "_", name, flags=re.ASCII)[:MAX_NAME_LENGTH] or "main"


def make_safe(message: Any) -> bool:
    """Make names and texts safe in a message from a client, in place.

    :param message: decoded JSON
    :return: whether something was not safe
    """
    changed = False
    if isinstance(message, dict):
        for key, value in message.items():
            safe = value
            if key in NAME_KEYS and isinstance(value, str):
                safe = safe_name(value)
            elif key in TEXT_KEYS:
                safe = _safe_texts(value)
            if safe != value:
                message[key] = safe
                changed = True
            changed |= make_safe(safe)
    elif isinstance(message, list):
        for part in message:
            if isinstance(part, dict | list):
                changed |= make_safe(part)
    return changed


def _safe_texts(value: Any) -> Any:
    """Give a text, or lists of texts, which the page would join to one, as `safe_html` does."""
    if isinstance(value, str):
        return safe_html(value)
    return [_safe_texts(part) for part in value] if isinstance(value, list) else value


def safe_html(text: str) -> str:
    """Give HTML with bare tags for formatting only; anything else is shown as it is written.

    Text that is safe already stays as it is.
    """
    parts = ALLOWED_HTML.split(text)
    parts[::2] = [html.escape(part, quote=False) for part in parts[::2]]
    return "".join(parts)
