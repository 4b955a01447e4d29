# SPDX-License-Identifier: BSD-2-Clause
"""The page of `ui` in a browser: what is shown of hostile text, by keyboard alone, narrow and wide, light
and dark. Pictures of it are left in BUILD/screenshots."""
import json
import os
import shutil
import subprocess

import harness
import world as w
from harness import Bottle, Case
from test_events import FLOOD
from test_ui import Page

A = "https://api.example.test"
# A program's name that would turn its line around and speak to a terminal.
NAMED = ("import ctypes, socket; ctypes.CDLL(None).prctl(15, '\\u202eevil\\x1b'.encode()); "
         "socket.socket().connect_ex(('203.0.113.12', 443))")
# Text that stands on too little contrast (WCAG 2, 1.4.3), by what is behind it.
CONTRAST = """
const channels = c => c.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = e => { for (; e; e = e.parentElement) { const c = channels(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, box = e.getBoundingClientRect();
    if (!walker.currentNode.textContent.trim() || box.width < 2 || getComputedStyle(e).visibility !== "visible") continue;
    const a = light(channels(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen++;
    if (ratio < 4.5) found.push([e.tagName, e.className, walker.currentNode.textContent.slice(0, 40), ratio.toFixed(2)]);
}
return {seen, found};
"""
# What reaches out of its box to the right, but for what may be scrolled.
OVERFLOW = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, .hidden, .skip, thead") &&
    e.getBoundingClientRect().right > wide + 0.5).map(e => e.tagName + "#" + e.id + "." + e.className);
