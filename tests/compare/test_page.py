"""The page of a comparison, in a real browser: it says what differs, carries out nothing, and reaches for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.compare.stories import Story, program
from tests.real import real_browser
from vmr.comparison import Tolerances, compare, write_page
from vmr.errors import InvalidInputError

HOSTILE = b"</code><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b[31m\xe2\x80\xae\x00"
SIZES = {"screen": (1280, 900), "telephone": (390, 800)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def told(identity: str, factor: float, text: bytes) -> Story:
    """Return a run of twelve VMs, one of them with a name that is no name."""
    story = Story(identity)
    names = ["<b>bold</b>", *(f"client-{number}" for number in range(1, 12))]
    for place, name in enumerate(names):
        story.added(name, program(10, "fetch"), ready=-50 - place * (1 if factor > 1 else -1))
        story.ran(name, "10/fetch", 10 + place * 0.002, (1 + place) * factor, place % 2, late=place * 0.002)
        story.wrote(name, "10/fetch", 11, b'{"time": %d}\n' % place)
    story.wrote(names[0], "10/fetch", 12, text, first=12)
    story.started()
    return story


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a comparison of two runs that differ in everything."""
    folder = tmp_path_factory.mktemp("page")
    a = told("x", 1.0, b"plain\n").read_model(folder / "a.duckdb")
    story = told("y", 1.7, HOSTILE)
    story.added("only-here", program(10, "fetch"))
    story.ran("client-1", "12/<i>new</i>", 12, 1.0)
    b = story.read_model(folder / "b.duckdb")
    tolerances = Tolerances(duration_ratio=1.5, lateness_seconds=0.001, barrier_order=True)
    write_page(compare(("before <x>.duckdb", a), ("after.duckdb", b), tolerances), folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Yield a page of a real Chromium."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=real_browser(), args=arguments)
        yield browser.new_page()
        browser.close()


def test_page_in_a_browser(written: Path, page: Page) -> None:
    """The page shows every kind of difference, asks for nothing but itself, and what a guest wrote stays text."""
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(written.as_uri())
    assert asked == [written.as_uri()]
    assert problems == []
    assert page.title().endswith("they differ")
    assert page.locator("script, img, b b").count() == 0
    headings = page.locator("h2").all_inner_texts()
    for kind in ("VMs only in one run: 1", "Outputs that differ: 1", "Durations that differ: 11"):
        assert kind in headings
    shown = page.locator(".line.b").inner_text()
    assert "<script>document.title='owned'</script>" in shown
    assert "\\x1b[31m\\u202e\\x00" in shown
    assert page.locator("figure").count() == 3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_page_fits(written: Path, page: Page, size: str, scheme: Literal["light", "dark"]) -> None:
    """Nothing sticks out sideways, and text stands out from its ground, light and dark, on a screen and on a telephone."""
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.goto(written.as_uri())
    page.screenshot(path=str(written.with_name(f"{size}-{scheme}.png")), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    assert ground != ink


def test_page_on_paper(written: Path, page: Page) -> None:
    """The page prints: a PDF comes of it."""
    page.goto(written.as_uri())
    assert page.pdf().startswith(b"%PDF")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there is named, and nothing half-written is left behind."""
    path = told("x", 1.0, b"").read_model(tmp_path / "a.duckdb")
    comparison = compare(("A", path), ("B", path))
    with pytest.raises(InvalidInputError, match=r"nowhere/x\.html: cannot be written: there is no folder .*/nowhere$"):
        write_page(comparison, tmp_path / "nowhere" / "x.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_page(comparison, tmp_path / "folder.html")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.duckdb", "folder.html"]
