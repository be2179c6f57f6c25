from ablations.study.predictions import Answers


def make_answers(truth: list[int], given: list[int], confidences: list[float] | None = None) -> Answers:
    return Answers("d", "w", tuple("abcd"), tuple(truth), tuple(given), tuple(confidences or [0.5] * len(truth)))


def test_answers_are_right_image_by_image_and_survive_json() -> None:
    answers = make_answers([0, 1, 1], [0, 0, 1])
    assert answers.right.tolist() == [True, False, True]
    assert Answers.from_dict(answers.to_dict()) == answers
