"""The page of a run shows the measured values, with any names and after files were removed."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser, open_browser
from commands import invoke
from helpers import outcome, plan_of, prepare_sequences, random_sequences, train_in_process, walk
from small import small_document, write_machine, write_small

from data.errors import InputError
from workflows.loggers.progress_file import Progress
from workflows.loggers.terminal import closing_words
from workflows.python.result import Result
from workflows.recipe.recipe import check_recipe, load_recipe
from workflows.recipe.settings import TrainingSettings
from workflows.relay.events import epoch_done
from workflows.relay.metrics import mean_of
from workflows.relay.state import first_model
from workflows.report.forecasts import Confusion, Labels, Windows, sample_forecasts
from workflows.report.matrix import relative_errors
from workflows.report.report import make_report
from workflows.report.timeline import timeline
from workflows.results.described import DescribedDataset
from workflows.results.picture import Pictures
from workflows.results.run_result import StageResult
from workflows.results.stored_runs import stored_runs
from workflows.results.tables import log_table
from workflows.results.trained import TrainedRun, open_run
from workflows.store.kept import EpochRecord
from workflows.store.store import Store
from workflows.training.run import movable, train

NAMES = ("<script>alert(1)<b>", "a&b 'c' \"d\"", "$alpha_2$ costs 5$")
VOID = {"meta", "link", "br", "img", "path", "use", "rect", "line", "circle"}


class Page(HTMLParser):
    """The tags, the headings and the text of a page; fails if a tag is closed that is not open."""

    def __init__(self, content: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def document(**sections: Any) -> dict[str, Any]:
    datasets = [{"name": name, "path": f"{number}.csv"} for number, name in enumerate(NAMES)]
    # With one head and the last weights, the epochs are the chain, and the test can run the model itself.
    sections = {"model": {"head": "shared"}, "training": {"handover": "last"}, **sections}
    return small_document(datasets=datasets, **sections)


@pytest.fixture(scope="module")
def reported(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train a plain run and one with replay on three datasets with odd names; return the page of the second."""
    folder = tmp_path_factory.mktemp("reported")
    for number in range(len(NAMES)):
        write_machine(folder / f"{number}.csv", number)
    train(check_recipe(document(), folder), folder / "runs", "plain", 0)
    train(check_recipe(document(retention={"method": "replay", "memory": 50}), folder), folder / "runs", "replayed", 0)
    return folder, make_report(Store(str(folder / "runs")), "replayed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as running:
        if running is None:
            pytest.skip("there is no Chromium on this machine")
        yield running


pytestmark = pytest.mark.ray


def test_a_page_is_self_contained_and_no_name_becomes_markup(reported: tuple[Path, str]) -> None:
    page = Page(reported[1])
    assert {tag for tag, _ in page.tags} & {"script", "iframe", "object", "b"} == set()
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import", reported[1])
    for name in NAMES:
        assert page.text.count(name) > 5
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    used = {attributes["xlink:href"] for _, attributes in page.tags if "xlink:href" in attributes}
    used |= {f"#{each}" for each in re.findall(r"url\(#([^)]*)\)", reported[1])}
    assert {each for each in used if each and each.startswith("#")} <= {f"#{each}" for each in identifiers}
    assert len(reported[1]) < 1_000_000


def test_a_page_can_be_read_without_seeing_it(reported: tuple[Path, str]) -> None:
    page = Page(reported[1])
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 3 + 1 + 1 + 9  # course, matrix, comparison, three windows of each dataset
    assert all(each["role"] == "img" and len(each["aria-label"] or "") > 30 for each in pictures)
    assert ("html", {"lang": "en"}) in page.tags


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_a_browser_shows_all_of_it_without_complaint_or_overflow(
    reported: tuple[Path, str], browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "page.html").write_text(reported[1], encoding="utf-8")
    questions = [
        "document.documentElement.scrollWidth - document.documentElement.clientWidth",
        "Math.min(...[...document.querySelectorAll('svg')].map(each => each.getBoundingClientRect().height))",
        "[[...document.querySelectorAll('svg text')][0], document.documentElement].map(each => getComputedStyle(each))"
        ".map((each, place) => place ? each.backgroundColor : each.fill).join()",
        "[...document.querySelectorAll('svg text')].some(each => each.textContent.includes('$alpha_2$'))",
        "[...document.querySelectorAll('div.scroll:not(.wide)')]"
        ".filter(each => each.scrollWidth > each.clientWidth + 1).length",
    ]
    seen = browser.look(tmp_path / "page.html", width, scheme, questions)
    assert seen.complaints == []
    overflow, lowest, colors, shown, cut_off = seen.answers
    assert cut_off == 0
    assert overflow == 0
    assert lowest > 100
    assert shown
    ink, paper = (np.mean([int(each) for each in part]) for part in re.findall(r"\((\d+), (\d+), (\d+)\)", colors))
    assert (ink > paper) == (scheme == "dark")
    assert abs(ink - paper) > 150


def test_the_windows_are_at_the_quantiles_of_the_error_and_their_truth_is_in_the_files(reported: tuple[Path, str]) -> None:
    folder, _ = reported
    store = Store(str(folder / "runs"))
    run = open_run(store, "plain")
    shown = sample_forecasts(store, run, NAMES)
    model = first_model(run.plan)
    model.load_state_dict(store.load(run.key).model)
    for number, (each, dataset) in enumerate(zip(shown, run.datasets, strict=True)):
        assert isinstance(each, Windows)
        errors, squares = [], []
        for sample in range(dataset.num_samples("test")):
            batch = dataset.batch("test", np.array([sample]))
            with torch.no_grad():
                gap = (
                    model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths)).numpy().ravel()
                    - batch.targets.ravel()
                )
            errors.append(np.abs(gap).mean())
            squares.append((gap**2).mean())
        assert np.mean(squares) == pytest.approx(run.result.test[dataset.name].error, rel=1e-5)
        shown_errors = {window.kind: window.error for window in each.windows}
        expected = dict(zip(shown_errors, np.quantile(errors, [0.1, 0.5, 0.9], method="nearest"), strict=True))
        assert shown_errors == pytest.approx(expected, rel=1e-4)
        with (folder / f"{number}.csv").open() as file:
            load = np.array([float(row["load"]) for row in csv.DictReader(file)])
        for window in each.windows:
            whole = np.concatenate([window.history, window.truth])[:, 0]
            windows = np.lib.stride_tricks.sliding_window_view(load, len(whole))
            assert np.abs(windows - whole).max(axis=1).min() < 1e-3
            gap = np.abs(window.forecast - window.truth).mean() / dataset.target_scale[0]
            assert gap == pytest.approx(window.error, rel=1e-4)


