"""Reports in a real browser: what a reader sees and does, on a desk, on a telephone, on paper, and what a guest cannot do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.real import real_browser
from vmr.record import connect

_SIZES = {"desk": (1280, 900), "telephone": (390, 844)}
_MINUS = "\u2212"
_COLOURS = """(canvas) => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = new Set();
    for (let at = 0; at < data.length; at += 4) found.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    return [...found];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a browser without network."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=real_browser(), args=arguments)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Yield an empty page; what it complains of, and what it asks for besides its own file, fails the test."""
    trouble: list[str] = []
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    made.on("console", lambda message: trouble.append(message.text))
    made.on("pageerror", lambda error: trouble.append(str(error)))
    made.on("dialog", lambda dialog: trouble.append(dialog.message))
    made.on("request", lambda request: trouble.extend(_outside(request.url)))
    yield made
    made.close()
    assert not trouble


def _outside(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:")) else [url]


def opened(page: Page, report: Path, address: str = "") -> Page:
    """Open the report and wait until it can be used."""
    page.goto(report.as_uri() + address)
    page.wait_for_selector("html[data-ready][data-drawn]")
    return page


def _shown(page: Page) -> tuple[float, float]:
    """Return the seconds between which the timeline shows what happened."""
    found = re.match(r"(\S+) s to (\S+) s", page.inner_text("#range").replace(_MINUS, "-").replace(",", ""))
    assert found
    return float(found[1]), float(found[2])


def _shown_after(page: Page, before: tuple[float, float]) -> tuple[float, float]:
    """Return what the timeline shows as soon as that is something else than ``before``."""
    for _ in range(300):
        if (now := _shown(page)) != before:
            return now
        page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError(before)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", _SIZES)
def test_all_vms_are_drawn(browser: Browser, large_report: Path, scheme: str, size: str) -> None:
    """3,003 VMs are drawn in the colours of their outcomes and of the reader's scheme; nothing is wider than the screen."""
    width, height = _SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, large_report)
    assert [url for url in asked if not url.startswith("data:")] == [large_report.as_uri()]
    expect(page.locator("#matches")).to_have_text("3,003 of 3,003 VMs")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    colours = set(page.locator("#canvas").evaluate(_COLOURS))
    wanted = {"20,24,29", "255,131,64", "255,255,255"} if scheme == "dark" else {"255,255,255", "213,94,0", "0,0,0"}
    assert wanted <= colours
    expect(page.locator("#list tbody tr")).to_have_count(25)
    page.close()


def test_filters_lead_to_a_vm(page: Page, large_report: Path) -> None:
    """VMs are found by name and by what went wrong; the VM's page has its entries, times and output."""
    opened(page, large_report)
    page.select_option("#show", "outcome not_launched")
    expect(page.locator("#matches")).to_have_text("5 of 3,003 VMs")
    page.fill("#name", "HOST-12")
    expect(page.locator("#matches")).to_have_text("1 of 3,003 VMs")
    page.click("#list button")
    shown = page.locator("#vm[data-shown]")
    expect(shown.locator("h3")).to_have_text("host-1210")
    expect(shown.locator("h3")).to_be_focused()
    expect(shown.locator(".entry")).to_have_count(5)
    last = shown.locator(".entry").last
    expect(last).to_contain_text("could not be launched")
    expect(last).to_contain_text("the agent is gone")
    assert "step -30 of uuid-1210: 64 bytes" in shown.locator("pre").first.inner_text()
    assert page.url.endswith("#vm=host-1210")


def test_summary_leads_to_the_timeline(page: Page, large_report: Path) -> None:
    """A number of the summary shows whose it is."""
    opened(page, large_report)
    page.click('a[data-show="lost"]')
    expect(page.locator("#matches")).to_have_text("4 of 3,003 VMs")
    page.select_option("#show", "never")
    expect(page.locator("#matches")).to_have_text("0 of 3,003 VMs")
    expect(page.locator("#page")).to_have_text("no VM")


def test_an_address_names_a_vm(page: Page, large_report: Path) -> None:
    """Who is sent the address of a VM sees that VM; back and forth go as everywhere. A name that is no VM's shows the report."""
    opened(page, large_report, "#vm=router-999")
    expect(page.locator("#vm h3")).to_have_text("router-999")
    expect(page.locator("#vm[data-shown] .entry")).to_have_count(7)
    page.get_by_role("button", name="Previous VM").click()
    expect(page.locator("#vm h3")).to_have_text("router-996")
    page.go_back()
    expect(page.locator("#vm h3")).to_have_text("router-999")
    opened(page, large_report, "?again#vm=%E0%A4%A")
    expect(page.locator("#vm")).to_be_hidden()


def test_time_is_moved_and_zoomed(page: Page, large_report: Path) -> None:
    """Wheel, mouse, buttons and keys show less, more, earlier or all of the time."""
    opened(page, large_report)
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    assert box
    whole = _shown(page)
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 200)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    near = _shown_after(page, whole)
    assert whole[0] < near[0] < near[1] < whole[1]
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7 + 100, box["y"] + 200, steps=4)
    page.mouse.up()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    moved = _shown_after(page, near)
    assert moved[0] < near[0]
    assert moved[1] - moved[0] == pytest.approx(near[1] - near[0], abs=0.2)
    page.focus("#canvas")
    page.keyboard.press("0")
    assert _shown_after(page, moved) == whole == (-132.8, 64.8)
    page.click("#in")
    assert _shown_after(page, whole)[1] < whole[1]


