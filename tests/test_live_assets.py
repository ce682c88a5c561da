"""The page of the live view: its installation, and what it does in a browser."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, open_browser
from cli import ROOT, call, environment, run_command
from live_servers import curve_window, free_port, installed_page, own_cache, post, text_window

from rl_baselines.errors import UsageError
from rl_baselines.live import assets, main, servers
from rl_baselines.live.surroundings import cache_folder

LOCK = json.loads((assets.PAGE / "package-lock.json").read_text())
needs_visdom = pytest.mark.skipif(not assets.is_visdom_installed(), reason="visdom is not installed")
FAKE_NPM = """#!{python}
import pathlib, sys, time
{body}
"""
MAKES_PACKAGES = f"""
pathlib.Path("LOG").open("a").write("called\\n")
time.sleep(0.5)
for package, files in {assets.FILES!r}.items():
    for name in files:
        path = pathlib.Path("node_modules", package, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(package)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("RL_BASELINES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def use_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str | None) -> None:
    """Let a program of ours be npm, the only one on the path; None: there is no npm."""
    programs = folder / "programs"
    programs.mkdir()
    if body is not None:
        (programs / "npm").write_text(FAKE_NPM.format(python=sys.executable, body=body))
        (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The own variable comes before the common one, and that before the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("RL_BASELINES_CACHE", raising=False)
    assert cache_folder() == tmp_path / "home/.cache/rl-baselines/live"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/rl-baselines/live"
    monkeypatch.setenv("RL_BASELINES_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_lock_fixes_each_package_and_names_no_host() -> None:
    """Every package that the page takes files of is fixed by version and hash, and by no place to fetch it from."""
    wanted = json.loads((assets.PAGE / "package.json").read_text())["dependencies"]
    locked = {name.removeprefix("node_modules/"): entry for name, entry in LOCK["packages"].items() if name}
    assert {name: entry["version"] for name, entry in locked.items()} == wanted
    assert set(wanted) == set(assets.FILES)
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())
    assert "://" not in json.dumps(LOCK)


@needs_visdom
def test_page_is_complete_and_installed_once() -> None:
    """All that the page refers to is there, nothing of a foreign host, and a second installation changes nothing."""
    page = installed_page()
    for files in assets.FILES.values():
        assert all((page / target).stat().st_size > 100 for target in files.values())
    text = (page / "index.html").read_text()
    scripts = [part.split('"')[0] for part in text.split('static_url("')[1:]]
    assert [name for name in scripts if not (page / name).is_file()] == []
    assert {"js/live.js", "css/live.css", "js/main.js"} <= set(scripts)
    for gone in (*assets.UNUSED_SCRIPTS, "x-mathjax-config", "../user"):
        assert gone not in text
    assert assets.install() == (page, False)


@needs_visdom
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "npm, which fetches the page of the live view, is not found; install npm, then run: "),
        ("print('npm error code EAI_AGAIN'); sys.exit(1)", "npm error code EAI_AGAIN; try again: "),
        ("print('odd'); sys.exit(7)", "npm could not fetch the page of the live view: odd; try again: "),
        ("sys.exit(7)", "npm could not fetch the page of the live view: exit 7; try again: "),
    ],
)
def test_installation_fails_in_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, message: str
) -> None:
    """Without npm, or when it fails, one line says what to do, and nothing half done is left."""
    use_npm(tmp_path, monkeypatch, body)
    done = call(main, "install")
    assert (done.code, done.out) == (2, "")
    assert message in done.err and done.err.count("\n") == 1
    assert done.err.endswith(": python -m rl_baselines.live install\n")
    assert assets.static_folder() is None
    assert [path.name for path in cache.iterdir()] == ["install.lock"]


@needs_visdom
def test_package_without_a_file_is_no_page(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When something is missing from what npm brought, no page is made."""
    use_npm(tmp_path, monkeypatch, "pathlib.Path('node_modules').mkdir()")
    with pytest.raises(UsageError, match=r"npm brought no .*jquery\.min\.js"):
        assets.install()
    assert assets.static_folder() is None
    assert [path.name for path in cache.iterdir()] == ["install.lock"]


@needs_visdom
def test_installations_at_once_fetch_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that install at the same time share one page; what a killed one left is removed."""
    log = tmp_path / "log"
    use_npm(tmp_path, monkeypatch, MAKES_PACKAGES.replace("LOG", str(log)))
    (cache / ".installing-dead").mkdir(parents=True)
    command = [sys.executable, "-m", "rl_baselines.live", "install"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=60)[0] for process in processes)
    folder = assets.static_folder()
    assert folder is not None and folder.parent == cache
    verbs = ["is in", "is now in"]
    assert said == [f"the page of the live view {verb} {folder}\n" for verb in verbs]
    assert log.read_text() == "called\n"
    assert sorted(path.name for path in cache.iterdir()) == sorted(["install.lock", folder.name])


@needs_visdom
def test_page_of_another_visdom_is_refused() -> None:
    """What is to be replaced in the page must be there, or the version is not the known one."""
    with pytest.raises(UsageError, match="is not the known one, of 0.2.4: 0 times"):
        assets.patched("<html></html>")


