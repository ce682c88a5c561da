"""The report of a run stands by itself: everything in one file, nothing run, nothing fetched, every word as written."""

import errno
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rl_baselines.live.board import Board
from rl_baselines.live.events import Event, Matrix, Picture, Scalars, Text
from rl_baselines.live.events import Path as PathEvent
from rl_baselines.live.report import EMPTY, write_report

HOSTILE = "<script>alert('x')</script> & \"q\" <img src=http://evil.example/a.png>"
ADDRESSED = {"src", "href", "srcset", "action", "data", "poster", "background", "formaction", "http-equiv"}


class Page(HTMLParser):
    """The elements of a page, its words by element, and the attributes that can name an address."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)
            self.words.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.words[self._open[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def board_of(*events: Event) -> Board:
    scalars = [
        Scalars(1000 * i, {"rollout/ep_rew_mean": i / 10, "train/value_loss": 1 / (i + 1), "eval/success_rate": 0.25})
        for i in range(20)
    ]
    return Board([*scalars, *events])


EVERYTHING = (
    Matrix(HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE, "b"), np.array([[0.5, np.nan]])),
    Matrix("success", "share", ("a",), ("b",), np.array([[1.0]])),
    PathEvent(2048, np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0]])),
    Picture(2048, np.full((24, 32, 3), 77, np.uint8)),
    Text(HOSTILE, f"algo: ppo\n{HOSTILE}\n"),
)


def write(folder: Path, board: Board, facts: tuple[tuple[str, str], ...] = (("run", HOSTILE),)) -> Page:
    report = write_report(board, HOSTILE, facts, folder, folder / "plots")
    assert report == folder / "report.html"
    return Page(report.read_text(encoding="utf-8"))


def test_nothing_is_run_or_fetched(tmp_path: Path) -> None:
    """No script, no handler, no address but that of inline pictures, and a policy that forbids the rest."""
    page = write(tmp_path, board_of(*EVERYTHING))
    tags = {tag for tag, _ in page.elements}
    assert tags == {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "th", "td"),
        *("div", "figure", "img", "figcaption", "pre"),
    }
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ADDRESSED & set(attributes) - {"http-equiv"}:
            assert (attributes[name] or "").startswith("data:image/png;base64,")
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in page.words["style"][0] and "@import" not in page.words["style"][0]


def test_every_word_stands_as_it_was_written(tmp_path: Path) -> None:
    """Names and texts that look like HTML are words of the page."""
    page = write(tmp_path, board_of(*EVERYTHING), (("run", HOSTILE), (HOSTILE, "ä €")))
    assert page.words["title"] == page.words["h1"] == [HOSTILE]
    assert list(zip(page.words["th"], page.words["td"], strict=True)) == [("run", HOSTILE), (HOSTILE, "ä €")]
    assert page.words["h2"] == ["Plots", HOSTILE]
    assert page.words["pre"] == [f"algo: ppo\n{HOSTILE}\n"]
    assert f"{HOSTILE}: {HOSTILE}" in page.words["figcaption"]


def test_all_plots_are_in_files_and_in_the_page(tmp_path: Path) -> None:
    """Each plot is a PNG file named by its panel; the page holds the same files with words for those who cannot see."""
    page = write(tmp_path, board_of(*EVERYTHING))
    slug = "script_alert_x_script_q_img_src_http_evil_example_a_png"
    names = ["reward", "reward_smoothed", "success", "value_loss", "path", "picture", slug, "success_2"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(f"{name}.png" for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plots", "report.html"]
    for name, image in zip(names, page.all("img"), strict=True):
        content = b64decode((image["src"] or "").partition(",")[2])
        assert content == (tmp_path / "plots" / f"{name}.png").read_bytes()
        shown = Image.open(BytesIO(content))
        assert int(image["width"] or 0) == (32 if name == "picture" else round(shown.width / 1.5))
        assert image.get("class") == (None if name == "picture" else "plot")
        assert image["alt"]
    assert page.all("img")[2]["alt"] == "Success: share of episodes against environment timesteps; evaluation"
    assert page.words["figcaption"][2:4] == [
        "Last values: evaluation: 25% at 19,000",
        "Last values: value: 0.05 at 19,000",
    ]
    assert np.asarray(Image.open(tmp_path / "plots" / "picture.png")).tolist() == np.full((24, 32, 3), 77).tolist()
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_an_empty_board_says_so(tmp_path: Path) -> None:
    """Without events the page has its facts and a sentence."""
    page = write(tmp_path, Board())
    assert page.words["p"] == [EMPTY]
    assert page.words["td"] == [HOSTILE]
    assert page.all("img") == []
    assert list((tmp_path / "plots").iterdir()) == []


def test_texts_alone_and_no_facts_make_a_page(tmp_path: Path) -> None:
    """What is not there takes no room; characters that no file can hold are replaced."""
    page = write(tmp_path, Board([Text("a", "x\udcffy")]), ())
    assert page.words["pre"] == ["x?y"]
    assert {"table", "p", "img"} & set(page.words) == set()


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is replaced as a whole."""
    write(tmp_path, Board())
    old = (tmp_path / "report.html").read_bytes()

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, Board([Text("a", "b")]))
    assert (tmp_path / "report.html").read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plots", "report.html"]
