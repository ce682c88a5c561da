"""The servers of the live view: started once, found again, safe from others, and ended."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import ROOT, call, environment
from live_servers import (
    ask,
    curve_window,
    free_port,
    http_answer,
    own_cache,
    post,
    something_else,
    stored,
    text_window,
    wait_until,
)

from rl_baselines.errors import UsageError
from rl_baselines.live import main, servers
from rl_baselines.live.assets import static_folder
from rl_baselines.live.connection import Address, Connection, VisdomError, environments, is_visdom, loopback
from rl_baselines.live.safety import safe_html, safe_name
from rl_baselines.live.server_records import running

IMAGE = '<img src=x onerror="alert(1)">'
SAFE_IMAGE = '&lt;img src=x onerror="alert(1)"&gt;'
VISDOM_ANSWER = http_answer('["main"]')


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_cache(tmp_path / "cache", monkeypatch) as folder:
        yield folder


@pytest.fixture
def port(cache: Path) -> int:
    """The port of a running server."""
    said: list[str] = []
    address = servers.find_or_start(free_port(), said.append)
    assert address is not None and said == []
    return address.port


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[Any]"]]:
    """Processes that are killed in the end."""
    processes: list[subprocess.Popen[Any]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def serve(cache: Path, *flags: object) -> tuple["subprocess.Popen[Any]", int]:
    """A server in the foreground with settings of its own, once it answers."""
    port = free_port()
    given = ("--port", port, "--static", static_folder(), "--env-path", cache / "environments", *flags)
    command = [sys.executable, "-m", "rl_baselines.live.server", *map(str, given)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    wait_until(lambda: is_visdom(loopback(port)))
    return process, port


def test_server_starts_once_and_is_found_again(cache: Path) -> None:
    """Whoever comes next uses the server that is there; it outlives its starter and listens on loopback only."""
    port, said = free_port(), list[str]()
    began = time.monotonic()
    assert servers.find_or_start(port, said.append) == Address("127.0.0.1", port)
    print(f"a server starts in {time.monotonic() - began:.2f} s")
    (info,) = running()
    assert servers.find_or_start(port, said.append) == Address("127.0.0.1", port)
    assert (running(), said) == ([info], [])
    assert (info.port, info.env_path) == (port, str(cache / "environments"))
    assert os.getsid(info.pid) != os.getsid(0)
    assert environments(loopback(port)) == ["main"]
    with pytest.raises(ConnectionRefusedError):
        Connection(Address("127.0.0.2", port)).post("/env_state", {})


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
UPGRADE["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    ("method", "path", "headers", "granted"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/env/main", {}, 200),
        ("POST", "/events", {}, 200),
        ("GET", "/socket", UPGRADE, 101),
        ("GET", "/vis_socket", UPGRADE, 101),
    ],
)
def test_only_the_own_page_and_programs_are_answered(
    port: int, method: str, path: str, headers: dict[str, str], granted: int
) -> None:
    """A foreign host name or the page of another site gets 403, the own page and programs what they ask for."""
    body = json.dumps(text_window("hello")).encode() if method == "POST" else None

    def status(**more: str) -> int:
        return ask(port, method, path, body, **headers, **more).status

    own = {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "localhost:1234"}
    assert {host: status(Host=host) for host in own} == dict.fromkeys(own, granted)
    assert status(Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == granted
    foreign = ("attacker.example", f"attacker.example:{port}", f"127.0.0.1.attacker.example:{port}", "[", "192.168.0.1")
    assert {host: status(Host=host) for host in foreign} == dict.fromkeys(foreign, 403)
    sites = ("http://attacker.example", "null", f"http://localhost:{port + 1}", "http://localhost", "http://[", "")
    refused = {site: status(Host=f"localhost:{port}", Origin=site) for site in sites}
    assert refused == dict.fromkeys(sites, 403)


def test_closing_page_disturbs_nobody(port: int) -> None:
    """While a page is being closed, others open and a writer writes as if it were not there."""
    page = {"Host": f"localhost:{port}", **UPGRADE}
    answers = [ask(port, "GET", "/socket", **page).status for _ in range(100)]
    assert answers == [101] * 100
    with contextlib.ExitStack() as closed_together:
        for _ in range(20):
            one = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            one.request("GET", "/socket", headers={name.replace("_", "-"): value for name, value in UPGRADE.items()})
            assert one.getresponse().status == 101
            closed_together.callback(one.close)
    assert [post(port, "/events", text_window("x", env="main")) for _ in range(50)] == ["text"] * 50


def test_page_forbids_foreign_scripts_and_hosts(port: int) -> None:
    """The page names its own script by a number that is new each time, and allows no other that stands in it."""
    policies = [ask(port, "GET", "/").getheader("Content-Security-Policy") or "" for _ in range(2)]
    assert policies[0] != policies[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].startswith("'self' 'nonce-") and "unsafe" not in rules["script-src"]
    assert rules["connect-src"] == "'self'"


@pytest.mark.parametrize(
    ("posted", "safe"),
    [
        ("<pre>a &lt;b&gt; &amp; c</pre>", "<pre>a &lt;b&gt; &amp; c</pre>"),
        ("plain & simple", "plain &amp; simple"),
        (IMAGE, SAFE_IMAGE),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("<script>alert(1)", "&lt;script&gt;alert(1)"),
        ("<svg/onload=alert(1)>", "&lt;svg/onload=alert(1)&gt;"),
        ('<b onclick="alert(1)">bold</b>', '&lt;b onclick="alert(1)"&gt;bold</b>'),
        ("<b\nonclick=alert(1)>", "&lt;b\nonclick=alert(1)&gt;"),
        ("<b/onclick=alert(1)>", "&lt;b/onclick=alert(1)&gt;"),
        ("<<b>img src=x onerror=alert(1)>", "&lt;<b>img src=x onerror=alert(1)&gt;"),
        ("a<br/>b<br />c<BR>", "a<br/>b<br />c<BR>"),
        ("<a href='javascript:alert(1)'>x</a>", "&lt;a href='javascript:alert(1)'&gt;x&lt;/a&gt;"),
        ("<style>*{}</style>", "&lt;style&gt;*{}&lt;/style&gt;"),
        ("<!--", "&lt;!--"),
        ("&#x3c;i&#62;&lt;&nbsp;&nothing &", "&#x3c;i&#62;&lt;&nbsp;&amp;nothing &amp;"),
        ("1 < 2 <", "1 &lt; 2 &lt;"),
        ("<TABLE><tr><td>1</td></tr></TABLE>", "<TABLE><tr><td>1</td></tr></TABLE>"),
    ],
)
def test_safe_html(posted: str, safe: str) -> None:
    """Formatting stays, what could run is shown as text; what is safe once is not changed again."""
    assert safe_html(posted) == safe
    assert safe_html(safe) == safe


def test_texts_are_safe_however_they_come(port: int) -> None:
    """Neither a new window nor an addition, options, whole windows or lists of texts bring in what runs."""
    post(port, "/events", text_window(f"<pre>a &lt; b</pre>{IMAGE}"))
    assert stored(port, "text")["content"] == f"<pre>a &lt; b</pre>{SAFE_IMAGE}"
    post(port, "/update", {"eid": "run", "win": "text", "data": [{"type": "scatter", "content": IMAGE}]})
    assert stored(port, "text")["content"] == f"<pre>a &lt; b</pre>{SAFE_IMAGE}<br>{SAFE_IMAGE}"
    post(port, "/events", text_window([[IMAGE]]))
    assert stored(port, "text")["content"] == [[SAFE_IMAGE]]
    post(port, "/events", curve_window(3))
    post(port, "/update", {"eid": "run", "win": "reward", "opts": {"content": IMAGE, "type": "text"}})
    assert stored(port, "reward")["content"] == SAFE_IMAGE
    whole = {"command": "window", "id": "w", "type": "text", "content": IMAGE}
    post(port, "/win_data", {"eid": "run", "win": "w", "data": json.dumps(whole)})
    assert stored(port, "w")["content"] == SAFE_IMAGE
    nested = {"selected": {"html": IMAGE}, "data": []}
    post(port, "/events", {"eid": "run", "win": "e", "data": [{"type": "embeddings", "content": nested}]})
    assert stored(port, "e")["content"]["selected"] == {"html": SAFE_IMAGE}
    image = {"src": "data:image/png;base64,iVBORw0KGgo=", "caption": "a < b"}
    post(port, "/events", {"eid": "run", "win": "i", "data": [{"type": "image", "content": image}]})
    assert stored(port, "i")["content"] == image


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b'"text"'])
def test_what_is_no_message_is_refused(port: int, body: bytes) -> None:
    """What is not a JSON object gets 400, and the server goes on."""
    assert ask(port, "POST", "/events", body).status == 400
    assert environments(loopback(port)) == ["main"]


def test_names_of_environments_are_safe(port: int, cache: Path) -> None:
    """A name holds nothing special in a page, a script or a path; the name of a run stays as it is."""
    run = "KukaButtonGymEnv-v0_ground_truth_ppo_26-01-02_03h04_05"
    hostile = (IMAGE, "\\", "'; alert(1); //", "a\nb", "../../escaped", "a+b")
    for name in (run, *hostile):
        post(port, "/events", text_window("x", env=name))
    post(port, "/env/main", {"eid": "../outside"})
    names = environments(loopback(port))
    assert run in names
    assert set(names) == {"main", run, ".._outside", *map(safe_name, hostile)}
    assert safe_name(IMAGE) == "_img src=x onerror=_alert(1)__"
    assert safe_name("a+b/c\\d\n<e>'\"&é") == "a_b_c_d__e_____"
    assert len(safe_name("x" * 5000)) == 200
    servers.stop(port)
    files = {path.stem for path in (cache / "environments").glob("*.json")}
    assert files == set(names)
    assert {path.name for path in cache.parent.iterdir()} == {"cache"}


def test_restart_keeps_what_was_shown(port: int, cache: Path) -> None:
    """A server that starts again shows what the last one did, and saving an environment unseen does not empty it."""
    post(port, "/events", text_window("kept", env="old_run"))
    servers.stop(port)
    assert running() == []
    assert servers.find_or_start(port, pytest.fail) == loopback(port)
    assert set(environments(loopback(port))) == {"main", "old_run"}
    assert post(port, "/save", {"data": ["old_run"]}) == '["old_run"]'
    assert stored(port, "text", "old_run")["content"] == "kept"
    post(port, "/events", text_window("new", env="old_run", window="second"))
    assert stored(port, "text", "old_run")["content"] == "kept"


def test_damaged_file_is_set_aside(port: int, cache: Path) -> None:
    """A file that cannot be read costs its own windows, not the server, and can be written to again."""
    post(port, "/events", text_window("x"))
    servers.stop(port)
    file = cache / "environments" / "run.json"
    file.write_text('{"jsons": {"text"')
    (cache / "environments" / ".run.json.tmp").write_text("{")
    servers.find_or_start(port, pytest.fail)
    assert set(environments(loopback(port))) == {"main", "run"}
    post(port, "/events", text_window("y"))
    assert stored(port, "text")["content"] == "y"
    assert file.with_suffix(".damaged").read_text() == '{"jsons": {"text"'


def test_killed_server_loses_little(cache: Path, started: list["subprocess.Popen[Any]"]) -> None:
    """What was saved meanwhile survives SIGKILL, whole; the record of the dead server is dropped."""
    process, port = serve(cache, "--save-seconds", 0.05)
    started.append(process)
    post(port, "/events", text_window("kept"))
    file = cache / "environments" / "run.json"
    wait_until(file.exists)
    assert [info.port for info in running()] == [port]
    process.kill()
    process.wait()
    assert json.loads(file.read_text())["jsons"]["text"]["content"] == "kept"
    assert running() == []


def test_environment_is_deleted_before_it_was_saved(port: int, cache: Path) -> None:
    """Deleting works for what has no file yet, and removes nothing outside the folder."""
    outside = cache / "outside.json"
    outside.write_text("{}")
    post(port, "/events", text_window("x"))
    post(port, "/delete_env", {"eid": "run"})
    assert environments(loopback(port)) == ["main"]
    post(port, "/env/main", {"eid": "../outside"})
    post(port, "/delete_env", {"eid": "../outside"})
    assert environments(loopback(port)) == ["main"]
    assert outside.read_text() == "{}"


def test_idle_server_ends_and_a_watched_one_does_not(cache: Path, started: list["subprocess.Popen[Any]"]) -> None:
    """Without a writer and without an open page a server ends, having saved; with one of them it goes on."""
    websocket = pytest.importorskip("websocket")
    process, port = serve(cache, "--idle-seconds", 0.6)
    started.append(process)
    page = websocket.create_connection(f"ws://127.0.0.1:{port}/socket")
    time.sleep(1.5)
    assert process.poll() is None
    page.close()
    for _ in range(5):
        time.sleep(0.3)
        post(port, "/events", text_window("last"))
    assert process.poll() is None
    assert process.wait(10) == 0
    assert running() == []
    assert json.loads((cache / "environments" / "run.json").read_text())["jsons"]["text"]["content"] == "last"


def test_terminated_server_saves_and_leaves_no_record(cache: Path, started: list["subprocess.Popen[Any]"]) -> None:
    """SIGTERM ends a server at once with code 0."""
    process, port = serve(cache)
    started.append(process)
    post(port, "/events", text_window("x"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert (cache / "environments" / "run.json").exists()
    assert list((cache / "servers").glob("*.json")) == []


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", http_answer("hello"), http_answer("{}"), None])
def test_port_of_something_else_is_left_alone(cache: Path, answer: bytes | None) -> None:
    """Where something that is not visdom answers, or nothing ever, the next free port is taken, and said."""
    port, said = free_port(), list[str]()
    with something_else(port, answer):
        address = servers.find_or_start(port, said.append)
        assert address == loopback(port + 1)
        line = f"port {port} is taken by something that is not visdom: the live view is at port {port + 1}"
        assert said == [line]
        assert servers.find_or_start(port, said.append) == address, "the same server again"
    assert [info.port for info in running()] == [port + 1]


def test_no_port_is_free(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all ports are taken, one line says so."""
    monkeypatch.setattr(servers, "N_FURTHER_PORTS", 1)
    port, said = free_port(), list[str]()
    with something_else(port, b"x"), something_else(port + 1, b"x"):
        assert servers.find_or_start(port, said.append) is None
    assert said == [
        f"no live view: ports {port} to {port + 1} are taken by something that is not visdom; choose another --port"
    ]