def test_help_is_fast(tmp_path: Path) -> None:
    """The help of the verb lists what there is, without loading what only trainings need."""
    loaded = "sorted({'torch', 'numpy', 'tornado', 'visdom'} & set(sys.modules))"
    code = f"import sys; from rl_baselines.live import main; main(['--help']); print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    through = run_command("rl_baselines", "live", "--help", folder=tmp_path)
    assert [verb in through.out for verb in ("start", "stop", "status", "install")] == [True] * 4


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a running server."""
    with own_cache(tmp_path / "cache", monkeypatch):
        address = servers.find_or_start(free_port(), pytest.fail)
        assert address is not None
        yield address.port


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with open_browser(tmp_path) as opened:
        yield opened


PLOTS = "[...document.querySelectorAll('.js-plotly-plot')]"


def wait_for_points(page: Page, n_points: int) -> None:
    page.wait_for(f"{PLOTS}.length > 0 && {PLOTS}.every(plot => plot.data[0].x.length === {n_points})")


def test_page_in_a_browser(port: int, page: Page) -> None:
    """Windows appear without a complaint or a request to a foreign host, and what somebody injected does not run."""
    evil = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script><b>bold</b>"
    post(port, "/events", curve_window(20))
    post(port, "/events", text_window(f"<pre>a &lt; b</pre>{evil}"))
    post(port, "/events", {**text_window(evil, window="titled"), "opts": {"title": evil}})
    pixel = "data:image/png;base64," + base64.b64encode(bytes.fromhex(PIXEL)).decode()
    image = {"type": "image", "content": {"src": pixel, "caption": evil}}
    post(port, "/events", {"win": "image", "eid": "run", "data": [image], "opts": {"title": "Image"}})
    named = curve_window(20, window="named", title={"text": evil})
    named["data"][0]["name"] = evil
    named["layout"]["showlegend"] = True
    post(port, "/events", named)
    post(port, "/events", text_window("x", env=f"'; window.hacked = 1; //{evil}\\"))
    page.open(f"http://127.0.0.1:{port}/env/run")
    wait_for_points(page, 20)
    texts = page.wait_for("[...document.querySelectorAll('.content-text')].map(one => one.innerText).sort()")
    assert texts[0] == evil.replace("<b>bold</b>", "bold") and texts[1].startswith("a < b")
    page.wait_for("document.querySelector('img.content-image, .content img')?.naturalWidth === 1")
    assert page.value("window.getComputedStyle(document.querySelector('.js-link-to-tool')).display") == "none"
    assert page.value("document.fonts.size") > 0
    assert page.value("typeof window.hacked") == "undefined"
    own = (f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/", "data:")
    assert [url for url in page.requests if not url.startswith(own)] == []
    assert page.complaints == []


PIXEL = (
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100"
    "18dd8db00000000049454e44ae426082"
)


@pytest.mark.slow
def test_second_wall_holds_alone(port: int, page: Page) -> None:
    """Were a text let through as it is, the browser would still not run it."""
    page.open(f"http://127.0.0.1:{port}/env/run")
    page.wait_for("document.querySelectorAll('button').length > 0")
    page.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')")
    page.value("new Promise(resume => setTimeout(resume, 500))")
    assert page.value("typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def test_zoom_and_hidden_curves_survive_updates_and_a_restart(port: int, page: Page) -> None:
    """A window that is replaced keeps what the user zoomed to and hid, and grows where the user did not zoom.

    The page connects by itself once the server is back.
    """
    shown = f"{PLOTS}.map(plot => [plot.layout.xaxis.range[1], plot.data[0].visible ?? true])"
    equal = {"yaxis": {"scaleanchor": "x"}}
    post(port, "/events", curve_window(20))
    post(port, "/events", curve_window(20, window="path", **equal))
    page.open(f"http://127.0.0.1:{port}/env/run")
    wait_for_points(page, 20)
    page.value(f"Plotly.relayout({PLOTS}[0], {{'xaxis.range[0]': 2, 'xaxis.range[1]': 7}}).then(() => 1)")
    page.value(f"Plotly.restyle({PLOTS}[0], {{visible: 'legendonly'}}).then(() => 1)")
    for n_points in (30, 40):
        post(port, "/events", curve_window(n_points))
        post(port, "/events", curve_window(n_points, window="path", **equal))
        wait_for_points(page, n_points)
        (zoomed, path) = page.value(shown)
        assert zoomed == [7, "legendonly"]
        assert path[0] >= n_points - 1 and path[1] is True
    servers.stop(port)
    page.wait_for("[...document.querySelectorAll('button')].some(button => button.innerText === 'offline')")
    servers.find_or_start(port, pytest.fail)
    page.wait_for("[...document.querySelectorAll('button')].some(button => button.innerText === 'online')")
    post(port, "/events", curve_window(50))
    post(port, "/events", curve_window(50, window="path", **equal))
    wait_for_points(page, 50)
    assert page.value(shown)[0] == [7, "legendonly"]


@pytest.mark.slow
def test_runs_are_compared_in_one_plot(port: int, page: Page) -> None:
    """Windows of the same title show the curves of all runs that are chosen, by number, each run in its colour."""
    for n_points, env in ((20, "a_run"), (30, "b_run")):
        post(port, "/events", curve_window(n_points, env=env))
    page.open(f"http://127.0.0.1:{port}/compare/b_run+a_run")
    page.wait_for(f"{PLOTS}.length === 1 && {PLOTS}[0].data.length === 2")
    assert page.value(f"{PLOTS}[0].data.map(trace => [trace.name, trace.x.length])") == [["0_mean", 20], ["1_mean", 30]]
    assert page.complaints == []
    colours = page.value(f"{PLOTS}[0].data.map(trace => trace.line.color)")
    assert colours == ["rgba(31,95,168,1)", "rgba(217,95,2,1)"]
