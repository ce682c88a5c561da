"""A persistent connection to a visdom server, by the standard library alone."""

import hashlib
import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from rl_baselines.errors import UsageError
from rl_baselines.live.surroundings import credentials

LOOPBACK = "127.0.0.1"
MAX_ANSWER_BYTES = 64 * 2**20
PROBE_TIMEOUT_S = 2.0


class VisdomError(ConnectionError):
    """A visdom server refused something, or what answered is none."""


def check_port(port: int, what: str = "--port") -> int:
    """Give the port back.

    :param what: what named it, for the message
    :raises UsageError: when it is out of range
    """
    if not 1 <= port <= 65535:
        raise UsageError(f"{what} must be from 1 to 65535, got {port}")
    return port


@dataclass(frozen=True)
class Address:
    """Where a visdom server answers.

    :param host: name or IP address, an IPv6 one without brackets
    :param is_secure: whether it speaks HTTPS
    """

    host: str
    port: int
    is_secure: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_secure else 'http'}://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``http://host:port``.

        :raises UsageError: for anything else
        """

        def wrong(why: str) -> UsageError:
            shown = re.sub(r"//.*@", "//...@", text)  # never repeat a password
            return UsageError(
                f"the address of a visdom server is http://HOST:PORT or https://HOST:PORT, got {shown!r}: {why}"
            )

        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise wrong("its port must be a number from 1 to 65535, and an IPv6 address stand in brackets") from None
        if parts.scheme not in ("http", "https"):
            raise wrong("it must begin with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise wrong("user and password are given by VISDOM_USERNAME and VISDOM_PASSWORD")
        if not parts.hostname or re.search(r"\s", parts.hostname):
            raise wrong("it names no host")
        if port is None:
            raise wrong(f"it names no port; visdom's own is {parts.scheme}://{parts.netloc.rstrip(':')}:8097")
        if not port:
            raise wrong("its port must be a number from 1 to 65535")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise wrong("nothing may follow the port")
        return cls(parts.hostname, port, parts.scheme == "https")


def loopback(port: int) -> Address:
    """Give the address of a port of this machine."""
    return Address(LOOPBACK, port)


def url_of(address: Address, page: str) -> str:
    """Give the address of a page for people."""
    return f"{_for_people(address)}/env/{quote(page)}"


def _for_people(address: Address) -> Address:
    return Address("localhost", address.port, address.is_secure) if address.host == LOOPBACK else address


class Connection:
    """Posts messages to a visdom server, and keeps the connection open between them.

    A server that asks for a login gets the one of the environment variables, not before it asks.

    :param timeout: seconds that the server may take to accept, and to answer each time
    """

    def __init__(self, address: Address, timeout: float = 3.0) -> None:
        self.address = address
        kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
        self._http = kind(address.host, address.port, timeout=timeout)
        self._cookie: str | None = None

    def post(self, path: str, message: Mapping[str, Any]) -> str:
        """Post a message as JSON.

        :param path: such as ``/events``
        :return: the body of the answer
        :raises OSError: when there is no answer, or a refusal; the connection is closed then, and opened anew next time
        :raises ValueError: when the message holds what JSON cannot say, such as infinity; nothing is sent then
        """
        status, text = self.request("POST", path, message)
        if status == http.client.BAD_REQUEST and not text:
            self._log_in()
            status, text = self.request("POST", path, message)
        if status != http.client.OK:
            self.close()
            raise VisdomError(f"the server at {self.address} answered {status} to {path}")
        return text

    def close(self) -> None:
        """Close the connection; the next message opens it anew."""
        self._http.close()

    def request(self, method: str, path: str, message: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """Ask for a path, without logging in.

        :param message: the body, sent as JSON
        :return: status and body of the answer
        :raises OSError: when there is no answer
        :raises ValueError: when the message holds what JSON cannot say
        """
        body = None if message is None else json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self._cookie is not None:
            headers["Cookie"] = self._cookie
        try:
            self._http.request(method, path, body, headers)
            answer = self._http.getresponse()
            content = answer.read(MAX_ANSWER_BYTES)
            if answer.length or len(content) == MAX_ANSWER_BYTES:
                raise VisdomError(f"the server at {self.address} answered {path} in part only")
        except http.client.HTTPException as error:
            self.close()
            what = str(error) or type(error).__name__
            raise VisdomError(f"what answers at {self.address} does not speak HTTP: {what}") from error
        except OSError:
            self.close()
            raise
        cookie = answer.getheader("Set-Cookie")
        if cookie is not None:
            self._cookie = cookie.partition(";")[0]
        return answer.status, content.decode(errors="replace")

    def _log_in(self) -> None:
        """Log in as visdom's page does: the SHA-256 of the password is posted, the answer brings a cookie."""
        given = credentials()
        if given is None:
            self.close()
            raise VisdomError(f"the server at {self.address} asks for a login: set VISDOM_USERNAME and VISDOM_PASSWORD")
        self._cookie = None
        password = hashlib.sha256(given.password.encode()).hexdigest()
        status, _ = self.request("POST", "/", {"username": given.user, "password": password})
        if status != http.client.OK or self._cookie is None:
            self.close()
            raise VisdomError(f"the server at {self.address} refuses the login of VISDOM_USERNAME and VISDOM_PASSWORD")


def environments(address: Address, timeout: float = PROBE_TIMEOUT_S) -> list[str]:
    """Give the names of the environments, visdom's word for pages of windows, that a server shows.

    :raises OSError: when no visdom server answers
    """
    connection = Connection(address, timeout)
    try:
        names = _environments(connection.post("/env_state", {}))
    finally:
        connection.close()
    if names is None:
        raise VisdomError(f"what answers at {address} is not visdom")
    return names


def is_visdom(address: Address, timeout: float = PROBE_TIMEOUT_S) -> bool:
    """Tell whether a visdom server answers there, also one that asks for a login. Nobody is logged in for this."""
    connection = Connection(address, timeout)
    try:
        status, text = connection.request("POST", "/env_state", {})
        if status == http.client.BAD_REQUEST and not text:
            return "<title>Visdom Login</title>" in connection.request("GET", "/")[1]
        return status == http.client.OK and _environments(text) is not None
    except OSError:
        return False
    finally:
        connection.close()


def _environments(answer: str) -> list[str] | None:
    """Read the answer to ``/env_state``: None for what no visdom server says."""
    try:
        names = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
