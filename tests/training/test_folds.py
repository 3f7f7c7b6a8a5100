"""Which networks are trained: who trains and validates, what is learned, and that test people have no say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from featx.analysis.folds.splits import Folding
from featx.analysis.jobs import make_plan
from featx.analysis.request import Columns, Request
from featx.errors import AnalysisError, TrainingError
from featx.training.arms import get_arm
from featx.training.folds import SAMPLING, WEIGHTS, Wish, check_wish, groups_of, key_of, make_fit, repeat_for_seeds
from featx.training.result import images_as_set
from featx.training.run import make_tasks
from featx.training.schedules import get_recipe
from featx.training.source import check_label
from tests.training.conftest import source_of


def request_for(people, images, source, targets=("age", "sex"), **more):
    one = images_as_set("net", images, source.request)
    table = people.set_index("participant_id", drop=False)
    return Request(
        {"net": one},
        {"net": ("net",)},
        table,
        targets,
        (),
        **{"folding": Folding(n_splits=3, n_inner=4, n_repeats=2), **more},
    )


def wish(arm="scratch", recipe="gupta", **more):
    return Wish(get_arm(arm), lambda kinds: get_recipe(recipe), **more)


@pytest.fixture
def plan(people, images, source):
    return make_plan(request_for(people, images, source))


def test_training_validation_and_test_people_are_apart_and_everybody_is_somewhere(plan, people):
    for group in groups_of(plan, together=False):
        for split in group.design.splits:
            fit = make_fit(group, split, 0, wish())
            test = {str(one) for one in group.image_ids[split.test]}
            sides = [set(fit.train.image_ids), set(fit.validation.image_ids), test]
            assert sum(map(len, sides)) == len(set.union(*sides)) == len(group.image_ids)
            assert 0.15 < len(sides[1]) / (len(sides[0]) + len(sides[1])) < 0.35
            values = people.set_index("participant_id")[group.name]
            if group.name == "age":
                assert fit.train.labels[:, 0].tolist() == [values[one] for one in fit.train.image_ids]
                assert fit.outputs[0].values[0] == pytest.approx(np.mean(fit.train.labels[:, 0]))
            else:
                assert fit.validation.labels[:, 0].tolist() == [
                    float(values[one] == "M") for one in fit.validation.image_ids
                ]


def test_one_network_for_all_targets_has_everybodys_labels_and_gaps(people, images, source):
    request = request_for(people, images, source, columns=Columns(stratify="none"))
    (group,) = groups_of(make_plan(request), together=True)
    assert group.name == "age+sex"
    assert np.isnan(group.labels).sum(axis=0).tolist() == [1, 0]
    fit = make_fit(group, group.design.splits[0], 0, wish(loss_weights={"sex": 0.5}))
    assert [one.target for one in fit.outputs] == ["age", "sex"]
    assert fit.loss_weights == (1.0, 0.5)


def test_targets_with_folds_of_their_own_cannot_be_trained_together(plan):
    with pytest.raises(AnalysisError, match="trained together must share their folds.*--stratify none"):
        groups_of(plan, together=True)


def test_imbalance_is_answered_in_training_people_alone(plan):
    _, sex = groups_of(plan, together=False)
    split = sex.design.splits[0]
    fit = make_fit(sex, split, 0, wish(balance=WEIGHTS))
    n_men = fit.train.labels.sum()
    n = len(fit.train.labels)
    assert fit.class_weights[0] == pytest.approx((n / (2 * (n - n_men)), n / (2 * n_men)))
    assert fit.row_weights is None
    fit = make_fit(sex, split, 0, wish(balance=SAMPLING))
    assert fit.class_weights == (None,)
    assert fit.row_weights[fit.train.labels[:, 0] == 1].sum() == pytest.approx(
        fit.row_weights[fit.train.labels[:, 0] == 0].sum()
    )


def test_a_fit_is_the_same_whatever_the_labels_of_those_who_test(people, images, source, tmp_path):
    """What is trained is told by the key, and the key of what is trained holds nothing of their labels."""
    folds = pd.DataFrame(
        {"target": "*", "image_id": "", "participant_id": people["participant_id"], "repeat": 0,
         "fold": [0 if at % 3 == 2 else -1 for at in range(len(people))]}
    )  # fmt: skip
    more = {"given_splits": folds, "folding": Folding(scheme="given", n_inner=4), "columns": Columns(stratify="none")}
    other = people.copy()
    tests = folds["fold"] == 0
    other.loc[tests, "age"] = other.loc[tests, "age"].to_numpy()[::-1] + 7
    other.loc[tests, "sex"] = np.where(other.loc[tests, "sex"] == "M", "F", "M")
    keys = []
    for table in (people, other):
        plan = make_plan(request_for(table, images, source, **more))
        tasks, refused = make_tasks(plan, wish(), source, tmp_path, keep=True)
        assert not refused
        keys.append([task.folder.name for task in tasks])
        assert len(keys[-1]) == 4
    assert keys[0] == keys[1]


def test_whatever_decides_the_result_is_in_the_key(plan):
    age, _ = groups_of(plan, together=False)
    fit = make_fit(age, age.design.splits[0], 0, wish())
    key = key_of(fit, {"weights": "official"}, ["a"])
    labels = fit.train.labels.copy()
    labels[0] += 1
    others = [
        replace(fit, seed=1),
        replace(fit, train=replace(fit.train, labels=labels)),
        replace(fit, recipe=replace(fit.recipe, batch_size=9)),
        replace(fit, arm=get_arm("full")),
        replace(fit, batch_norm="adapt"),
        replace(fit, row_weights=np.ones(len(labels))),
    ]
    keys = [key_of(one, {"weights": "official"}, ["a"]) for one in others]
    keys += [key_of(fit, {"weights": "random:0"}, ["a"]), key_of(fit, {"weights": "official"}, ["b"])]
    keys.append(key_of(fit, {"weights": "official"}, ["a"], {fit.validation.image_ids[0]: "changed"}))
    assert len({key, *keys}) == 10
    assert (
        key_of(replace(fit, recipe=replace(fit.recipe, name="mine", source="")), {"weights": "official"}, ["a"])
        == key
    )


def test_repeats_count_seeds(plan):
    tiled = repeat_for_seeds(plan, 3)
    for job, own in zip(plan.jobs, tiled.jobs, strict=True):
        assert own.design.fold.shape == (6, job.design.fold.shape[1])
        np.testing.assert_array_equal(own.design.fold[:3], np.repeat(job.design.fold[:1], 3, axis=0))
        assert [split.repeat for split in own.design.splits] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [
            5
        ] * 3
        for split in own.design.splits:
            before = next(
                one for one in job.design.splits if (one.repeat, one.fold) == (split.repeat // 3, split.fold)
            )
            np.testing.assert_array_equal(split.test, before.test)


def test_a_class_that_is_in_no_training_person_refuses_its_target_alone(people, images, source, tmp_path):
    rare = people.assign(sex=np.where(np.arange(len(people)) < 2, "M", "F"))
    request = request_for(rare, images, source, folding=Folding(n_splits=2, n_inner=2))
    plan = make_plan(request)
    assert [job.target.name for job in plan.jobs] == ["age"]
    assert [row["code"] for row in plan.exclusions if row["target"] == "sex" and not row["image_id"]] == [
        "too-few-people"
    ]


def test_an_arm_on_another_label_needs_one(source):
    sheet = replace(source.request.sheet, labels=("Age",))
    given = "/weights/of/age.safetensors"
    check_label(source_of(sheet, given), wish("wrong-label"), ["sex"])
    check_label(source, wish("scratch"), ["age"])
    with pytest.raises(AnalysisError, match="was trained for Age, and the target is 'age'; take head-only"):
        check_label(source_of(sheet, given), wish("wrong-label"), ["sex", "age"])
    with pytest.raises(AnalysisError, match="was trained for labels that its sheet lacks"):
        check_label(source_of(source.request.sheet, given), wish("wrong-label"), ["sex"])
    with pytest.raises(AnalysisError, match="random:0 was trained for none; take head-only"):
        check_label(source_of(sheet), wish("wrong-label"), ["sex"])


def test_levels_that_test_people_alone_have_change_nothing(people, images, source):
    """The labels of an ordered target are those of the training people."""
    level = np.where(np.arange(len(people)) % 2, 1, 2)
    level[[7, 9, 20, 22, 24]] = 3
    outputs = []
    for own in (2, 4):
        level[5] = own
        table = people.assign(level=level)
        folds = pd.DataFrame({"target": "*", "image_id": "", "participant_id": people["participant_id"], "repeat": 0})
        folds["fold"] = [0 if at in (5, 6, 8) else -1 for at in range(len(people))]
        more = {"given_splits": folds, "folding": Folding(scheme="given", n_inner=4)}
        request = request_for(table, images, source, targets=("level",), kinds={"level": "ordinal"}, **more)
        (group,) = groups_of(make_plan(request), together=False)
        outputs.append(make_fit(group, group.design.splits[0], 0, wish()).outputs)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "words, sentence",
    [
        ({"balance": "oversample"}, "classes of unequal size must be known; 'oversample' is not; known are 'none'"),
        ({"batch_norm": "train"}, "a batch norm must be known; 'train' is not; known are 'adapt', 'eval'"),
        ({"batch_norm": "adapt"}, "the arm 'scratch' trains all of it; leave --batch-norm out"),
    ],
)
def test_unknown_words_are_answered_with_the_known_ones(words, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        check_wish(wish(**words))


def test_a_target_of_one_value_in_training_is_refused(plan, tmp_path, source):
    age, _ = groups_of(plan, together=False)
    flat = replace(age, labels=np.full_like(age.labels, 40.0))
    with pytest.raises(TrainingError, match="two values or more among the people who train"):
        make_fit(flat, flat.design.splits[0], 0, wish())