def test_visdom_of_the_user_is_used_as_it_is(cache: Path) -> None:
    """A visdom server that answers already is used; none of ours is started."""
    port = free_port()
    with something_else(port, VISDOM_ANSWER):
        assert servers.find_or_start(port, pytest.fail) == loopback(port)
    assert running() == []


def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the page, or without visdom, one line says what to do, and the command fails with it."""
    monkeypatch.setenv("RL_BASELINES_CACHE", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    said: list[str] = []
    port = free_port()
    if servers.is_visdom_installed():
        assert servers.find_or_start(port, said.append) is None
        assert said.pop() == "no live view: its page is not installed; run: python -m rl_baselines.live install"
        assert call(main, "start", "--port", port).err.startswith("error: no live view: its page is not installed")
    monkeypatch.setattr(servers, "is_visdom_installed", lambda: False)
    assert servers.find_or_start(port, said.append) is None
    assert said == ["no live view: visdom is not installed; docs/install.md says how, or run: make install"]


def test_two_that_start_at_once_share_one_server(cache: Path, started: list["subprocess.Popen[Any]"]) -> None:
    """Two trainings that begin in the same moment end up with one server at the one port."""
    port = free_port()
    command = [sys.executable, "-m", "rl_baselines.live", "start", "--port", str(port)]
    for _ in range(2):
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=60)[0] for process in started]
    assert said == [f"the live view is at http://127.0.0.1:{port}\n"] * 2
    assert [info.port for info in running()] == [port]


def test_status_and_stop_commands(port: int) -> None:
    """What runs is listed with its runs; a server is ended by its port, or all at once; then nothing runs."""
    for number in range(7):
        post(port, "/events", text_window("x", env=f"run_{number}"))
    (info,) = running()
    shown = call(main, "status")
    assert shown.code == 0
    for part in (str(port), str(info.pid), f"http://127.0.0.1:{port}", "run_0", "run_4", "and 2 more"):
        assert part in shown.out
    assert "run_5" not in shown.out

    missing = call(main, "stop", "--port", port + 1)
    assert (missing.code, missing.out) == (2, "")
    assert missing.err == f"error: no server of the live view runs at port {port + 1}; the nearest run at {port}\n"
    assert call(main, "stop").out == f"ended the server at port {port}; what it showed is kept\n"
    assert not is_visdom(loopback(port))
    for verb in ("status", "stop"):
        assert call(main, verb).out == "no server of the live view is running\n"
    nothing = call(main, "stop", "--port", port)
    assert nothing.err == f"error: no server of the live view runs at port {port}, nor at any other\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("start", "--port", 0), "--port must be from 1 to 65535, got 0"),
        (("start", "--port", 65536), "--port must be from 1 to 65535, got 65536"),
        (("stop", "--port", -1), "--port must be from 1 to 65535, got -1"),
        (("strat",), "unknown verb 'strat'; did you mean 'start'?"),
        (("start", "--prot", 1), "unknown flag '--prot'; did you mean --port?"),
        (("status", "--port", 1), "unknown flag '--port'; --help lists them"),
    ],
)
def test_wrong_commands(arguments: tuple[Any, ...], message: str) -> None:
    """A mistake is one line and exit code 2."""
    done = call(main, *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://localhost:8097", Address("localhost", 8097)),
        ("https://plots.example.org:443/", Address("plots.example.org", 443, is_secure=True)),
        ("http://[::1]:8097", Address("::1", 8097)),
    ],
)
def test_address(text: str, address: Address) -> None:
    """An address is read and written."""
    assert Address.parse(text) == address
    assert str(address) == text.rstrip("/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("localhost:8097", "got 'localhost:8097': it must begin with http:// or https://"),
        ("ftp://localhost:8097", "it must begin with http:// or https://"),
        ("", "got '': it must begin with http:// or https://"),
        ("http://localhost", "it names no port; visdom's own is http://localhost:8097"),
        ("http://localhost:", "it names no port; visdom's own is http://localhost:8097"),
        ("http://:8097", "it names no host"),
        ("http://local host:8097", "it names no host"),
        ("http://localhost:0", "its port must be a number from 1 to 65535"),
        ("http://localhost:70000", "its port must be a number from 1 to 65535"),
        ("http://localhost:port", "its port must be a number from 1 to 65535"),
        ("http://[::1:8097", "an IPv6 address stand in brackets"),
        ("http://localhost:8097/visdom", "nothing may follow the port"),
        ("http://localhost:8097?x=1", "nothing may follow the port"),
        ("http://me:secret@localhost:8097", "user and password are given by VISDOM_USERNAME and VISDOM_PASSWORD"),
    ],
)
def test_wrong_address(text: str, message: str) -> None:
    """A wrong address is told what is expected and what is wrong; a password in it is not repeated."""
    with pytest.raises(UsageError) as raised:
        Address.parse(text)
    said = str(raised.value)
    assert said.startswith("the address of a visdom server is http://HOST:PORT or https://HOST:PORT, got ")
    assert message in said and "secret" not in said and "\n" not in said


def test_connection_is_kept_open_and_fails_as_an_os_error(port: int) -> None:
    """Several messages go over one connection; every kind of failure is an OSError that says what happened."""
    connection = Connection(loopback(port), timeout=0.3)
    assert connection.post("/events", text_window("x")) == "text"
    with pytest.raises(ValueError, match="not JSON compliant"):
        connection.post("/events", {"x": float("inf")})
    local = connection._http.sock.getsockname()
    assert connection.post("/events", text_window("y")) == "text"
    assert connection._http.sock.getsockname() == local
    with pytest.raises(VisdomError, match=f"at http://127.0.0.1:{port} answered 500 to /update"):
        connection.post("/update", {"eid": "nowhere", "win": "w"})
    assert connection.post("/events", text_window("z")) == "text", "and is opened again"
    servers.stop(port)
    with pytest.raises(ConnectionError):
        connection.post("/events", text_window("z"))
    with pytest.raises(ConnectionRefusedError):
        connection.post("/events", text_window("z"))
    answers = [b"SSH-2.0\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", None]
    kinds = [VisdomError, ConnectionError, VisdomError, TimeoutError]
    for answer, kind in zip(answers, kinds, strict=True):
        with something_else(port, answer), pytest.raises(kind):
            connection.post("/events", text_window("z"))
    connection.close()


LOGIN_SERVER = "import sys; from visdom.server.run_server import main; main()"


def test_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[Any]"]) -> None:
    """A server of visdom's own that asks for a login is recognised, and gets the one of the environment variables."""
    pytest.importorskip("visdom", reason="visdom is not installed")
    (tmp_path / ".visdom").mkdir()
    login = {
        "VISDOM_USE_ENV_CREDENTIALS": "1",
        "VISDOM_COOKIE": "c",
        "VISDOM_USERNAME": "me",
        "VISDOM_PASSWORD": "word",
    }
    port = free_port()
    command = [sys.executable, "-c", LOGIN_SERVER, "-port", str(port), "-enable_login", "-bind_local"]
    with open(tmp_path / "log", "w") as log:
        own = environment(HOME=str(tmp_path), **login)
        started.append(subprocess.Popen(command, cwd=tmp_path, env=own, stdout=log, stderr=log))
    wait_until(lambda: is_visdom(loopback(port)), timeout_s=60)
    monkeypatch.delenv("VISDOM_USERNAME", raising=False)
    with pytest.raises(VisdomError, match="asks for a login: set VISDOM_USERNAME and VISDOM_PASSWORD"):
        post(port, "/events", text_window("x"))
    monkeypatch.setenv("VISDOM_USERNAME", "me")
    monkeypatch.setenv("VISDOM_PASSWORD", "wrong")
    with pytest.raises(VisdomError, match="refuses the login of VISDOM_USERNAME and VISDOM_PASSWORD"):
        post(port, "/events", text_window("x"))
    monkeypatch.setenv("VISDOM_PASSWORD", "word")
    assert post(port, "/events", text_window("x")) == "text"
    assert environments(loopback(port)) == ["main", "run"]
