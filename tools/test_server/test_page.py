"""A conversation in the page, in headless Chromium (Debian: chromium, chromium-driver). FACET_SCREENSHOTS: a directory
for pictures of it."""

import json
import os
import pathlib
import shutil
import time

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(DRIVER is None, reason="no chromedriver")


class Page:
    def __init__(self, url, size=(1280, 860), dark=False):
        options = webdriver.ChromeOptions()
        options.add_argument("--headless=new")
        options.add_argument("--no-sandbox")
        options.add_argument("--disable-gpu")
        options.add_argument(f"--window-size={size[0]},{size[1]}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        if size[0] < 600:
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                        {"width": size[0], "height": size[1], "deviceScaleFactor": 2, "mobile": True})
        scheme = "dark" if dark else "light"
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                    {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.url = url
        self.open()

    def open(self):
        self.driver.get(self.url + "/")
        self.until(lambda: "ok" in self.find("#dot").get_attribute("class"))

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition, patience=60):
        deadline = time.time() + patience
        while not condition():
            assert time.time() < deadline, "waited in vain"
            time.sleep(0.02)

    def write(self, text):
        self.find("#input").send_keys(text)

    def is_live(self):
        return self.find("#send").get_attribute("aria-label") == "Stop"

    def ask(self, text):
        self.write(text + Keys.ENTER)
        self.until(lambda: not self.is_live() and self.all(".turn.model .foot"))

    def set_settings(self, **settings):
        self.run("Object.assign(settings, arguments[0]); save('facet.settings', settings)", settings)

    def shoot(self, name):
        folder = os.environ.get("FACET_SCREENSHOTS")
        if folder:
            self.driver.save_screenshot(str(pathlib.Path(folder) / f"{name}.png"))

    def problems(self):
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def open_page(server):
    pages = []

    def start(**options):
        pages.append(Page(server.url, **options))
        return pages[-1]

    yield start
    for page in pages:
        problems = page.problems()
        page.driver.quit()
        assert not problems, problems


def test_a_conversation(open_page):
    page = open_page()
    page.set_settings(max_tokens="60", seed="4")
    page.shoot("start")
    page.ask("Tell me a short story about a cat.")
    answers = page.all(".turn.model")
    assert len(answers) == 1
    first = answers[0].find_element(By.CSS_SELECTOR, ".body").text
    assert first
    assert "tokens/s" in answers[0].text
    page.ask("And then?")
    assert len(page.all(".turn.user")) == 2
    page.shoot("conversation")
    # It is all there again after a reload.
    page.open()
    assert [t.text for t in page.all(".turn.user")] == ["Tell me a short story about a cat.", "And then?"]
    assert page.all(".turn.model .body")[0].text == first
    # Regenerating the last answer with the seed fixed gives the same one.
    last = page.all(".turn.model .body")[1].text
    page.find("body").send_keys(Keys.ALT + "r")
    page.until(lambda: not page.is_live() and len(page.all(".turn.model")) == 2)
    assert page.all(".turn.model .body")[1].text == last
    # A new one, and back.
    page.find("body").send_keys(Keys.ALT + "n")
    assert page.all("#start")
    page.find("#list .open").click()
    assert len(page.all(".turn")) == 4
    page.find("#list .drop").click()
    assert page.all("#start") and not page.all("#list li")


def test_stopping(open_page, server):
    page = open_page()
    page.set_settings(max_tokens="2000")
    page.run("sampling = ((plain) => () => ({ ...plain(), ignore_eos: true }))(sampling)")
    page.write("Once upon a time" + Keys.ENTER)
    page.until(page.is_live)
    page.until(lambda: page.run("return document.querySelector('.turn.model .body')?.textContent"))
    page.find("#input").send_keys(Keys.ESCAPE)
    page.until(lambda: not page.is_live())
    assert "stopped" in page.find(".turn.model .foot").text
    server.wait_for_metric("facet_requests_running", 0)