def test_pointing_says_what_it_is(page: Page, large_report: Path) -> None:
    """Under the mouse is an execution with its times; a click keeps it and leads to its VM."""
    opened(page, large_report)
    page.select_option("#show", "outcome exit_code")
    page.locator("#height").fill("100")
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    assert box
    card = page.locator("#card")
    for x in range(int(box["width"]) - 5, 160, -6):
        page.mouse.move(box["x"] + x, box["y"] + 26 + 9)
        if card.is_visible() and "exit code" in card.inner_text() and "10/step.sh" in card.inner_text():
            break
    text = card.inner_text()
    assert text.startswith("host-5\n")
    for part in (
        "exit code 3",
        "10/step.sh, attempt 1",
        "+10.025 s to +19.025 s",
        "due +10.000 s, 0.025 s late",
        "12:00:10.025 UTC",
    ):
        assert part in text
    page.mouse.down()
    page.mouse.up()
    card.get_by_role("button", name="Show this VM").click()
    expect(page.locator("#vm h3")).to_have_text("host-5")


def test_keys_do_all_of_it(page: Page, large_report: Path) -> None:
    """VMs and their executions are chosen with the arrows, told to who listens, and opened with Enter."""
    opened(page, large_report)
    page.focus("#canvas")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator("#spoken")).to_contain_text("host-2")
    expect(page.locator("#spoken")).to_contain_text("-20/step.sh, attempt 1")
    page.keyboard.press("End")
    expect(page.locator("#spoken")).to_contain_text("router-3000")
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#vm h3")).to_have_text("router-3000")


def test_a_guest_stays_text(page: Page, hostile_report: Path, hostile_record: Path) -> None:
    """Names and output that try to break out are shown as they are, also in the command that gets all of an output."""
    opened(page, hostile_report)
    expect(page.locator("h1")).to_have_text(re.compile(r"^</script><script>document"))
    expect(page.locator("#list tbody tr")).to_have_count(8)
    assert page.locator("#list button").all_inner_texts() == sorted(page.locator("#list button").all_inner_texts())
    for number in range(8):
        page.locator("#list button").nth(number).click()
        page.wait_for_selector(f'#vm[data-shown="{number}"]')
    page.locator("#list button", has_text="]]>").click()
    page.wait_for_selector("#vm .cut")
    words = shlex.split(page.inner_text("#vm .cut code"))
    assert words[:2] + words[3:] == ["vmr", "sql", "--csv"]
    rows = connect(hostile_record).execute(words[2]).fetchall()
    assert [row[0] for row in rows] == ["]]>{{ 7 * 7 }}{% raw %}it's more", *["it's more"] * 999]
    assert page.evaluate("document.documentElement.dataset.harmed") is None
    assert page.locator("img, iframe").count() == 0


def test_the_policy_stops_what_got_in(browser: Browser, hostile_report: Path) -> None:
    """Were there an element of a guest's in the page, the browser would not let it act."""
    page = browser.new_page()
    refused: list[ConsoleMessage] = []
    page.on("console", lambda message: refused.append(message))  # noqa: PLW0108 - playwright asks it for its signature
    opened(page, hostile_report)
    page.evaluate("""() => {
        const made = document.createElement("div");
        made.innerHTML = '<img src="data:," onerror="document.documentElement.dataset.harmed = 1">';
        const failed = new Promise((resolve) => made.firstChild.addEventListener("error", () => resolve()));
        document.body.append(made, Object.assign(document.createElement("script"), {textContent: "document.documentElement.dataset.harmed = 2"}));
        return failed;
    }""")
    assert page.evaluate("document.documentElement.dataset.harmed") is None
    assert any("Content Security Policy" in message.text for message in refused)
    page.close()


def test_on_paper(page: Page, large_report: Path) -> None:
    """A print has every answer, not only those that are open on the screen, and the screen is afterwards as before."""
    opened(page, large_report)
    page.click("#questions > details:nth-of-type(2) > summary")
    page.evaluate("""() => addEventListener("beforeprint", () => {
        document.body.dataset.printed = document.querySelectorAll("#questions > details[open]").length;
    })""")
    assert page.pdf().startswith(b"%PDF")
    assert int(page.evaluate("document.body.dataset.printed")) == page.locator("#questions > details").count()
    assert page.locator("#questions > details[open]").count() == 1


def test_without_scripts(browser: Browser, large_report: Path) -> None:
    """Summary, barrier, anomalies and answers need no script; in place of the rest it says why it is not there."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(large_report.as_uri())
    expect(page.locator("#summary")).to_contain_text("61 went wrong")
    expect(page.locator("#barrier svg").first).to_be_visible()
    expect(page.locator(".needs")).to_be_visible()
    expect(page.locator("#canvas")).to_be_hidden()
    expect(page.locator("#questions > details")).not_to_have_count(0)
    context.close()
