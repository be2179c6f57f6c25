import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from ablations.analysis.stats import summarize
from ablations.analysis.tables import MEASURES
from ablations.report.facts import state_facts
from ablations.report.page import compare_images, compare_seeds, explain_flags
from ablations.report.publish import draw
from ablations.study.folder import StudyFolder
from ablations.study.predictions import Answers
from ablations.study.trial import Plan, Seen
from convnext_path import LADDERS, RECIPES, Data
from convnext_path.data.datasets import open_data
from convnext_path.ladder import MODEL
from convnext_path.references import REFERENCES
from convnext_path.words import show_name
from tests.conftest import fake_result
from tests.report.conftest import HARD

COLUMNS = ("step", "verdict", *MEASURES)
MARKUP = """<script>alert("x")</script> & <b>'bold'</b>"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and shutil.which("chromedriver")), reason="needs chromium and chromium-driver"
)


@pytest.fixture(scope="module")
def study(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """The whole small ladder, 3 seeds, one rung without a result and one with two."""
    rungs = tuple(replace(r, title=MARKUP) if r.name == "wider" else r for r in LADDERS["convnext-nano"])
    recipes = tuple((name, RECIPES["digits"][name]) for name in ("original", "enhanced"))
    plan = replace(plan, rungs=rungs, recipes=recipes, seeds=(0, 1, 2))
    study = StudyFolder(tmp_path_factory.mktemp("page") / "study")
    study.begin(plan, "python -m ablations run --study '<i>'")
    lost = {("gelu", 0), ("gelu", 1), ("gelu", 2), ("layer_norm", 1)}
    for i, trial in enumerate(plan.trials()):
        if (trial.rung, trial.seed) not in lost:
            study.save(fake_result(trial, 70.0 + i * 37 % 29))
        elif trial.rung == "gelu":
            study.save_failure(trial, "killed <by> a signal", "cause")
    return study


@pytest.fixture(scope="module")
def page(study: StudyFolder) -> Path:
    draw(study, study.contents())
    return study.folder / "report.html"


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert len(text) < 3e6
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text)
    links = set(re.findall(r"https?://[^\"' )<]+", text))
    assert links == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "Content-Security-Policy" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_names_are_no_markup(page: Path) -> None:
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "killed &lt;by&gt; a signal" in text
    assert "--study &#39;&lt;i&gt;&#39;" in text


@pytest.mark.parametrize("name", HARD, ids=range(len(HARD)))
def test_a_page_holds_every_name(name: str, plan: Plan, tmp_path: Path) -> None:
    """It is UTF-8 and parses, its charts too, and no name becomes a part of it."""
    rungs = tuple(replace(rung, title=f"{name}.{i}", section=name) for i, rung in enumerate(plan.rungs))
    study = StudyFolder(tmp_path / "study")
    study.begin(replace(plan, rungs=rungs), "run")
    for trial in study.plan().trials():
        study.save(fake_result(trial, 80.0 + trial.seed))
    draw(study, study.contents())
    text = (study.folder / "report.html").read_bytes().decode()
    reader = Reader()
    reader.feed(text)
    shown = "".join(reader.text.split())
    for i in range(2):
        assert "".join(show_name(f"{name}.{i}").split()) in shown
    assert reader.tags["script"] == 1
    assert reader.tags["svg"] == text.count("<svg") == 3
    table = pd.read_csv(study.folder / "results.csv", encoding="utf-8", keep_default_na=False, dtype=str)
    assert list(table["title"]) == [show_name(rung.title) for rung in rungs]


class Reader(HTMLParser):
    """Counts a page's tags and keeps its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.text = Counter[str](), ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags[tag] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_is_missing(page: Path) -> None:
    text = " ".join(page.read_text().split())
    assert "4 of 51 trials have no result" in text
    assert "no result" in text
    assert "2 of 3 seeds" in text
    assert "layer_norm, seed 1: not trained yet" in text


def test_doubts_stand_with_the_answer(page: Path) -> None:
    text = page.read_text()
    answer = text[text.index('<section class="answer"') :].partition("</section>")[0]
    assert (
        "<strong>Doubt:</strong> Each epoch has 1 training step (100 images, batch size 64). With fewer than 10, "
        in answer
    )
    assert "layer_norm lacks seed 1, which others have. The same command with --rungs layer_norm --seeds 3 " in answer


def test_facts_begin_with_the_images(page: Path) -> None:
    facts = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.read_text())
    assert facts[0] == ("Images", "100 for training, 360 for validation; 10 classes; 32 x 32 px, 1 channel")
    assert facts[2] == ("Epochs of recipe enhanced", "5 epochs of 1 step of 64 images")


