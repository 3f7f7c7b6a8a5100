from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featx.analysis.cohort.condition import where
from featx.analysis.cohort.people import join
from featx.analysis.cohort.phenotypes import Phenotypes, add_columns, read_phenotypes
from featx.analysis.cohort.tables import read_table
from featx.analysis.cohort.tabular import features_from_table
from featx.analysis.cohort.targets import make_target
from featx.analysis.features import Images, combine
from featx.errors import CohortError

from ..conftest import feature_set


def written(folder: Path, text: str, sidecar: object = None, name: str = "participants.tsv") -> Path:
    path = folder / name
    path.write_text(text)
    if sidecar is not None:
        path.with_suffix(".json").write_text(sidecar if isinstance(sidecar, str) else json.dumps(sidecar))
    return path


def target_of(people: Phenotypes, name: str, override: str | None = None) -> tuple[str, tuple[str, ...], list[float]]:
    target = make_target(
        people.table, name, override, levels=people.levels.get(name, {}), expected=people.kinds.get(name)
    )
    return target.kind, target.classes, target.y.tolist()


@pytest.mark.parametrize(
    "text, match",
    [
        ("id,age\n1,2\n", "must have a column 'participant_id'; .* has 'id', 'age'; rename"),
        ("participant_id,age\nsub-1,2\n\n1,3\n", "has '1' in lines 2 and 4"),
        ("participant_id,session_id\n1,ses-2\n1,2\n", "has '1', session '2', in lines 2 and 3"),
        ("\nparticipant_id,age\n,3\n", "begins with none"),
        ("participant_id,age\n\n,3\n", "has none in line 3"),
        ("eid,21003-2.0\n1,50\n1,60\n", "has '1' in lines 2 and 3"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(CohortError, match=match):
        read_phenotypes(written(tmp_path, text, name="people.csv"))


def test_ids_are_never_missing(tmp_path: Path) -> None:
    people = read_phenotypes(written(tmp_path, "participant_id\tsession_id\tage\nsub-1\tn/a\tn/a\n"))
    assert people.table.iloc[0, :2].tolist() == ["sub-1", ""]
    assert people.table["age"].isna().all()
    assert (people.levels, people.units, people.kinds, people.cautions, people.is_ukb) == ({}, {}, {}, (), False)


def test_a_sidecar_tells_levels_units_and_kinds(tmp_path: Path) -> None:
    sidecar = {
        "age": {"Description": "age at scan", "Units": "years"},
        "sex": {"Levels": {"M": "male", "F": {"Description": "female"}}},
        "smoking": {"Levels": {"0": "never", "1": "", "2": {"TermURL": "http://x"}}},
        "degree": {"Levels": ["school", "bachelor", "master"], "Kind": "ordinal"},
        "site": "where",
        "height": {"Levels": {"1": "one"}},
    }
    text = (
        "participant_id\tage\tsex\tsmoking\tdegree\tsite\n"
        "1\t30\tM\t0\tmaster\tHH\n2\t31\tF\t1\tschool\tHH\n3\t32\tF\t2.0\tbachelor\tIOP\n"
    )
    people = read_phenotypes(written(tmp_path, text, sidecar))
    assert people.units == {"age": "years"}
    assert set(people.levels) == {"sex", "smoking", "degree"}
    assert people.table["sex"].tolist() == ["M", "F", "F"]
    assert target_of(people, "sex") == ("binary", ("female", "male"), [1, 0, 0])
    assert target_of(people, "smoking") == ("multiclass", ("never", "1", "2"), [0, 1, 2])
    assert target_of(people, "degree") == ("ordinal", ("school", "bachelor", "master"), [3, 1, 2])
    assert target_of(people, "degree", "multiclass") == ("multiclass", ("bachelor", "master", "school"), [1, 2, 0])
    assert target_of(people, "age")[0] == "continuous"


@pytest.mark.parametrize(
    "sidecar, match",
    [
        ("{", "must be whole JSON; .*participants.json is not"),
        ([1], "an object with a key per column; .* holds list"),
        ({"age": {"Levels": "one, two"}}, "an object or a list; .* has 'one, two' for 'age'"),
        ({"age": {"Kind": "rank"}}, "must be known; .* has 'rank' for 'age'; known are 'binary'"),
    ],
)
def test_damaged_sidecars_are_refused(tmp_path: Path, sidecar: object, match: str) -> None:
    with pytest.raises(CohortError, match=match):
        read_phenotypes(written(tmp_path, "participant_id\tage\n1\t30\n", sidecar))


def test_only_a_tsv_has_a_sidecar(tmp_path: Path) -> None:
    people = read_phenotypes(written(tmp_path, "participant_id,age\n1,30\n", "{", name="people.csv"))
    assert people.levels == {}


EXPORT = (
    "eid,31-0.0,21003-0.0,21003-2.0,709-2.0,738-2.0,20016-2.0,20116-2.0\n"
    "1000001,0,50,58,2,3,7,0\n"
    "1000002,1,51,59,-1,-3,,-3\n"
    "1000003,1,52,60,-3,1,5,2\n"
    "1000004,0,53,61,4,5,6,1\n"
)


def test_a_uk_biobank_export(tmp_path: Path) -> None:
    people = read_phenotypes(written(tmp_path, EXPORT, name="ukb.csv"))
    assert people.is_ukb
    assert people.cautions == ()
    assert people.table["participant_id"].tolist() == ["1000001", "1000002", "1000003", "1000004"]
    assert people.table["709-2.0"].tolist() == ["2", "-1", "-3", "4"]  # as exported
    assert people.units == {
        "age": "years",
        "household_size": "people",
        "household_income": "pounds a year",
        "fluid_intelligence": "points",
    }
    assert target_of(people, "age") == ("continuous", (), [58, 59, 60, 61])
    assert target_of(people, "sex") == ("binary", ("female", "male"), [0, 1, 1, 0])
    assert target_of(people, "household_size") == ("continuous", (), [2, 4])
    assert target_of(people, "household_income") == (
        "ordinal",
        ("less than 18,000", "31,000 to 51,999", "greater than 100,000"),
        [3, 1, 5],
    )
    assert target_of(people, "fluid_intelligence") == ("continuous", (), [7, 5, 6])
    assert target_of(people, "smoking") == ("multiclass", ("never", "previous", "current"), [0, 2, 1])


def test_uk_biobank_may_be_said_or_denied(tmp_path: Path) -> None:
    path = written(tmp_path, EXPORT, name="ukb.csv")
    with pytest.raises(CohortError, match="must have a column 'participant_id'; .* has 'eid'"):
        read_phenotypes(path, ukb=False)
    own = written(tmp_path, EXPORT.replace("eid", "participant_id", 1), name="own.csv")
    assert "age" not in read_phenotypes(own).table
    assert "age" in read_phenotypes(own, ukb=True).table
    nobody = written(tmp_path, EXPORT.replace("eid", "id", 1), name="nobody.csv")
    with pytest.raises(CohortError, match="must have a column 'participant_id' or 'eid'"):
        read_phenotypes(nobody, ukb=True)


@pytest.mark.data
def test_ixi(data: Path) -> None:
    people = read_phenotypes(data / "ixi" / "participants.tsv")
    assert people.units == {"age": "years"}
    kind, classes, codes = target_of(people, "sex")
    assert (kind, classes, codes.count(0), codes.count(1)) == ("binary", ("female", "male"), 94, 87)
    assert len(target_of(people, "age")[2]) == 181


def test_several_sessions_from_files_to_targets(tmp_path: Path) -> None:
    """Two visits of a person have their own age and volumes; who is filtered out is gone before the join."""
    visits = "participant_id\tsession_id\tage\tsite\n1\t1\t50\tHH\n1\t2\t53\tHH\n2\t1\t60\tHH\n3\t1\t70\tIOP\n"
    volumes = "participant_id,session_id,left\nsub-1,ses-2,2\nsub-1,ses-1,1\nsub-2,ses-1,\nsub-3,ses-1,4\n"
    people = read_phenotypes(written(tmp_path, visits))
    table = read_table(written(tmp_path, volumes, name="volumes.csv"))
    network = feature_set(
        "net", np.arange(4.0)[:, None], ["sub-1_ses-1", "sub-1_ses-2", "sub-2_ses-1", "sub-3_ses-1"]
    )
    images = Images(network.image_id, network.participant_id, network.session_id)
    both = combine([network, features_from_table("volumes", table, images=images)], missing="drop")
    assert both.incomplete == ("sub-2_ses-1",)
    matched = join(both.images, people.table.loc[where(people.table, "site == 'HH'")])
    assert matched.images.image_id.tolist() == ["sub-1_ses-1", "sub-1_ses-2"]
    assert make_target(matched.phenotypes, "age", "continuous").y.tolist() == [50, 53]
    assert both.X[:2].tolist() == [[0, 1], [1, 2]]


# --- more columns ---------------------------------------------------------------------------------------------


def test_columns_of_another_table_meet_by_person_and_session(tmp_path: Path) -> None:
    (tmp_path / "people.tsv").write_text(
        "participant_id\tsession_id\tage\nsub-1\tses-1\t50\nsub-1\tses-2\t52\nsub-2\tses-1\t60\nsub-3\t\t70\n"
    )
    (tmp_path / "scans.tsv").write_text("participant_id\tsession_id\tvolume\n2\t1\t9\n1\t2\t8\n1\t1\tn/a\n4\t1\t7\n")
    (tmp_path / "scans.json").write_text('{"volume": {"Units": "ml"}}')
    joined = add_columns(
        read_phenotypes(tmp_path / "people.tsv"), read_phenotypes(tmp_path / "scans.tsv"), "scans.tsv"
    )
    assert joined.table["volume"].fillna("-").tolist() == ["-", "8", "9", "-"]
    assert joined.table["age"].tolist() == ["50", "52", "60", "70"]
    assert joined.table.index.tolist() == [2, 3, 4, 5]  # lines of the phenotype table
    assert joined.units == {"volume": "ml"}


@pytest.mark.parametrize(
    "table, match",
    [
        ("participant_id\tage\nsub-1\t5\n", "'age' is in the phenotype table and in other.tsv; rename or remove one"),
        ("participant_id\tx\nsub-9\t5\n", "tables must have people in common to be joined; other.tsv has none"),
    ],
)
def test_another_table_that_cannot_be_joined_is_refused(tmp_path: Path, table: str, match: str) -> None:
    (tmp_path / "people.tsv").write_text("participant_id\tage\nsub-1\t50\n")
    (tmp_path / "other.tsv").write_text(table)
    people, other = (read_phenotypes(tmp_path / name) for name in ("people.tsv", "other.tsv"))
    with pytest.raises(CohortError, match=match):
        add_columns(people, other, "other.tsv")
