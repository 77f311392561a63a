"""Bytes become probabilities or no score, and nothing helps an empty answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from improve.errors import ResumeError
from improve.execution.predictions import BadPredictions, parse_predictions
from improve.judging import scoring


def softmax(seed: int, rows: int, classes: int) -> scoring.Probabilities:
    values = np.exp(np.random.default_rng(seed).normal(size=(rows, classes)) * 3)
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 99), st.integers(1, 20), st.integers(2, 12))
def test_complete_predictions_survive_the_pipe(seed: int, rows: int, classes: int) -> None:
    sent = softmax(seed, rows, classes)
    assert np.array_equal(parse_predictions(sent.astype("<f4").tobytes(), rows, classes), sent)


@given(st.integers(0, 99), st.integers(-40, 40).filter(bool))
def test_short_and_long_predictions_are_no_score(seed: int, surplus: int) -> None:
    raw = softmax(seed, 6, 3).tobytes()
    raw = raw[:surplus] if surplus < 0 else raw + b"\0" * surplus
    with pytest.raises(BadPredictions, match=r"too (few|many)"):
        parse_predictions(raw, 6, 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([np.nan, 0.5, 0.5], "NaN"),
        ([np.inf, 0, 0], "infinite"),
        ([-0.01, 0.51, 0.5], "outside"),
        ([1.01, 0, 0], "outside"),
        ([1, 1, 0], "sum"),
        ([0, 0, 0], "sum"),
        ([0.5, 0.5, 0.002], "sum"),
    ],
)
@pytest.mark.parametrize("place", [0, 4])
def test_one_bad_row_spoils_everything(row: list[float], message: str, place: int) -> None:
    sent = softmax(0, 5, 3)
    sent[place] = row
    with pytest.raises(BadPredictions, match=message) as caught:
        parse_predictions(sent.tobytes(), 5, 3)
    assert "\n" not in str(caught.value)
    assert f"image {place}" in str(caught.value)


def test_rounding_is_forgiven() -> None:
    sent = np.array([[1.000001, -0.000001], [0.4996, 0.4999]], dtype=np.float32)
    assert parse_predictions(sent.tobytes(), 2, 2).shape == (2, 2)


@pytest.mark.parametrize("majority", range(4))
def test_a_uniform_predictor_scores_nothing_whatever_the_majority_is(majority: int) -> None:
    uniform = np.full((50, 4), 0.25, dtype=np.float32)
    assert scoring.score(uniform, np.full(50, majority)).correct == 0


def test_partial_ties_are_no_answer() -> None:
    tied = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]], dtype=np.float32)
    assert scoring.answers(tied).tolist() == [scoring.NO_ANSWER, scoring.NO_ANSWER, 2]


@given(st.integers(0, 99))
def test_the_order_of_the_images_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = np.round(softmax(seed, 40, 3), 1)  # many ties
    labels, order = rng.integers(3, size=40), rng.permutation(40)
    assert scoring.score(probabilities, labels) == scoring.score(probabilities[order], labels[order])


@given(st.integers(0, 99))
def test_score_confusion_and_worst_images_tell_one_story(seed: int) -> None:
    probabilities = softmax(seed, 60, 4)
    labels = np.random.default_rng(seed).integers(4, size=60)
    result, confusion = scoring.score(probabilities, labels), scoring.confusion_matrix(probabilities, labels)
    assert result.correct == np.trace(confusion) == sum(probabilities.argmax(axis=1) == labels)
    assert confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=4).tolist()
    worst = scoring.worst_images(probabilities, labels, 60)
    assert len(worst) == 60 - result.correct
    assert all(probabilities[row].argmax() != labels[row] for row in worst)
    confidence = [float(probabilities[row].max()) for row in worst]
    assert confidence == sorted(confidence, reverse=True)
    assert scoring.worst_images(probabilities, labels, 3) == worst[:3]


def test_confusion_has_true_classes_in_its_rows() -> None:
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8], [0.5, 0.5]], dtype=np.float32)
    assert scoring.confusion_matrix(probabilities, np.array([0, 0, 1])).tolist() == [[0, 2], [0, 0]]


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_against_its_formula(counts: tuple[int, int]) -> None:
    correct, total = counts
    z, share = norm.ppf(0.975), correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    assert scoring.wilson(correct, total) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_labels_and_predictions_must_match() -> None:
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        scoring.score(softmax(0, 3, 2), np.array([0, 1]))
    with pytest.raises(ValueError, match="0 predictions"):
        scoring.score(np.zeros((0, 2), dtype=np.float32), np.array([], dtype=np.int64))


@settings(max_examples=10)
@given(st.integers(0, 99))
def test_predictions_are_saved_and_loaded_exactly(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.mktemp("predictions") / "selection.npy"
    digest = scoring.save_predictions(path, softmax(seed, 7, 3))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(scoring.load_predictions(path, digest), softmax(seed, 7, 3))
    assert [file.name for file in path.parent.iterdir()] == ["selection.npy"]


def test_changed_or_missing_predictions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "selection.npy"
    digest = scoring.save_predictions(path, softmax(0, 7, 3))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ResumeError, match="checksum"):
        scoring.load_predictions(path, digest)
    path.unlink()
    with pytest.raises(ResumeError, match="missing"):
        scoring.load_predictions(path, digest)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "selection.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        scoring.load_predictions(path, hashlib.sha256(path.read_bytes()).hexdigest())
