"""The static files of the live view's page: visdom's own and six npm packages, put together in the cache folder.

The packages are the work of others and stay out of the tree: `page/package-lock.json` fixes their versions and hashes.
It lists no dependencies of theirs, since only their built files are used.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from rl_baselines.errors import UsageError
from rl_baselines.live.surroundings import cache_folder

PAGE = Path(__file__).parent / "page"
INSTALL_COMMAND = "python -m rl_baselines.live install"
NPM_TIMEOUT_S = 300
NPM = (
    *("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
    *("--fetch-retries=1", "--fetch-timeout=60000"),
)
FILES = {
    "jquery": {"dist/jquery.min.js": "js/jquery.min.js"},
    "bootstrap": {
        "dist/js/bootstrap.min.js": "js/bootstrap.min.js",
        "dist/css/bootstrap.min.css": "css/bootstrap.min.css",
        "dist/fonts/glyphicons-halflings-regular.woff2": "fonts/glyphicons-halflings-regular.woff2",
        "dist/fonts/glyphicons-halflings-regular.woff": "fonts/glyphicons-halflings-regular.woff",
    },
    "layout-bin-packer": {"dist/layout-bin-packer.js": "js/layout_bin_packer.js"},
    "react-resizable": {"css/styles.css": "css/react-resizable-styles.css"},
    "react-grid-layout": {"css/styles.css": "css/react-grid-layout-styles.css"},
    "plotly.js-cartesian-dist-min": {"plotly-cartesian.min.js": "js/plotly-plotly.min.js"},
}
"""What is taken of each npm package, and where visdom's page looks for it."""
UNUSED_SCRIPTS = (
    "react-react.min.js",
    "react-dom.min.js",
    "d3.v3.min.js",
    "d3-selection-multi.v1.js",
    "saveSvgAsPng.js",
    "mathjax/2.7.5/MathJax.js",
    "mathjax/2.7.5/config/TeX-AMS-MML_HTMLorMML.js",
)


def is_visdom_installed() -> bool:
    """Tell whether the package visdom can be imported, without importing it."""
    return find_spec("visdom") is not None


def static_folder() -> Path | None:
    """Give the folder of the page's static files; None where they are not installed for this version of visdom."""
    if not is_visdom_installed():
        return None
    folder = _folder()
    return folder if (folder / "index.html").is_file() else None


def install() -> tuple[Path, bool]:
    """Put the page together, unless that is done; several at once do it once.

    :return: the folder of the static files, and whether it is new
    :raises UsageError: when visdom or npm is missing, or npm fails
    """
    if not is_visdom_installed():
        raise UsageError("visdom is not installed; docs/install.md says how, or run: make install")
    folder = _folder()
    if (folder / "index.html").is_file():
        return folder, False
    with _locked(folder.parent):
        if (folder / "index.html").is_file():
            return folder, False
        for abandoned in folder.parent.glob(".installing-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=".installing-", dir=folder.parent))
        try:
            _fetch_packages(aside)
            _put_together(aside / "static", aside / "node_modules")
            (aside / "static").rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder, True


def _folder() -> Path:
    """Name the folder after all that goes into it, so that an upgrade builds another one."""
    content = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(PAGE.iterdir()):
        content.update(path.read_bytes())
    return cache_folder() / f"page-visdom-{metadata.version('visdom')}-{content.hexdigest()[:12]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one installation run at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_packages(folder: Path) -> None:
    """Fetch the npm packages into ``node_modules``, their hashes checked and none of their code run."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PAGE / name, folder / name)
    try:
        done = subprocess.run(NPM, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S)
    except FileNotFoundError:
        raise UsageError(
            f"npm, which fetches the page of the live view, is not found; install npm, then run: {INSTALL_COMMAND}"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"npm could not fetch the page of the live view: {error}") from None
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        why = next((line for line in said if "error" in line.lower()), said[0] if said else f"exit {done.returncode}")
        raise UsageError(f"npm could not fetch the page of the live view: {why}; try again: {INSTALL_COMMAND}")


def _put_together(folder: Path, packages: Path) -> None:
    spec = find_spec("visdom")
    assert spec is not None and spec.origin is not None, "visdom was there a moment ago"
    ignored = shutil.ignore_patterns("*.map", "mathjax", "login.html")
    shutil.copytree(Path(spec.origin).parent / "static", folder, ignore=ignored)
    for package, files in FILES.items():
        for source, target in files.items():
            if not (packages / package / source).is_file():
                raise UsageError(f"npm brought no {source} of {package}; try again: {INSTALL_COMMAND}")
            (folder / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(packages / package / source, folder / target)
    shutil.copyfile(PAGE / "live.js", folder / "js" / "live.js")
    shutil.copyfile(PAGE / "live.css", folder / "css" / "live.css")
    index = folder / "index.html"
    index.write_text(patched(index.read_text(encoding="utf-8")), encoding="utf-8")


def patched(index: str) -> str:
    """Give visdom's index.html without what is not there, and safe against names that hold code.

    :param index: the template of visdom 0.2.4
    :raises UsageError: when it is another one
    """
    for script in UNUSED_SCRIPTS:
        index = _replaced(index, rf"\s*<script[^>]*{re.escape(script)}[^>]*></script>", "")
    index = _replaced(index, r"\s*<script type='text/x-mathjax-config'>.*?</script>", "")
    # Tornado refuses a static path above the static folder.
    index = _replaced(index, r'\{\{\s*static_url\("\.\./user/style\.css"\)\s*\}\}', '"/user/style.css"')
    # visdom puts names into quotes of its own, where a backslash ends what should be a name.
    index = _replaced(index, r"var ENV_LIST = \[.*?\];", f"var ENV_LIST = {_as_json('items')};")
    index = _replaced(index, r"var ACTIVE_ENV = '[^\n]*';", f"var ACTIVE_ENV = {_as_json('active_item')};")
    index = _replaced(index, r"var USER = '[^\n]*';", f"var USER = {_as_json('user')};")
    index = _replaced(index, r"<script>", '<script nonce="{{ handler.nonce }}">')
    script = '<script src={{ static_url("js/live.js") }}></script>'
    style = '<link rel="stylesheet" href={{ static_url("css/live.css") }}>'
    return _replaced(index, r"</head>", f"{script}\n{style}\n</head>")


def _as_json(value: str) -> str:
    """Give the template's expression for a value in a script; no ``<`` of it is seen by the HTML parser."""
    return f'{{{{ json_encode({value}).replace("<", "\\\\u003c") }}}}'


def _replaced(text: str, pattern: str, replacement: str) -> str:
    """Replace what must be there exactly once."""
    replaced, n_found = re.subn(pattern, lambda _: replacement, text, flags=re.DOTALL)
    if n_found != 1:
        version = metadata.version("visdom")
        raise UsageError(f"the page of visdom {version} is not the known one, of 0.2.4: {n_found} times {pattern!r}")
    return replaced
