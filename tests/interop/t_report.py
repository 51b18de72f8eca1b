# SPDX-License-Identifier: MIT
"""The page and the test results of reports, as other programs see them: HTML's nesting, ids, links and keyboard, the contrast of its colours,
labels of the size chart, the order of JUnit's elements."""
import copy
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import tap
from common import PARE, workdir

VOID = {"meta", "br", "wbr", "link", "img", "input", "hr"}
ENDS_ITSELF = {"tr": {"tr", "tbody", "thead"}}


class Page(HTMLParser):
    """Elements in order, with what stands in the way of reading them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.wrong, self.elements, self.words = [], [], [], []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> stays open" for tag in self.stack]

    def handle_starttag(self, tag, attrs):
        if tag == "tr" and self.stack[-1] == "tr":
            self.stack.pop()
        self.elements.append((tag, dict(attrs), tuple(self.stack)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.stack)))
        if "svg" not in self.stack:
            self.wrong.append(f"<{tag}/> outside of SVG")

    def handle_endtag(self, tag):
        if self.stack and self.stack[-1] == "tr" and tag in ENDS_ITSELF["tr"] - {"tr"}:
            self.stack.pop()
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(f"</{tag}> ends nothing at {self.getpos()}")

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "title"):
            self.words.append((self.stack[-1], data))

    def of(self, tag, **attrs):
        return [a for t, a, _ in self.elements if t == tag and all(a.get(k) == v for k, v in attrs.items())]


def luminance(colour):
    digits = colour.lstrip("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    x, y = sorted((luminance(a), luminance(b)), reverse=True)
    return (x + 0.05) / (y + 0.05)


def themes(style):
    """Colours by name, of light and dark."""
    blocks = re.findall(r":root\{([^}]*)\}", style)
    light, dark = (dict(re.findall(r"--(\w+):(#\w+)", block)) for block in blocks[:2])
    return {"light": light, "dark": {**light, **dark}}


def check_page(name, text):
    page = Page(text)
    tap.ok(not page.wrong, f"{name}: elements nest", "\n".join(page.wrong[:10]))
    ids = [a["id"] for _, a, _ in page.elements if "id" in a]
    tap.ok(len(ids) == len(set(ids)), f"{name}: its {len(ids)} ids are different")
    links = [a["href"] for a in page.of("a")]
    tap.ok(links and all(h.startswith("#") and h[1:] in ids for h in links), f"{name}: its {len(links)} links lead to places on it", str(links[:20]))
    tap.ok(page.elements and page.of("a")[0].get("class") == "skip", f"{name}: the first link skips to the numbers")
    scrolls = [a for a in page.of("div") if a.get("class") == "scroll"]
    tap.ok(all(a.get("tabindex") == "0" and a.get("role") == "region" and a.get("aria-label") for a in scrolls),
           f"{name}: its {len(scrolls)} regions that scroll have names and are reached by keyboard")
    names = [a["aria-label"] for a in scrolls]
    if len([a for a in page.of("section") if a["id"] != "overview"]) == 1:
        tap.ok(len(names) == len(set(names)), f"{name}: their names are different", str(names))
    tap.ok(all(int(a["tabindex"]) <= 0 for _, a, _ in page.elements if "tabindex" in a), f"{name}: the keyboard's order is that of the page")
    tap.ok(all(len(a.get("aria-label", "")) > 8 for a in page.of("svg")), f"{name}: its {len(page.of('svg'))} drawings say in words what they show")
    levels = [int(t[1]) for t, _, _ in page.elements if re.fullmatch(r"h\d", t)]
    tap.ok(levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])), f"{name}: headings leave out no level", str(levels))
    tap.ok(all(stack[-1] == "details" for t, _, stack in page.elements if t == "summary"), f"{name}: summaries belong to what unfolds")
    tap.ok(not page.of("script") and "url(" not in text and not re.search(r"(src|href)=\"?(https?:)?//", text), f"{name}: nothing comes from elsewhere")
    return page


def show(paths, out):
    """Makes OUT.html and OUT.xml; a gate had failed in the reports."""
    done = subprocess.run([PARE, "report", *paths, "--html", f"{out}.html", "--junit", f"{out}.xml"], check=False, capture_output=True)
    tap.ok(done.returncode == 1, f"{len(paths)} report{'s' if len(paths) > 1 else ''} with failed gates exit 1", done.stderr)


def label_boxes(text):
    found = re.findall(r"<text class=name x=([\d.]+) y=([\d.]+) text-anchor=(\w+)>([^<]*)<", text)
    boxes = []
    for x, y, anchor, label in found:
        wide = 7.4 * len(label)
        left = float(x) - (wide if anchor == "end" else 0)
        boxes.append((left, float(y) - 12, left + wide, float(y) + 3))
    return boxes


def meet(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def check_labels(tmp, report):
    """Twelve candidates of nearly one size and divergence."""
    paths = []
    for i in range(12):
        r = copy.deepcopy(report)
        r["candidate_name"] = f"DeepSeek-V3-Q4_K-variant-{i}.gguf"
        r["candidate_bytes"] = 400_000_000_000 + i * 300_000_000
        r["kld"]["mean"] = 0.01 + 0.0002 * (i * 5 % 12)
        paths.append(tmp / f"near{i}.json")
        paths[-1].write_text(json.dumps(r))
    show(paths, tmp / "near")
    text = (tmp / "near.html").read_text()
    boxes = label_boxes(text)
    tap.ok(len(boxes) >= 10, f"of 12 candidates that are close together {len(boxes)} have a label")
    tap.ok(not any(meet(a, b) for i, a in enumerate(boxes) for b in boxes[:i]), "no label lies on another")
    ticks = re.findall(r"text-anchor=middle>(\d+(?:\.\d+)?) GB<", text)
    tap.ok(len(ticks) >= 4 and all(len(t) <= 5 for t in ticks), f"the size axis has round numbers: {', '.join(ticks)} GB")
    check_page("twelve candidates", text)


TEXTS = ["<b>&\"'</b>", "\n\n", " \t ", " 你好世界", "👩‍👩‍👧", "שלום", "\x01\x1b[31m", "\ufffd", "\u202eturned", "\x85", "\ufffe"]


def check_texts(tmp, report):
    """Texts of models hold anything."""
    r = copy.deepcopy(report)
    r["candidate_name"] = "".join(TEXTS)
    for i, position in enumerate(r["worst_positions"]):
        text = TEXTS[i % len(TEXTS)]
        position.update(before=text + "</blockquote>", after=text)
        position["target"]["text"] = text
        for choice in position["base"] + position["candidate"]:
            choice["text"] = text
    (tmp / "odd.json").write_text(json.dumps(r))
    show([tmp / "odd.json"], tmp / "odd")
    text = (tmp / "odd.html").read_text()
    check_page("odd texts", text)
    bad = sorted({hex(ord(c)) for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7f <= ord(c) < 0xa0 or 0x202a <= ord(c) <= 0x202e or ord(c) == 0xfffe})
    tap.ok(not bad, "control characters, marks that turn the text around and non-characters do not get onto the page", str(bad))
    tap.ok("你好世界" in text and "שלום" in text and "👩" in text, "writing of all directions does")
    name = ET.parse(tmp / "odd.xml").getroot()[0].get("name")
    tap.ok("<b>&\"'</b>" in name, "and JUnit's names survive", repr(name))


def check_junit(path):
    root = ET.parse(path).getroot()
    order = {"testsuites": ["testsuite"], "testsuite": ["testcase", "system-out"], "testcase": ["skipped", "failure", "system-out"]}
    known = {"testsuites": set(), "testsuite": {"name", "tests", "failures", "skipped", "errors"}, "testcase": {"name", "classname"},
             "failure": {"type", "message"}, "skipped": {"message"}, "system-out": set()}
    for element in root.iter():
        places = [order[element.tag].index(child.tag) for child in element] if element.tag in order else []
        if places != sorted(places) or set(element.attrib) - known[element.tag]:
            return tap.ok(False, "JUnit's elements stand in the schema's order", ET.tostring(element))
    suite = root[0]
    counts = [len(list(suite.iter(tag))) for tag in ("testcase", "failure", "skipped")]
    tap.ok(True, "JUnit's elements stand in the schema's order")
    return tap.ok([suite.get(k) for k in ("tests", "failures", "skipped")] == [str(c) for c in counts] and counts == [3, 1, 1],
                  f"a suite counts its cases, failures and skipped ones: {counts}")


def check_contrast(style):
    for theme, c in themes(style).items():
        texts = [(a, b) for a in ("fg", "muted", "base", "good", "bad", "warn") for b in ("bg", "card")] + [("fg", "mark")]
        shapes = [(a, "card") for a in ("base", "cand", "muted")] + [("cand", "bg")]
        for pairs, least, what in ((texts, 4.5, "text"), (shapes, 3, "lines, bars and the focus")):
            worst = min(pairs, key=lambda p: contrast(c[p[0]], c[p[1]]))
            ratio = contrast(c[worst[0]], c[worst[1]])
            tap.ok(ratio >= least, f"{theme}: the least contrast of {what} is {ratio:.2f} ({worst[0]} on {worst[1]}), at least {least} (WCAG AA)")
        shades = [luminance(c[f"q{i}"]) for i in range(1, 9)]
        tap.ok(shades == sorted(shades, reverse=theme == "light"), f"{theme}: the experts' shades go one way")


def main():
    nano = Path("tests/data/nano-v3")
    with workdir() as folder:
        tmp = Path(folder)
        subprocess.run([PARE, "convert", nano, "-o", tmp / "q4.gguf", "-r", "Q4_0", "-q"], check=True, capture_output=True)
        judge = [PARE, "verify", nano, tmp / "q4.gguf", "--text", "README.md", "--ctx", "32", "--chunks", "4", "-q", "--json"]
        mean = json.loads(subprocess.run(judge, check=True, capture_output=True).stdout)["kld"]["mean"]
        done = subprocess.run([*judge, "--tensors", "--html", tmp / "one.html", "--junit", tmp / "one.xml", "--confidence", "95", "--max-kld", str(mean),
                               "--min-top1", "1", "--max-kld-p99", "9"], check=False, capture_output=True)
        tap.ok(done.returncode == 1, "a run with gates that pass, fail and are undecided exits 1", done.stderr)
        report = json.loads(done.stdout)
        text = (tmp / "one.html").read_text()
        page = check_page("one candidate", text)
        verdict = [w for t, w in page.words if t == "p" and "gates:" in w]
        tap.ok([v.strip() for v in verdict] == ["3 gates: 1 passed, 1 undecided, 1 failed"], "its verdict is in words", str(verdict))
        check_junit(tmp / "one.xml")
        check_contrast(Path("cli/report_style.c").read_text().replace('"\n    "', ""))
        check_labels(tmp, report)
        check_texts(tmp, report)
    tap.done()


main()