"""


class Browser:
    def __init__(self):
        modules = os.path.join(os.path.dirname(harness.world.program), "browser/node_modules")
        if "asan" in modules:
            modules = modules.replace("build-asan", "build")
        if not os.path.isdir(modules) or not shutil.which("chromium"):
            raise AssertionError("no chromium or no playwright-core: run tools/bootstrap")
        self.profile = harness.world.path("chromium-profile")
        os.makedirs(self.profile)
        self.process = subprocess.Popen(
            ["node", os.path.join(harness.HERE, "browser/driver.js"), modules, self.profile],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=w.die_with_parent,
            env={**harness.environment(), "HOME": self.profile})
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the browser has ended: {self.process.wait(10)}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]

    def do(self, code, **args):
        self.process.stdin.write(json.dumps({"code": code, "args": args}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def on_page(self, code):
        return self.do("return page.evaluate(`(() => {${args.body}})()`)", body=code)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.profile, ignore_errors=True)


class InBrowser(Case):
    measures = True  # what a sanitizer could find is in test_ui

    @classmethod
    def setUpClass(cls):
        cls.bottle = Bottle()
        cls.pages = []
        cls.browser = Browser()
        cls.bottle.curl(A + "/echo/one", A + "/elsewhere", "https://second.example.test/echo",
                        "https://badcert.example.test/", "https://unheard-of.example.test/")
        cls.bottle.curl("-X", "POST", "https://a.wild.example.test/upload/" + "a-long-name/" * 30)
        cls.bottle.curl("--path-as-is", "-g", A + "/echo/<img/src=x/onerror=alert(1)>",
                        A + "/echo/%e2%80%ae%0d%0a<script>alert(2)</script>")
        cls.bottle.python(NAMED)
        cls.bottle.run(["bash", "-c", "echo x >/dev/udp/203.0.113.12/443"])

    @classmethod
    def tearDownClass(cls):
        try:
            cls.browser.end()
        finally:
            for page in cls.pages:
                page.end()
            cls.bottle.stop()

    def setUp(self):
        super().setUp()
        self.page = Page(self.bottle)
        self.pages.append(self.page)
        self.browser.do("""said.length = 0; await page.emulateMedia({colorScheme: "light"});
            await page.setViewportSize({width: 1440, height: 900}); await page.goto("about:blank");
            await page.goto(args.url); await page.waitForSelector("#rows tr.refused");
            await page.waitForSelector("#source .line")""", url=self.page.url)

    def tearDown(self):
        said = self.browser.do("return said")
        # The browser itself says when an answer of ours was no success.
        self.assertEqual([x for x in said if not x.startswith("Failed to load resource")], [])
        self.page.end()
        self.pages.remove(self.page)

    def event(self, path):
        """The event of a path, as the log has it."""
        return [e for e in self.bottle.log() if e.get("path") == path][-1]

    def test_link_is_good_for_one_tab(self):
        self.assertEqual(self.browser.do("return page.url()"), self.page.origin + "/")
        self.assertEqual(self.browser.do("await page.reload(); await page.waitForSelector('#rows tr');"
                                         "return page.textContent('#link')"), "live")
        told = self.browser.do("""const other = await context.newPage(); await other.goto(args.url);
            await other.waitForSelector("#gate:not([hidden])");
            const found = [await other.textContent("#gate"), await other.locator("#rows tr").count(),
                await other.textContent("#name")]; await other.close(); return found""", url=self.page.url)
        self.assertIn("used already", told[0])
        self.assertEqual(told[1:], [0, ""])
        # A page without the link has nothing either, though the browser sends the cookie with it.
        told = self.browser.do("""const other = await context.newPage(); await other.goto(args.url);
            await other.waitForSelector("#gate:not([hidden])"); const found = await other.evaluate(
                () => fetch("/api/status").then(a => a.status)); await other.close(); return found""",
                               url=self.page.origin)
        self.assertEqual(told, 401)

    def test_hostile_text_stays_text(self):
        found = self.browser.on_page("""return {
            text: document.querySelector("#rows").textContent,
            tags: [...new Set([...document.querySelectorAll("#rows *")].map(e => e.tagName))].sort(),
            escaped: [...document.querySelectorAll("#rows .esc")].map(e => e.textContent)}""")
        self.assertEqual(found["tags"], ["B", "BUTTON", "SPAN", "TD", "TR"])
        self.assertIn("<img/src=x/onerror=alert(1)>", found["text"])
        self.assertIn("<script>alert(2)</script>", found["text"])
        self.assertNotIn("\u202e", found["text"])
        self.assertEqual(set(found["escaped"]), {"\\u{202e}", "\\u{1b}"})

    def test_nothing_of_elsewhere_may_run(self):
        """What the headers forbid is forbidden, in this browser."""
        got = self.browser.do("""const found = await page.evaluate(async () => {
            const result = {};
            try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); result.html = true; } catch { result.html = false; }
            result.code = await new Promise(done => setTimeout(() => { // a debugger's own calls may
                try { done(eval("1")); } catch { done(false); } }));
            const script = document.createElement("script");
            try { script.text = "window.ran = 1"; document.body.append(script); } catch { /* as it should */ }
            result.ran = Boolean(window.ran);
            result.fetch = await fetch("http://203.0.113.10/").then(() => true, () => false);
            const frame = document.createElement("iframe"); frame.src = "/"; document.body.append(frame);
            await new Promise(done => { frame.onload = done; setTimeout(done, 1000); });
            try { result.framed = Boolean(frame.contentDocument && frame.contentDocument.querySelector("#rows")); } catch { result.framed = false; }
            frame.remove();
            return result; }); said.length = 0; return found""")
        self.assertEqual(got, {"html": False, "code": False, "ran": False, "fetch": False, "framed": False})

    def test_line_that_decided(self):
        self.bottle.curl(A + "/no-line-allows")
        self.browser.do("await page.click('#rows tr:has-text(\"/no-line-allows\")')")
        found = self.browser.do("""await page.waitForSelector("#source .here");
            return [await page.textContent("#source .here code"), await page.textContent("#source .here i"),
                await page.textContent("#why"), await page.locator("#source .block").count()]""")
        route = self.event("/no-line-allows")["route"]
        self.assertEqual(found[0].strip(), "- host: api.example.test")
        self.assertTrue(route.endswith(f":{found[1]})"), route)
        self.assertIn("Refused: GET api.example.test:443/no-line-allows", found[2])
        self.assertIn("path_not_allowed", found[2])
        self.assertIn("Would allow it: ", found[2])
        self.assertEqual(found[3], 4)  # the rest of that route
        self.browser.do("await page.click('#rows tr:has-text(\"203.0.113.12\")')")
        self.browser.do("await page.waitForFunction(() => !document.querySelector('#source .here'))")
        self.assertIn("No line of the policy speaks of it", self.browser.do("return page.textContent('#why')"))

    def test_filters_and_pause(self):
        def paths():
            return self.browser.on_page("return [...document.querySelectorAll('#rows .to')].map(e => e.textContent)")
        self.browser.do("await page.check('#refused')")
        self.assertTrue(paths() and not any("/echo/one" in p for p in paths()))
        self.browser.do("await page.fill('#q', 'ELSEwhere')")
        self.assertEqual({p.partition("/")[2] for p in paths()}, {"elsewhere"})
        self.browser.do("await page.fill('#q', ''); await page.uncheck('#refused');"
                        "await page.selectOption('#host', 'second.example.test')")
        self.assertEqual({p.partition(":")[0] for p in paths()}, {"second.example.test"})
        self.browser.do("await page.selectOption('#host', ''); await page.click('#pause')")
        before = paths()
        self.bottle.curl(A + "/echo/paused")
        self.browser.do("await page.waitForFunction(() => /Resume · [1-9]\\d* new/.test(document.querySelector('#pause').textContent))")
        self.assertEqual(paths(), before)
        self.browser.do("await page.click('#pause'); await page.waitForSelector('#rows tr:has-text(\"/echo/paused\")')")

    def test_shapes_and_colours(self):
        shots = os.path.join(os.path.dirname(os.path.abspath(harness.world.program)), "screenshots")
        os.makedirs(shots, exist_ok=True)
        self.browser.do("await page.click('#rows tr.refused'); await page.waitForSelector('#why p + p')")
        for scheme in ("light", "dark"):
            for width in (1440, 360, 320):
                with self.subTest(scheme=scheme, width=width):
                    self.browser.do("""await page.emulateMedia({colorScheme: args.scheme});
                        await page.setViewportSize({width: args.width, height: args.width > 1000 ? 900 : 780})""",
                                    scheme=scheme, width=width)
                    self.assertEqual(self.browser.on_page(OVERFLOW), [])
                    # Nothing but the sections makes the page long.
                    left = self.browser.on_page("return document.documentElement.scrollHeight - document.querySelector('#hosts').getBoundingClientRect().bottom - scrollY")
                    self.assertLess(left, 60)
                    contrast = self.browser.on_page(CONTRAST)
                    self.assertGreater(contrast["seen"], 100)
                    self.assertEqual(contrast["found"], [])
                    if width != 320:
                        self.browser.do("await page.screenshot({path: args.path, fullPage: true})",
                                        path=f"{shots}/{scheme}-{width}.png")

    def test_nothing_jumps(self):
        """Neither while verdicts come, nor under a pointer: rows are still there where they were."""
        self.browser.do("""await page.mouse.move(5, 5); await page.evaluate(() => { window.shift = 0;
            new PerformanceObserver(list => list.getEntries().forEach(e => { window.shift += e.value; }))
                .observe({type: "layout-shift"}); })""")
        self.bottle.curl(*[f"{A}/echo/{i}" for i in range(10)], A + "/elsewhere/once/more")
        self.browser.do("await page.waitForSelector('#rows tr:has-text(\"/elsewhere/once/more\")')")
        others = self.browser.on_page("""return [window.shift, document.querySelector("#h-hosts").getBoundingClientRect().top,
            document.querySelector("#policy").getBoundingClientRect().height]""")
        self.browser.do("await page.hover('#rows tr:nth-child(3)')")
        under = self.browser.do("return page.textContent('#rows tr:hover .to')")
        self.bottle.curl(A + "/echo/while-hovering")
        self.browser.do("await page.waitForFunction(() => /new/.test(document.querySelector('#pause').textContent))")
        self.assertEqual(self.browser.do("return page.textContent('#rows tr:hover .to')"), under)
        self.browser.do("await page.mouse.move(5, 5); await page.waitForSelector('#rows tr:has-text(\"/while-hovering\")')")
        after = self.browser.on_page("""return [window.shift, document.querySelector("#h-hosts").getBoundingClientRect().top,
            document.querySelector("#policy").getBoundingClientRect().height]""")
        self.assertEqual(after[1:], others[1:])
        self.assertLess(after[0], 0.1, "cumulative layout shift: 0.1 is good")

    def test_by_keyboard_alone(self):
        def focused():
            return self.browser.on_page("const e = document.activeElement; return e.id || (e.closest('#rows') ? 'row' : e.getAttribute('aria-label') || e.textContent)")

        def press(key):
            self.browser.do("await page.keyboard.press(args.key)", key=key)
        press("Tab")
        self.assertEqual(focused(), "Skip to the verdicts")
        seen = []
        for _ in range(60):
            press("Tab")
            seen.append(focused())
            outline = self.browser.on_page("const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2")
            self.assertTrue(outline, seen[-1])
            if seen[-1] == "source":
                break
        # One stop for all the rows, in the order of what is seen.
        self.assertEqual(seen[-6:], ["host", "refused", "pause", "row", "why", "source"])
        press("Shift+Tab")
        press("Shift+Tab")
        for key, row in (("End", "last"), ("Home", "first"), ("ArrowDown", "second"), ("ArrowUp", "first")):
            press(key)
            at = self.browser.on_page("return [...document.querySelectorAll('#rows tr')].indexOf(document.activeElement.closest('tr'))")
            count = self.browser.on_page("return document.querySelectorAll('#rows tr').length")
            self.assertEqual(at, {"first": 0, "second": 1, "last": count - 1}[row])
        press("Enter")
        self.browser.do("await page.waitForSelector('#why p + p')")
        self.assertEqual(focused(), "row")
        # The row stays where it is, and the focus on it, while others come.
        text = self.browser.on_page("return document.activeElement.closest('tr').textContent")
        self.bottle.curl(A + "/echo/meanwhile")
        self.browser.do("await page.waitForFunction(() => /new/.test(document.querySelector('#pause').textContent))")
        self.assertEqual(self.browser.on_page("return document.activeElement.closest('tr').textContent"), text)
        press("Escape")
        self.assertEqual(focused(), "pause")
        self.browser.do("await page.waitForSelector('#rows tr:has-text(\"/echo/meanwhile\")')")

    def focused(self):
        return self.browser.on_page("const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent")

    def press(self, key):
        self.browser.do("await page.keyboard.press(args.key)", key=key)

    def tab_to(self, label):
        for _ in range(80):
            if self.focused() == label:
                return
            self.press("Tab")
        self.fail(f"no Tab leads to {label}")

    def status_of(self, path):
        return self.bottle.curl("-o", "/dev/null", "-w", "%{http_code}", A + path).stdout

    def test_deciding_by_keyboard(self):
        """Allowed by Enter, the focus goes on to what is next; ended by Enter; set aside by Enter."""
        self.assertEqual(self.status_of("/wanted/one"), "403")
        self.assertEqual(self.bottle.curl("-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT",
                                          A + "/wanted/two").stdout, "403")
        row = "#pending-list li:has-text('/wanted/"
        self.browser.do(f"await page.waitForSelector(\"{row}one')\"); await page.waitForSelector(\"{row}two')\")")
        labels = self.browser.on_page("return [...document.querySelectorAll('#pending-list button.go:not([hidden])')].map(e => e.getAttribute('aria-label'))")
        one = "Allow GET api.example.test:443/wanted/one"
        self.assertIn(one, labels)
        self.tab_to(one)
        after = (labels + labels[-2:-1])[labels.index(one) + 1]
        self.press("Enter")
        self.browser.do(f"await page.waitForSelector(\"{row}one')\", {{state: 'detached'}})")
        self.assertEqual(self.focused(), after)
        self.assertIn("Allowed: GET api.example.test:443/wanted/one", self.browser.do("return page.textContent('#told')"))
        self.assertEqual(self.status_of("/wanted/one"), "200")
        self.assertEqual(self.status_of("/wanted/other"), "403", "no more than was allowed")
        # Which line decided is seen of what was allowed beside the file, too.
        self.browser.do("""await page.waitForFunction(() => document.querySelectorAll("#source .file").length > 1);
            await page.waitForSelector("#granted-list li:has-text('left')")""")
        self.tab_to("End GET api.example.test:443/wanted/one")
        self.press("Enter")
        self.browser.do("await page.waitForSelector('#granted-list li:has-text(\"/wanted/one\")', {state: 'detached'})")
        self.assertEqual(self.status_of("/wanted/one"), "403")
        self.tab_to("Set aside PUT api.example.test:443/wanted/two")
        self.press("Enter")
        self.browser.do(f"await page.waitForSelector(\"{row}two')\", {{state: 'detached'}})")
        self.assertNotEqual(self.focused(), "")
        self.assertEqual(self.browser.on_page("return document.activeElement === document.body"), False)

    def test_choices_of_deciding(self):
        """All below a directory, and in the policy's file; what cannot be allowed has no button for it; an
        error is shown where it belongs."""
        for path in ("/tree/of/a", "/tree/of/b"):
            self.assertEqual(self.status_of(path), "403")
        row = "page.locator(\"#pending-list li:has-text('/tree/of/')\")"
        self.browser.do(f"""await {row}.waitFor(); const row = {row};
            await page.waitForFunction(() => document.querySelector("#pending-list").textContent.includes("/tree/of/…"));
            await row.locator("select").nth(0).selectOption({{label: "all below /tree/of/"}});
            await row.locator("select").nth(1).selectOption("file");
            await row.locator("button.go").click(); await row.waitFor({{state: "detached"}})""")
        self.assertEqual(self.status_of("/tree/of/c"), "200")
        self.assertEqual(self.status_of("/tree/outside"), "403")
        with open(self.bottle.policy_path, encoding="utf-8") as file:
            self.assertIn("/tree/of/", file.read())
        self.assertIn(self.bottle.policy_path, self.browser.do("return page.textContent('#told')"))
        udp = self.browser.do("""const row = page.locator("#pending-list li:has-text('udp 203.0.113.12')");
            await row.waitFor(); return [await row.locator("button:visible").allTextContents(), await row.textContent()]""")
        self.assertEqual(udp[0], ["Set aside"])
        self.assertIn("never opens UDP", udp[1])
        # Another operator was faster.
        self.assertEqual(self.status_of("/race/x"), "403")
        event = self.event("/race/x")["id"]
        said = self.browser.do("""const row = page.locator("#pending-list li:has-text('/race/x')"); await row.waitFor();
            await page.route("**/api/pending", route => route.abort());
            return row.evaluate(li => li.key) """)
        self.assertIn("api.example.test", said)
        self.ok(harness.cli("allow", self.bottle.name, event))
        said = self.browser.do("""const row = page.locator("#pending-list li:has-text('/race/x')");
            await row.locator("button.go").click(); await row.locator(".error:not(:empty)").waitFor();
            const text = await row.locator(".error").textContent(); await page.unroute("**/api/pending");
            await page.mouse.move(5, 5); await page.evaluate(() => document.activeElement.blur());
            await row.waitFor({state: "detached"}); said.length = 0; return text""")
        self.assertIn("allowed already", said)
        self.ok(harness.cli("deny", self.bottle.name, event))

    def test_what_is_under_a_hand_stays(self):
        """The bottle chooses when it is refused: neither the choice nor the row changes under a pointer."""
        self.assertEqual(self.status_of("/hand/of/first"), "403")
        row = "page.locator(\"#pending-list li:has-text('/hand/of/')\")"
        chosen = "await row.locator('select').nth(0).evaluate(e => e.selectedOptions[0].textContent)"
        self.browser.do(f"const row = {row}; await row.waitFor(); await row.locator('button.go').hover()")
        for path in ("/hand/of/second", "/hand/of/third"):
            self.assertEqual(self.status_of(path), "403")
        self.assertEqual(self.browser.do(f"""const row = {row};
            await page.waitForFunction(() => [...document.querySelectorAll("#pending-list li")].some(
                li => li.textContent.includes("/hand/of/…") && li.textContent.includes("3 times"))); return {chosen}"""),
                         "only /hand/of/first")
        self.ok(harness.cli("deny", self.bottle.name, self.event("/hand/of/third")["id"]))
        self.browser.do("""for (let i = 0; i < 2; i++) await page.waitForResponse("**/api/pending");""")
        self.assertEqual(self.browser.do(f"return {row}.count()"), 1)
        self.browser.do(f"await page.mouse.move(5, 5); await {row}.waitFor({{state: 'detached'}})")

    def test_a_name_is_shown_to_its_end(self):
        """Who owns a name stands at its end."""
        name = ".".join(["api.github.com", "x" * 63, "y" * 63, "z" * 63, "w" * 30, "evil.test"])
        self.bottle.curl("https://" + name + "/")
        self.browser.do("await page.waitForSelector(\"#pending-list li:has-text('evil.test')\")")

    def test_what_the_bottle_asks_for(self):
        body = json.dumps({"host": "wish.example.test", "method": "GET", "path": "/left-pad",
                           "reason": "please \u202e<b>now</b>"})
        self.ok(self.bottle.run(["curl", "-sS", "--fail-with-body", "-d", body, "-H", "Content-Type: application/json",
                                 "http://_egress.local/requests"]))
        row = "page.locator(\"#pending-list li:has-text('wish.example.test')\")"
        found = self.browser.do(f"""const row = {row}; await row.waitFor();
            return [await row.locator("blockquote").textContent(), await row.locator("blockquote b").count()]""")
        # What the proxy does not take for text it has written as '?' already.
        self.assertRegex(found[0], r"^It says: please (\\\\u\{202e\}|\?)<b>now</b>$")
        self.assertEqual(found[1], 0)
        self.browser.do(f"await {row}.locator('button.go').click(); await {row}.waitFor({{state: 'detached'}});"
                        "await page.waitForSelector(\"#granted-list li:has-text('wish.example.test')\")")

    def test_sidecar_goes_and_comes(self):
        self.bottle.process.terminate()
        self.bottle.process.wait(15)
        self.browser.do("await page.waitForSelector('#link.bad'); await page.waitForSelector('#f-sidecar .bad-text')")
        self.assertIn("dead", self.browser.do("return page.textContent('#f-sidecar')"))
        self.bottle.start()
        self.browser.do("await page.waitForSelector('#link.good')")
        self.bottle.curl(A + "/echo/again", A + "/elsewhere", A + "/elsewhere")
        self.browser.do("await page.waitForSelector('#rows tr:has-text(\"/echo/again\")')")

    def test_memory_of_the_page_has_an_end(self):
        bottle, page = Bottle(), None
        try:
            page = Page(bottle)
            self.browser.do("await page.goto(args.url); await page.waitForSelector('#link.good')", url=page.url)
            self.ok(bottle.python(FLOOD, "30000"))
            self.ok(bottle.python(FLOOD.replace("nowhere", "end"), "1"))
            self.browser.do("await page.waitForSelector('#rows tr:has-text(\".end.test\")')")
            found = self.browser.on_page("""return [document.querySelectorAll("#rows tr").length, document.querySelectorAll("#host option").length,
                document.querySelectorAll("*").length, document.querySelector("#list-state").textContent]""")
            self.assertLessEqual(found[0], 250)
            self.assertLessEqual(found[1], 501)
            self.assertLess(found[2], 6000)
            self.assertIn("last 1,000 verdicts", found[3])
        finally:
            if page:
                page.end()
            bottle.stop()