def test_a_long_conversation_goes_on(open_page):
    """What no longer fits the context is left out, oldest first."""
    page = open_page()
    page.set_settings(max_tokens="20")
    told = "The fox went to the mill, and the miller asked him what he wanted there at that time of the night. " * 5
    page.run("""current = {id: 'x', title: 'Long', turns: []}; chats = [current];
                for (let i = 0; i < 40; ++i) current.turns.push({role: 'user', content: 'Go on. ' + i},
                    {role: 'assistant', content: i === 38 ? '' : arguments[0]});""", told)
    page.ask("Tell me a story about a fox.")
    last = page.all(".turn.model")[-1]
    assert last.find_element(By.CSS_SELECTOR, ".body").text and not last.find_elements(By.CSS_SELECTOR, ".error")
    assert "earlier messages no longer fit" in last.text
    sent = page.run("return latest({turns: current.turns.slice(0, -1)}).turns.map((t) => [t.role, t.content.slice(0, 9)])")
    assert sent[-1] == ["user", "Tell me a"] and sent[-3:-1] == [["user", "Go on. 39"], ["assistant", "The fox w"]]
    assert [role for role, _ in sent] == ["user", "assistant"] * (len(sent) // 2) + ["user"]
    assert ["user", "Go on. 38"] not in sent and 5 <= len(sent) < 81
    assert len(page.run("return latest({turns: current.turns.slice(0, 2).concat(current.turns.slice(-2, -1))}).turns")) == 3


def test_closed_in_mid_answer(open_page):
    page = open_page()
    page.set_settings(max_tokens="2000")
    page.run("sampling = ((plain) => () => ({ ...plain(), ignore_eos: true }))(sampling)")
    page.write("Once upon a time" + Keys.ENTER)
    page.until(lambda: page.run("return document.querySelector('.turn.model .body')?.textContent.length > 40"))
    page.open()
    answer = page.find(".turn.model")
    assert len(answer.find_element(By.CSS_SELECTOR, ".body").text) > 20 and "stopped" in answer.text
    page.set_settings(max_tokens="8")
    page.ask("And then?")
    assert len(page.all(".turn")) == 4 and not page.all(".error")


def test_text_stays_text(open_page):
    """Whatever a model writes: no element of its own making, no script, no link but to the web."""
    page = open_page()
    hostile = ("<img src=x onerror=alert(1)><script>alert(2)</script> [a](javascript:alert(3)) [b](data:text/html,x) "
               "[c](https://example.org/?q=1\"onmouseover=alert(4)) **<b>bold</b>** `<i>code</i>`\n\n"
               "```html\n<script>alert(5)</script>\n```\n\n| <u>a</u> | b |\n|---|---|\n| 1 | <svg onload=alert(6)> |\n\n"
               "# <style>*{display:none}</style>\n\n- <iframe src=//x>\n  - [d](vbscript:x)\n\n> > > quoted\n")
    page.run("""current = {id: 'x', title: '<b>t</b>', turns: [{role: 'user', content: arguments[0]},
                {role: 'assistant', content: arguments[0], reasoning: arguments[0]}]}; chats = [current]; draw();""", hostile)
    made = page.run("""return [...document.querySelectorAll('#log *, #list *')].map((e) => e.tagName.toLowerCase())""")
    assert not set(made) & {"img", "script", "iframe", "style", "i", "b", "u", "object", "form", "input"}, made
    assert page.run("return [...document.querySelectorAll('#log *')].every((e) => [...e.attributes].every("
                    "(a) => !a.name.startsWith('on')))")
    links = page.run("return [...document.querySelectorAll('#log a')].map((a) => a.protocol)")
    assert links and set(links) == {"https:"}
    assert "<img src=x onerror=alert(1)>" in page.find(".turn.user .body").text


def test_markdown(open_page):
    page = open_page()
    text = ("# Title\n\nSome *emphasis*, **strong text** and `code`, snake_case_name and 2 * 3 * 4.\n\n"
            "1. one\n2. two\n   - inner\n   - more\n3. three\n\n```py\nprint('a')\n\n# not a heading\n```\n\n> a quote\n\n"
            "| a | b |\n|:--|--:|\n| 1 | 2 |\n\n---\n\nlast line with https://example.org/x.")
    page.run("""current = {id: 'x', title: 'Markdown', turns: [{role: 'user', content: 'Show me Markdown.'},
                {role: 'assistant', content: arguments[0], reasoning: 'They want to see it all.', thoughtFor: 1.2,
                 tokens: 93, rate: 41.7}]}; chats = [current]; draw();""", text)
    html = page.run("return document.querySelector('.turn.model .body').innerHTML")
    for part in ("<h1>Title</h1>", "<em>emphasis</em>", "<strong>strong text</strong>", "<code>code</code>",
                 "snake_case_name and 2 * 3 * 4", '<ol start="1"><li>one</li><li>two<ul><li>inner</li>',
                 "print('a')\n\n# not a heading", "<blockquote><p>a quote</p></blockquote>", "<th>a</th>", "<td>2</td>",
                 "<hr>", 'href="https://example.org/x."'):
        assert part in html, (part, html)
    page.shoot("markdown")
    page.find(".think summary").click()
    assert page.find(".think div").is_displayed()


def test_dark_and_phone(open_page):
    page = open_page(size=(390, 800), dark=True)
    assert page.run("return document.documentElement.dataset.theme") == "dark"
    page.set_settings(max_tokens="40", seed="4")
    page.ask("Hello!")
    page.shoot("phone")
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    page.find("#menu").click()
    page.until(lambda: page.find("#new").is_displayed())
    time.sleep(0.3)
    page.shoot("phone-drawer")
    page.find("#new").click()
    page.until(lambda: page.all("#start"))


def test_settings_are_sent(open_page):
    page = open_page()
    page.find("#settings").click()
    page.run("form.temperature.value = '0.5'; form.system.value = 'Be brief.'; form.max_tokens.value = '7'")
    page.shoot("settings")
    page.find("#form .main").click()
    path, body = page.run("current = null; return requestFor([{role: 'user', content: 'x'}])")
    assert path == "/v1/chat/completions"
    assert json.loads(json.dumps(body)) == {
        "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "max_tokens": 7,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]}