def test_a_run_with_retention_is_compared_with_the_plain_one(reported: tuple[Path, str]) -> None:
    folder, page = reported
    store = Store(str(folder / "runs"))
    replayed, plain = store.result("replayed", dict), store.result("plain", dict)
    assert replayed is not None
    assert plain is not None
    assert "Compared with plain" in page
    for key in ("mean_scaled_error", "forgetting"):
        assert f"{replayed[key] - plain[key]:+.3f}" in page
    assert "Compared with" not in make_report(store, "plain")
    assert "Compared with replayed" in make_report(store, "plain", "replayed")
    with pytest.raises(InputError, match="--against nobody: no finished run of this name"):
        make_report(store, "plain", "nobody")


def test_a_page_is_complete_without_raw_data_and_lacks_only_forecasts_without_prepared_data(
    reported: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(reported[0] / "runs", tmp_path / "runs")
    store = Store(str(tmp_path / "runs"))
    whole = Page(make_report(store, "plain"))
    assert sum(tag == "svg" for tag, _ in whole.tags) == 13
    shutil.rmtree(tmp_path / "runs" / "prepared")
    left = Page(make_report(store, "plain"))
    assert sum(tag == "svg" for tag, _ in left.tags) == 4
    assert "Forecasts are not available: run 'plain', dataset '<script>alert(1)<b>': " in left.text
    assert "is missing: train it again" in left.text
    (tmp_path / "runs" / "runs" / "plain" / "run.json").unlink()  # as in an earlier version, which wrote three files
    (tmp_path / "runs" / "runs" / "plain" / "datasets.json").unlink()
    assert "lacks datasets.json: train it again" in Page(make_report(store, "plain")).text
    for wrong in ("name = 7", "name = = 7"):
        (tmp_path / "runs" / "runs" / "plain" / "recipe.toml").write_text(wrong)
        assert "recipe.toml of the run 'plain': " in Page(make_report(store, "plain")).text
    (tmp_path / "runs" / "runs" / "plain" / "recipe.toml").unlink()
    assert "lacks recipe.toml: train it again" in Page(make_report(store, "plain")).text
    shutil.rmtree(tmp_path / "runs" / "checkpoints")
    assert sum(tag == "svg" for tag, _ in Page(make_report(store, "plain")).tags) == 4


def test_a_stopped_run_is_shown_with_its_progress(reported: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(reported[0] / "runs", tmp_path / "runs")
    store = Store(str(tmp_path / "runs"))
    opened = open_run(store, "plain")
    assert opened.result is not None
    run = opened.result.to_json()
    kept = json.loads((tmp_path / "runs" / "runs" / "plain" / "datasets.json").read_text())
    described = [DescribedDataset.from_json(each) for each in kept]
    progress = Progress(store, "half", opened.plan, described, movable(opened.recipe))
    keys = [key for stage in run["stages"] for key in stage["keys"]]
    for epoch in itertools.islice(opened.plan.straight_on(), 5):
        record = store.record(epoch.key)
        assert record is not None
        progress(epoch_done(epoch, opened.plan, record))
    progress.stopped("interrupted", "somebody pressed <Ctrl-C>")
    store.storage.remove(f"checkpoints/{keys[5]}")
    page = Page(make_report(Store(str(tmp_path / "runs")), "half"))
    assert "This run has not finished (interrupted" in page.text
    logged = [list(column.cells) for column in log_table(store, stored_runs(store)[0]["half"]).columns][4]
    assert logged == [f"{error:.4f}" for stage in run["stages"] for error in stage["validation_error"]][:5]
    assert "somebody pressed <Ctrl-C>" in page.text
    assert "5 of 6" in page.text
    assert f"forgetting: {run['error_matrix']['scaled'][2][0] - run['error_matrix']['scaled'][1][0]:.3f}" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 3 + 1 + 9
    mean = mean_of(run["error_matrix"]["scaled"][2][:2])
    assert f"mean scaled error: {mean:.3f}" in page.text
    (
        tmp_path / "runs" / "runs" / "half" / "progress-datasets.json"
    ).unlink()  # as for a run of a version that did not write it
    page = Page(make_report(store, "half"))
    assert "Its progress cannot be shown: run 'half': " in page.text
    assert "lacks progress-datasets.json" in page.text
    Progress(store, "plain", opened.plan, [], {})
    again = open_run(store, "plain")  # its result is kept while it is trained again
    assert (again.key, again.recipe.name, len(again.datasets)) == (opened.key, "small", 3)


def test_a_run_with_few_evaluations_is_shown(tmp_path: Path) -> None:
    recipe = load_recipe(write_small(tmp_path), ["training.evaluations=0", "training.epochs=1"])
    store, opened = train_in_process(recipe, tmp_path / "runs")
    result = opened.result
    assert result is not None
    assert result.error_matrix.validation[1][2] is None
    for page in (Page(make_report(store, "small")), Page(repr(Result(store.address, opened)))):
        assert not re.search(r"\bnan\b", page.text)
    assert "Mean scaled error at the end" in closing_words(result)
    kept = json.loads((tmp_path / "runs" / "runs" / "small" / "datasets.json").read_text())
    described = [DescribedDataset.from_json(each) for each in kept]
    progress = Progress(store, "half", opened.plan, described, movable(recipe))
    keys = [stage.keys[0] for stage in result.stages]
    epoch = list(opened.plan.straight_on())[1]
    record = store.record(epoch.key)
    assert record is not None
    progress(epoch_done(epoch, opened.plan, record))
    store.storage.remove(f"checkpoints/{keys[2]}")
    page = Page(make_report(store, "half"))
    assert sum(tag == "svg" for tag, _ in page.tags) == 3 + 1 + 9
    first = result.error_matrix.validation[1]
    assert f"anvil{first[0]:.4f}{first[1]:.4f}–" in page.text


def test_the_command_writes_to_the_run_or_to_the_output_path(reported: tuple[Path, str], tmp_path: Path) -> None:
    report = partial(invoke, "report", "--storage", str(reported[0] / "runs"))
    code, out, _ = report("plain")
    assert code == 0
    path = reported[0] / "runs" / "runs" / "plain" / "report.html"
    assert f"{path}: {path.stat().st_size:,} bytes" in out
    assert report("plain", "--output", str(tmp_path / "mine.html"))[0] == 0
    assert (tmp_path / "mine.html").stat().st_size == path.stat().st_size
    code, _, err = report("nobody")
    assert code == 2
    assert "nobody: no such run or search" in err
    assert "write one of plain, replayed" in err
    code, _, err = report("plain", "--output", str(tmp_path / "absent" / "mine.html"))
    assert code == 2
    assert "there is no folder" in err


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_labels_and_classes_are_shown_with_the_counts_of_the_evaluation(tmp_path: Path, loss: str) -> None:
    inputs, targets = random_sequences(0, 60, shortest=3, longest=9, targets=1)
    classes = loss == "cross_entropy"
    made = {"one": (inputs, np.round(targets * 2) if classes else targets)}
    datasets = prepare_sequences(made, tmp_path / "data", split=(0.5, 0.2, 0.3), classes=classes)
    plan = plan_of(datasets, [2], {"hidden_size": 6, "loss": loss}, learning_rate=0.02, batch_size=8)
    walk(plan, datasets, tmp_path / "store")
    result = outcome(plan, tmp_path / "store")
    run = TrainedRun("one", result.key, {}, check_recipe(small_document(), tmp_path), plan, datasets, [])
    (shown,) = sample_forecasts(Store(str(tmp_path / "store")), run, ["one"])
    assert result.test[0] is not None
    assert shown.samples == result.test[0].samples
    if classes:
        assert isinstance(shown, Confusion)
        right = np.trace(shown.counts)
        assert 1 - right / shown.samples == pytest.approx(result.test[0].error)
        assert shown.counts.shape == (len(shown.classes), len(shown.classes))
    else:
        assert isinstance(shown, Labels)
        assert np.mean((shown.truth - shown.forecast) ** 2) == pytest.approx(result.test[0].error, rel=1e-5)


def test_colours_show_the_error_relative_to_naive_or_else_to_the_lowest() -> None:
    naive = relative_errors([[2.0, 0.5], [1.0, None]], [[4.0, 1.0], [2.0, None]])
    assert naive is not None
    assert "naive" in naive.what
    assert naive.values[1, 0] == 1.0
    lowest = relative_errors([[None, None], [None, None]], [[4.0, 1.0], [2.0, 3.0]])
    assert lowest is not None
    assert "lowest" in lowest.what
    assert lowest.values.tolist() == [[2.0, 1.0], [1.0, 3.0]]
    assert relative_errors([[None]], [[None]]) is None


def test_the_course_has_the_rate_of_every_step() -> None:
    keys = ("k0", "k1")
    stage = StageResult("a", 0.1, (0.05, 0.0), 2, 2, keys, train_loss=(2.0, 1.0), validation_error=(None, 3.0))
    record = EpochRecord("k", None, samples=35, first_learning_rate=0.1, learning_rate=0.05)
    (line,) = timeline([stage], dict.fromkeys(keys, record), TrainingSettings(batch_size=10, schedule="cosine"))
    assert line.last_step == 8
    model = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(model, 8)
    expected = []
    for _ in range(8):
        expected.append(schedule.get_last_lr()[0])
        model.step()
        schedule.step()
    assert np.concatenate([epoch.rates for epoch in line.epochs]) == pytest.approx(expected)
    assert [epoch.error for epoch in line.epochs] == [None, 3.0]
    (unknown,) = timeline([stage], {}, None)
    assert [epoch.rates.tolist() for epoch in unknown.epochs] == [[0.05], [0.0]]


def test_pictures_of_one_page_do_not_share_identifiers() -> None:
    pictures = Pictures()
    first, second = (pictures.draw(lambda axes: axes.plot([1, 2], "o"), "two dots") for _ in range(2))
    identifiers = [set(re.findall(r'\sid="([^"]*)"', each)) for each in (first, second)]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]


def test_a_result_can_be_written_as_json(reported: tuple[Path, str]) -> None:
    progress = json.dumps(movable(check_recipe(document(), reported[0])))
    assert check_recipe(json.loads(progress), Path("/")).name == "small"
