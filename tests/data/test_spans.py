"""Samples are stored as spans if that is smaller, and are the same in both forms."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from data_cases import noise, prepare_frame
from hypothesis import given
from hypothesis import strategies as st

from data.prepared.prepared import PreparedDataset
from data.reading.settings import SPLITS
from data.samples.part_files import file_facts, samples_in, write_samples
from data.samples.spans import Listed, Spans, smaller, spans_of

Group = tuple[int, int, int, int]  # first row, stride, samples, length
WINDOWS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4), st.integers(0, 12), st.integers(1, 9)), max_size=6)


def listed(groups: list[Group]) -> Listed:
    """Return the samples of some groups, one after the other."""
    starts = [first + stride * np.arange(count) for first, stride, count, _ in groups]
    lengths = [np.full(count, length, np.int32) for _, _, count, length in groups]
    return Listed(np.concatenate([np.empty(0, np.int64), *starts]), np.concatenate([np.empty(0, np.int32), *lengths]))


@given(WINDOWS, st.randoms(use_true_random=False))
def test_spans_give_the_samples_that_they_were_made_of(groups: list[Group], random: object) -> None:
    expected = listed(groups)
    spans = spans_of(expected)
    assert len(spans) == len(expected)
    assert spans.starts.tolist() == expected.starts.tolist()
    assert spans.lengths.tolist() == expected.lengths.tolist()
    asked = np.random.default_rng(0).integers(0, max(len(expected), 1), 2 * len(expected))
    for values, wanted in zip(spans.at(asked), expected.at(asked), strict=True):
        assert values.tolist() == wanted.tolist()
        assert values.dtype == wanted.dtype


@given(WINDOWS, WINDOWS)
def test_samples_are_read_as_they_were_written(train: list[Group], test: list[Group]) -> None:
    splits = {"train": listed(train), "validation": listed([]), "test": listed(test)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.arrow"
        write_samples({split: [(each.starts, each.lengths.astype(np.int64))] for split, each in splits.items()}, path)
        with pa.memory_map(str(path)) as mapped:
            file = pa.ipc.open_file(mapped)
            for index, split in enumerate(SPLITS):
                samples = samples_in(file.get_batch(index))
                assert samples.starts.tolist() == splits[split].starts.tolist()
                assert samples.lengths.tolist() == splits[split].lengths.tolist()


def test_the_smaller_form_is_chosen() -> None:
    regular, each_other = listed([(0, 2, 1000, 96)]), listed([(0, 1, 1, length) for length in range(1, 9)])
    assert all(isinstance(each, Spans) for each in smaller([regular, each_other]))
    assert all(isinstance(each, Listed) for each in smaller([each_other, each_other]))


def test_regular_windows_take_little_space_on_disk(tmp_path: Path) -> None:
    """Store spans in less than 3 kB; listed samples take 12 bytes each."""
    dataset = prepare_frame(noise(50_000), tmp_path)
    assert dataset.num_samples("train") > 29_000
    assert (dataset.folder / "samples-00000.arrow").stat().st_size < 3000
    assert isinstance(dataset.parts[0].samples["train"], Spans)


def test_a_dataset_with_listed_samples_is_read(tmp_path: Path) -> None:
    """Read listed samples, as earlier versions wrote all; hashes and addresses do not depend on the form."""
    dataset = prepare_frame(noise(500), tmp_path)
    samples = [dataset.parts[0].samples[split] for split in SPLITS]
    batches = [pa.record_batch([each.starts, each.lengths], names=["start", "length"]) for each in samples]
    with pa.OSFile(str(tmp_path / "old"), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    (tmp_path / "old").replace(dataset.folder / "samples-00000.arrow")
    dataset.manifest.parts[0].files["samples-00000.arrow"] = file_facts(dataset.folder / "samples-00000.arrow")
    dataset.manifest.write(dataset.folder)
    again = PreparedDataset(dataset.folder)
    chosen = np.arange(again.num_samples("train"))
    assert isinstance(again.parts[0].samples["train"], Listed)
    for values, expected in zip(again.locate("train", 0, chosen), dataset.locate("train", 0, chosen), strict=True):
        assert values.tolist() == expected.tolist()