def test_images_that_records_do_not_hold_are_told_by_their_curves(plan: Plan) -> None:
    plan = replace(plan, data=Data("cifar10"))
    results = [fake_result(trial) for trial in plan.trials()]
    assert dict(state_facts(plan, results))["Images"] == "not recorded"
    seen = [replace(r, curve=(replace(r.curve[0], images=96), *r.curve[1:])) for r in results]
    assert dict(state_facts(plan, seen))["Images"] == "96 training images per epoch"
    known = [replace(r, seen=Seen(50_000, 10_000, 10, 32, 3)) for r in results]
    facts = dict(state_facts(plan, known))
    assert facts["Images"].startswith("50000 for training, 10000 for validation; 10 classes; 32 x 32 px, 3 channels")
    assert facts["Epochs of recipe enhanced"] == "1 epoch of 1000 steps of 50 images"


def test_drawn_again_it_is_the_same(page: Path, study: StudyFolder) -> None:
    before = page.read_bytes()
    draw(study, study.contents())
    assert page.read_bytes() == before


@pytest.fixture(scope="module")
def comparison(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three networks side by side, with their answers on digits."""
    rungs = tuple(replace(r, section=MODEL) for r in (REFERENCES[name] for name in ("resnet-nano", "swin-nano")))
    rungs = (*rungs, replace(rungs[0], name="third", title=MARKUP))
    recipes = (("enhanced", RECIPES["digits"]["enhanced"]),)
    plan = replace(plan, ladder="comparison", rungs=rungs, recipes=recipes, seeds=(0,))
    study = StudyFolder(tmp_path_factory.mktemp("page") / "comparison")
    study.begin(plan)
    splits = open_data(plan.data)
    truth = splits.val.labels[list(splits.val_indices)]
    for i, trial in enumerate(plan.trials()[:2]):  # the third is the first's network, and shares its record
        given = np.where(np.arange(len(truth)) % 12 < 2 + 6 * i, truth, 0)
        study.save(replace(fake_result(trial, 100 * float(np.mean(given == truth))), weights=trial.rung))
        content = tuple(truth.tolist()), tuple(given.tolist()), (0.5,) * len(truth)
        study.keep(trial, b"", Answers(splits.digest, trial.rung, splits.classes, *content))
    draw(study, study.contents())
    return study.folder / "report.html"


def test_networks_side_by_side_have_no_changes_and_are_told_apart_by_their_answers(comparison: Path) -> None:
    text = " ".join(comparison.read_text().split())
    truth, best = 360, re.search(r"of the same (\d+): Swin-nano (\d+)", text)
    assert best
    assert int(best[1]) == truth
    assert int(best[2]) > truth / 2
    assert re.search(r"ResNet-nano \d+ \(p \d.*e-\d\d\)", text)
    assert "How this differs from the paper's experiment" not in text
    assert "Which of these networks is best" in text
    assert "All models" in text
    for absent in ("verdict", "change", "paper"):
        assert f'button type="button">{absent}<' not in text
    assert not comparison.with_name("changes.png").exists()
    assert comparison.with_name("confusion.png").exists()
    assert "<script>alert" not in text


def test_p_values_of_networks_are_corrected_for_their_number(plan: Plan) -> None:
    rungs = tuple(replace(plan.rungs[0], name=name, title=name, section=MODEL, adopted=False) for name in "abc")
    many = replace(plan, rungs=rungs, seeds=(0, 1, 2))
    tops = {"a": (90, 91, 92), "b": (88, 90, 89), "c": (80, 79, 75)}
    results = [fake_result(trial, tops[trial.rung][trial.seed]) for trial in many.trials()]
    text = compare_seeds(summarize(many, results))
    ps = [float(p) for p in re.findall(r"\(p ([\d.e-]+)\)", text)]
    raw = sorted(ttest_1samp(np.subtract(tops["a"], tops[name]), 0).pvalue for name in "bc")
    assert sorted(ps) == pytest.approx([2 * raw[0], max(2 * raw[0], raw[1])], rel=0.06)
    assert text.startswith("Top-1 accuracy, mean over seeds: a 91.00 ±2.5 %, b ")

    once = summarize(replace(many, seeds=(0,)), [result for result in results if result.trial.seed == 0])
    truth, right = (0,) * 40, {"a": 40, "b": 34, "c": 30}
    kept = {n: [Answers("d", n, ("x", "y"), truth, (0,) * k + (1,) * (40 - k), (0.5,) * 40)] for n, k in right.items()}
    assert "of the same 40: a 40, b 34 (p 0.031), c 30 (p 0.0039)" in compare_images(once, kept)
    assert compare_images(once, {}) == "Top-1 accuracy: a 90.00 %, b 88.00 %, c 80.00 %."


def test_answers_on_other_images_are_left_out(comparison: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(comparison.parent, tmp_path / "copy")
    study = StudyFolder(folder)
    first, second = study.results()[:2]
    answers = study.read_answers(second)
    assert answers
    study.keep(second.trial, b"", replace(answers, data="of other images"))
    draw(study, study.contents())
    text = " ".join((folder / "report.html").read_text().split())
    assert "were not kept, are damaged, or belong to other images" in text
    (file := study.answers / f"{second.trial.id}.json").write_text("{")
    draw(study, study.contents())
    assert f"{file} is " in " ".join((folder / "report.html").read_text().split())
    for result in (first, second):
        study.keep(result.trial, b"", replace(answers, data="of other images", weights=result.weights))
    draw(study, study.contents())
    assert "the page shows no test images: they have changed since" in (folder / "report.html").read_text()


def test_a_page_without_its_images_says_so(comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(data: object) -> None:
        raise ValueError("no folder there")

    monkeypatch.setattr("ablations.report.publish.open_data", gone)
    folder = shutil.copytree(comparison.parent, tmp_path / "copy")
    draw(StudyFolder(folder), StudyFolder(folder).contents())
    text = (folder / "report.html").read_text()
    assert "the page shows no test images: no folder there" in text
    assert "Test images" not in text
    assert "Confusion matrices" in text


@pytest.mark.parametrize("ladder", LADDERS)
def test_every_flag_is_explained(ladder: str) -> None:
    for rung in LADDERS[ladder]:
        explained = explain_flags(type(rung.flags))
        assert re.match(r"(Section [23]\.\d.*?|V[12], .*?): \w.{20,}\.$", explained[rung.change[0]])
        assert "`" not in "".join(explained.values())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-dev-shm-usage"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


@pytest.fixture
def browser(chromium: Any, page: Path) -> Any:
    """A browser that shows the page."""
    set_view(chromium, 1280)
    chromium.get(page.as_uri())
    return chromium


def set_view(browser: Any, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def shown(browser: Any, column: str) -> list[str]:
    """What a column shows, of the rows that are not hidden."""
    script = (
        "return [...document.querySelectorAll('tbody tr:not([hidden])')].map(r => r.cells[arguments[0]].textContent)"
    )
    return browser.execute_script(script, COLUMNS.index(column))  # type: ignore[no-any-return]


def click(browser: Any, column: str) -> str:
    """Sort by a column; gives the direction that a screen reader hears."""
    button = browser.find_elements("css selector", "thead button")[COLUMNS.index(column)]
    browser.execute_script("arguments[0].click()", button)
    return button.find_element("xpath", "..").get_attribute("aria-sort")  # type: ignore[no-any-return]


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_sorts_both_ways_and_what_is_missing_comes_last(column: str, browser: Any) -> None:
    order = shown(browser, "step")
    by_name = dict(zip(order, shown(browser, column), strict=True))
    orders = []
    for direction in ("ascending", "descending"):
        assert click(browser, column) == direction
        orders.append(shown(browser, "step"))
        cells = [by_name[name] for name in orders[-1]]
        assert cells == shown(browser, column)
        empty = [not cell or cell == "no result" for cell in cells]
        assert empty == sorted(empty)
        if column in ("top-1 %", "change", "p", "paper", "seeds"):
            numbers = [float(cell.split(" ±")[0]) for cell, gone in zip(cells, empty, strict=True) if not gone]
            assert numbers == sorted(numbers, reverse=direction == "descending")
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(order)
    click(browser, "step")
    assert shown(browser, "step") == order


@needs_browser
@pytest.mark.slow
def test_rows_are_filtered_by_name_and_verdict(browser: Any) -> None:
    from selenium.webdriver.support.select import Select

    field, count = (browser.find_element("id", name) for name in ("filter", "count"))
    field.send_keys("KERNEL")
    kernels = [name.split(" (")[0] for name in shown(browser, "step")]
    assert kernels == [
        *(f"kernel size {k}" for k in (5, 7, 9, 11)),
        "fewer activations, from kernel size 7",
    ]  # GELU's lost
    assert count.text == f"5 of {len(LADDERS['convnext-nano'])} steps"
    field.clear()
    field.send_keys("<b>")
    assert shown(browser, "step") == [MARKUP]
    field.clear()
    field.send_keys(" \b")
    verdicts = Select(browser.find_element("id", "verdict"))
    everything = shown(browser, "verdict")
    for verdict in ("gain", "loss", "cannot tell"):
        verdicts.select_by_visible_text(verdict)
        assert shown(browser, "verdict") == [v for v in everything if v == verdict]


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_reads_at_any_width_in_light_and_dark(width: int, scheme: str, browser: Any) -> None:
    set_view(browser, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrasts = browser.execute_script("""
        const back = getComputedStyle(document.body).backgroundColor;
        return [...document.querySelectorAll("p, td, th, li, figcaption, svg text, dt, dd, a")].map(element => {
            const style = getComputedStyle(element);
            return [element instanceof SVGElement ? style.fill : style.color, back];
        })
    """)
    pairs = {(ink, back) for ink, back in contrasts if ink != back}  # the same: a number in a colored point
    assert min(contrast(*pair) for pair in pairs) > 4.5  # WCAG 2.2, AA
    dark = luminance(next(iter(pairs))[1]) < 0.2
    assert dark == (scheme == "dark")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 768, 1280, 1920])
def test_every_cell_of_the_table_can_be_reached(width: int, browser: Any) -> None:
    set_view(browser, width)
    shown, whole = browser.execute_script(
        "const r = document.querySelector('[role=region]'); return [r.clientWidth, r.scrollWidth]"
    )
    assert whole <= shown or width < 1280
    hint = browser.find_element("css selector", ".sideways")
    assert hint.is_displayed() == (width < 1200)
    reached = browser.execute_script("""
        const region = document.querySelector("[role=region]"), frame = region.getBoundingClientRect();
        const name = document.querySelector("tbody th").getBoundingClientRect().width;
        return [...document.querySelectorAll("tbody tr:first-child > td, thead th ~ th")].map(cell => {
            region.scrollLeft = cell.offsetLeft - name;
            const box = cell.getBoundingClientRect();
            return box.left >= frame.left + name - 1 && box.right <= frame.right + 1;
        })
    """)
    assert len(reached) == 2 * len(COLUMNS) - 2
    assert all(reached)


def luminance(color: str) -> float:
    """Relative luminance of "rgb(r, g, b)", as WCAG defines it."""
    parts = (int(part) / 255 for part in re.findall(r"\d+", color)[:3])
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@needs_browser
@pytest.mark.slow
def test_it_is_for_keyboards_and_screen_readers_and_has_no_errors(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.find_element("tag name", "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the table"
    button = browser.find_elements("css selector", "thead button")[1]
    button.send_keys(Keys.ENTER)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    unnamed = (
        "return [...document.querySelectorAll('[role=img], [role=region], [role=group]')].filter(e => e.ariaLabel)"
    )
    assert len(browser.execute_script(unnamed)) >= 12
    levels = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4,h5')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@needs_browser
@pytest.mark.slow
def test_its_numbers_are_the_tables(browser: Any, page: Path) -> None:
    table = pd.read_csv(page.with_name("results.csv"))
    tops = [float(cell.split(" ±")[0]) for cell in shown(browser, "top-1 %") if cell != "no result"]
    assert tops == pytest.approx(table["top1"].dropna().tolist(), abs=0.005)
    changes = [float(cell.split(" ±")[0]) for cell in shown(browser, "change") if cell]
    assert changes == pytest.approx(table["change"].dropna().tolist(), abs=0.005)
    assert shown(browser, "seeds") == table["n"].astype(str).tolist()


@needs_browser
@pytest.mark.slow
def test_images_are_filtered_by_what_networks_answer(comparison: Path, chromium: Any) -> None:
    from selenium.webdriver.support.select import Select

    chromium.get(comparison.as_uri())
    groups = Select(chromium.find_element("id", "group"))
    there = "return [...document.querySelectorAll('.gallery > li:not([hidden])')].map(p => p.textContent)"
    for label in ("sample of all classes", "networks disagree", "Swin-nano is wrong", "all"):
        groups.select_by_visible_text(label)
        texts = chromium.execute_script(there)
        assert chromium.find_element("id", "shown").text == f"{len(texts)} of {chromium.execute_script(ALL)} images"
        assert all("✗" in text for text in texts) or label in ("sample of all classes", "all")
    assert all(chromium.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth > 0)"))
    assert not chromium.find_element("id", "verdict").is_displayed()
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 1280
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


ALL = "return document.querySelectorAll('.gallery > li').length"
