from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from livewarden_client.clip import Clip, Text
from livewarden_client.errors import Unavailable
from livewarden_client.fallback import build_fallback
from livewarden_client.verdict import Evidence
from livewarden_client.wire import ACTIONS
from livewarden_ensemble.watch.difference import find_difference
from livewarden_ensemble.watch.moment import Moment
from livewarden_ensemble.watch.page import render_page
from livewarden_ensemble.watch.report import Report, Side
from livewarden_ensemble.watch.sign import SIGNS, format_clock
from livewarden_ensemble.watch.timeline import build_timeline

CALM, LOUD = {"scam_spam": 0.01}, {"scam_spam": 0.99, "hate": 0.7}
HOSTILE = (
    '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>"\'&{{ 7*7 }}'
)
VOID = {"meta", "br", "hr", "link", "img", "input", "path", "rect", "line"}


class Checker(HTMLParser):
    """Follows the elements of a page, and notes what is left open or would reach outside it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that begins."""
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"link", "iframe", "object", "base", "form", "a"}:
            self.faults.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            outside = name in {"src", "href", "srcset", "action"}
            if (outside and not (value or "").startswith("data:image/jpeg;base64,")) or (
                name[:2] == "on"
            ):
                self.faults.append(f"{name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that is whole in one tag."""
        self.handle_starttag(tag, attrs)
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        """Note an element that ends."""
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


def report(*sides: tuple[Moment, ...], place: str = "", video: str = "stream.mp4") -> Report:
    """Put a report together, of one side or of two."""
    names = ["A", "B"] if len(sides) > 1 else [""]
    timelines = [build_timeline(moments) for moments in sides]
    return Report(
        video=video,
        every_ms=2000,
        frames=8,
        began_ms=1_767_225_600_000,
        place={"region": place},
        unsent=0,
        sides=tuple(Side(*one, "sent") for one in zip(names, timelines, strict=True)),
        difference=find_difference(*timelines) if len(timelines) > 1 else None,
    )


@pytest.fixture
def moments(make_moments: Callable) -> tuple[Moment, ...]:
    """Clips of which some are blocked for a text, and one was not seen."""
    said = {
        2: [Text("chat", "send me your seed phrase", 4500)],
        3: [Text("asr", HOSTILE, 6100)],
    }
    scores = [CALM, CALM, LOUD, LOUD, *[CALM] * 4]
    return make_moments(scores, texts=said, states={7: {"frames": "corrupt"}})[0]


def test_the_page_is_whole_and_reaches_nowhere(moments: tuple[Moment, ...]) -> None:
    """Every element is closed; no link, no address but pictures inside, no handler attribute."""
    for page in (render_page(report(moments)), render_page(report(moments, moments))):
        checker = check(page)
        assert checker.faults == []
        assert checker.open == []
        assert checker.scripts == 2
    with pytest.raises(AssertionError):
        assert check('<p><img src="https://a.example/x.png" onload="x()"></div>').faults == []


def test_only_the_pages_own_script_may_run(moments: tuple[Moment, ...]) -> None:
    """The content policy loads nothing and names the hash of the script that stands in the page."""
    page = render_page(report(moments))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["script-src"] == f"'sha256-{digest}'"


def test_what_callers_wrote_is_text_and_nothing_else(moments: tuple[Moment, ...]) -> None:
    """Hostile words in a text, a list's span, a place or a file's name stay words."""
    hit = Evidence("hate", "asr", "texts[0]", 1.0, "list", 6100, (0, 9), source=HOSTILE, entry=0)
    verdict = replace(moments[3].verdict, evidence=(*moments[3].verdict.evidence, hit))
    hostile = (*moments[:3], replace(moments[3], verdict=verdict), *moments[4:])
    page = render_page(report(hostile, place=HOSTILE, video=HOSTILE))
    assert check(page).faults == []
    assert check(page).scripts == 2
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert "{{ 7*7 }}" in page
    assert "<mark>&lt;/script&gt;</mark>" in page


def test_pictures_of_what_was_not_allowed_start_blurred(moments: tuple[Moment, ...]) -> None:
    """A picture stands open only where every side saw its clip as a whole and allowed it."""
    page = render_page(report(moments))
    strip = re.search(r'<ol class="strip".*?</ol>', page, re.DOTALL)
    assert strip is not None
    items = re.findall(r"<li>(.*?)</li>", strip[0], re.DOTALL)
    blurred = ['class="picture" aria-pressed="false"' in item for item in items]
    assert blurred == [
        one.verdict.action != "allow" or one.verdict.coverage.degraded for one in moments
    ]
    scenes = page[page.index('id="decisive"') : page.index('id="texts"')]
    assert scenes.count("<img") == scenes.count('class="picture"') > 0


def test_two_sides_show_where_they_part(
    moments: tuple[Moment, ...], make_moments: Callable
) -> None:
    """The first difference and the differing clips are told in words."""
    calm = make_moments([CALM] * len(moments))[0]
    page = render_page(report(calm, moments))
    assert "<b>First at 0:04</b>, clip 3" in page
    differing = sum(
        a.verdict.action != b.verdict.action for a, b in zip(calm, moments, strict=True)
    )
    assert f"{differing} of {len(moments)} clips differ" in page
    assert page.count(">≠</span>") == differing
    assert "Nowhere: both take the same action" in render_page(report(calm, calm))


def test_a_recording_without_one_verdict_of_a_server_is_told(
    moments: tuple[Moment, ...],
) -> None:
    """Where every call failed, the page shows the client's reviews and what was not seen."""
    failed = tuple(
        replace(one, verdict=build_fallback(Clip([b"x"]), "r", Unavailable("gone"), 0.1))
        for one in moments
    )
    page = render_page(report(failed))
    assert check(page).faults == []
    assert "client failed (unavailable)" in page
    assert f"<b>{len(moments)}</b> ? review" in page


def test_every_action_has_a_sign_of_its_own() -> None:
    """Without colour, four actions are four signs."""
    assert len({SIGNS[action] for action in ACTIONS}) == len(ACTIONS)


@pytest.mark.parametrize(
    ("ms", "clock"),
    [(0, "0:00"), (14_000, "0:14"), (14_500, "0:14.50"), (3_723_000, "1:02:03")],
)
def test_clocks(ms: int, clock: str) -> None:
    """Minutes and seconds, hours where there are some, hundredths off a whole second."""
    assert format_clock(ms) == clock


# In a real browser.

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_WHY = "no Chromium here; on Debian: apt-get install -y chromium"
# WCAG 2.1: contrast of text, 4.5 to 1, from each text's own colour and the ground behind it.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const paint = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bad = [];
  let count = 0;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || element.closest('script, .run, [hidden]') || !element.checkVisibility()) continue;
    const grounds = [];
    for (let at = element; at; at = at.parentElement) {
      grounds.unshift(getComputedStyle(at).backgroundColor);
    }
    const ground = paint(grounds);
    const text = paint([...grounds, getComputedStyle(element).color]);
    const [high, low] = [luminance(text), luminance(ground)].sort((a, b) => b - a);
    count += 1;
    if ((high + 0.05) / (low + 0.05) < 4.5) bad.push(element.textContent);
  }
  return {bad, count};
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; playwright only drives it."""
    if CHROMIUM is None:
        pytest.skip(_WHY)
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Opened:
    """A page that is open in the browser, and what it asked of the network and said of errors."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(file.as_uri())


