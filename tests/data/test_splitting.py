import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from convnext_path.data.splitting import share_out, split_off

SIZES = st.lists(st.integers(2, 40), min_size=2, max_size=30)
SHARES = st.floats(0.01, 0.9)


def make_labels(sizes: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(1).permutation(labels)


def count(labels: np.ndarray, part: list[int], classes: int) -> list[int]:
    return np.bincount(labels[part], minlength=classes).tolist()


@given(SIZES, SHARES)
def test_each_class_has_an_image_on_either_side(sizes: list[int], share: float) -> None:
    labels, names = make_labels(sizes), [f"class {i}" for i in range(len(sizes))]
    rest, part = split_off(range(len(labels)), labels, names, share, "splitting")
    assert sorted([*rest, *part]) == list(range(len(labels)))
    assert min(count(labels, rest, len(sizes))) >= 1
    assert min(count(labels, part, len(sizes))) >= 1
    assert (rest, part) == split_off(range(len(labels)), labels, names, share, "splitting")


@given(st.lists(st.integers(1, 40), min_size=2, max_size=30), st.data())
def test_a_number_of_images_is_kept_to_and_has_all_classes(sizes: list[int], data: st.DataObject) -> None:
    labels, names = make_labels(sizes), [f"class {i}" for i in range(len(sizes))]
    limit = data.draw(st.integers(len(sizes), max(len(labels) - 1, len(sizes))))
    if limit == len(labels):
        return
    rest, part = split_off(range(len(labels)), labels, names, limit, "limit_train", whole=False)
    assert len(part) == limit
    assert sorted([*rest, *part]) == list(range(len(labels)))
    assert min(count(labels, part, len(sizes))) >= 1


@given(st.lists(st.integers(10, 60), min_size=2, max_size=10), st.sampled_from([0.2, 0.25, 0.5]))
def test_what_scikit_learn_splits_well_is_its_split(sizes: list[int], share: float) -> None:
    labels, names = make_labels(sizes), [str(i) for i in range(len(sizes))]
    rest, part = train_test_split(list(range(len(labels))), test_size=share, stratify=labels, random_state=0)
    assert split_off(range(len(labels)), labels, names, share, "x") == (sorted(rest), sorted(part))


@given(SIZES, SHARES)
def test_parts_are_in_proportion(sizes: list[int], share: float) -> None:
    counts = np.asarray(sizes)
    given_ = share_out(counts, share, whole=True, what="x")
    ideal = counts * given_.sum() / counts.sum()
    free = (given_ > 1) & (given_ < counts - 1)
    assert (np.abs(given_ - ideal)[free] <= len(sizes)).all()
    assert ((given_ >= 1) & (given_ <= counts - 1)).all()


@pytest.mark.parametrize("share", [0.2, 0.01, 0.9])
def test_fifty_classes_of_three(share: float) -> None:
    labels = np.repeat(np.arange(50), 3)
    rest, part = split_off(range(150), labels, [str(i) for i in range(50)], share, "x")
    assert set(count(labels, part, 50)) <= {1, 2}
    assert len(part) == {0.2: 50, 0.01: 50, 0.9: 100}[share]
    assert len(rest) + len(part) == 150


def test_classes_that_cannot_be_split_are_named() -> None:
    labels = np.asarray([0, 0, 0, 1, 2, 2, 3])
    with pytest.raises(ValueError, match=r"^splitting x: .*; classes of one image: bee, eel$"):
        split_off(range(7), labels, ("ant", "bee", "cat", "eel"), 0.2, "splitting x")
    _, part = split_off(range(7), labels, ("ant", "bee", "cat", "eel"), 4, "limit_train 4", whole=False)
    assert sorted(labels[part].tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="limit_train 3: each of 4 classes needs an image"):
        split_off(range(7), labels, ("ant", "bee", "cat", "eel"), 3, "limit_train 3", whole=False)