@pytest.fixture
def open_report(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Open a report in the browser."""
    opened: list[Opened] = []

    def open_(shown: Report, **options: Any) -> Opened:
        file = tmp_path / "report.html"
        file.write_text(render_page(shown), encoding="utf-8")
        opened.append(Opened(browser, file, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.page.close()


def test_the_browser_asks_for_nothing_and_runs_nothing_foreign(
    open_report: Callable[..., Opened], moments: tuple[Moment, ...]
) -> None:
    """With hostile texts: no request but the file and its own pictures, no error, no injection."""
    opened = open_report(report(moments, moments, video=HOSTILE))
    outside = [url for url in opened.requests[1:] if not url.startswith("data:image/jpeg")]
    assert outside == []
    assert opened.faults == []
    assert opened.page.title().startswith("</script>")


def test_the_browser_refuses_a_script_that_came_in(
    moments: tuple[Moment, ...], tmp_path: Path, browser: Any
) -> None:
    """Were a text ever let through unescaped, the content policy would keep it from running."""
    page = render_page(report(moments)).replace(
        "<main>", '<main><script>document.title="owned"</script>'
    )
    file = tmp_path / "injected.html"
    file.write_text(page)
    opened = Opened(browser, file)
    assert opened.page.title() == "stream.mp4 · Livewarden"
    assert "Content Security Policy" in " ".join(opened.faults)
    opened.page.close()


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_picture_is_shown_and_hidden_by_keyboard(
    open_report: Callable[..., Opened], moments: tuple[Moment, ...], key: str
) -> None:
    """The Tab key comes to every blurred picture, and Enter or Space lifts the blur and sets it."""
    page = open_report(report(moments)).page
    blur = "button => getComputedStyle(button.querySelector('img')).filter"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "picture":
            break
    button = page.evaluate_handle("document.activeElement").as_element()
    assert "blur" in button.evaluate(blur)
    page.keyboard.press(key)
    assert button.evaluate(blur) == "none"
    assert button.get_attribute("aria-pressed") == "true"
    page.keyboard.press(key)
    assert "blur" in button.evaluate(blur)


def test_the_cursor_moves_by_arrow_keys_and_says_where_it_is(
    open_report: Callable[..., Opened], moments: tuple[Moment, ...]
) -> None:
    """Arrow keys go from clip to clip; what the slider is called tells time and action."""
    page = open_report(report(moments)).page
    page.focus("#cursor")
    page.keyboard.press("Home")
    assert page.get_attribute("#cursor", "aria-valuetext") == "0:00, clip 1:  allow"
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert "0:04, clip 3:  block, scam_spam" in page.get_attribute("#cursor", "aria-valuetext")
    assert "× block" in page.inner_text("#readout")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_in_light_and_dark(
    open_report: Callable[..., Opened], moments: tuple[Moment, ...], scheme: str
) -> None:
    """Every text of the page has at least 4.5 to 1, as the system has it and switched over."""
    page = open_report(report(moments, moments), color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(2):
        found = page.evaluate(CONTRAST)
        assert found["bad"] == []
        assert found["count"] > 100
        page.click("#theme")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_the_contrast_check_can_fail(
    open_report: Callable[..., Opened], moments: tuple[Moment, ...]
) -> None:
    """Grey on white is found."""
    page = open_report(report(moments), color_scheme="light").page
    page.evaluate("document.querySelector('h1').style.color = '#999'")
    assert len(page.evaluate(CONTRAST)["bad"]) == 1


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_scrolls_sideways(
    open_report: Callable[..., Opened], moments: tuple[Moment, ...], width: int
) -> None:
    """From a small telephone to a desk, the page itself is never wider than the screen."""
    opened = open_report(report(moments, moments), viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
