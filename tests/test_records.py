"""What a run's record says and outlives: columns said once, settings of every version, records of every version."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, compose
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from alkbald import loop
from alkbald.records.files import read_record
from alkbald.records.run import Run, find_folder, run_folder
from alkbald.records.schema import ACQUIRED, EPOCHS, ROUNDS, VERSION, documentation
from alkbald.records.status import status
from alkbald.records.versions import LEGACY, METHOD_LEGACY, MODEL_LEGACY, flat, legacy_values, nested, recorded_settings
from alkbald.reporting.figures.curves import learning_curves
from alkbald.reporting.rounds import load_runs
from alkbald.settings import flat_keys, from_config, from_record

RECORDS = ROOT / "tests" / "records"
VERSIONS = range(1, VERSION + 1)
COMMITTED = sorted(path.parent for path in (ROOT / "results").rglob("rounds.csv"))


def folder_of(version: int, below: Path = RECORDS) -> Path:
    """The one run of a version."""
    (path,) = (below / str(version)).rglob("rounds.csv")
    return path.parent


def columns_of(path: Path) -> list[str]:
    return path.read_text().splitlines()[0].split(",")


# Columns.


@pytest.mark.parametrize("table", [ROUNDS, ACQUIRED, EPOCHS], ids=lambda table: table.file)
def test_the_documentation_has_the_columns_of_the_schema(table):
    assert documentation(table) in (ROOT / "docs" / "records.md").read_text()
    assert len(set(table.names)) == len(table.names)
    assert all(column.meaning for column in table.columns)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_has_the_columns_of_its_version(version):
    folder = folder_of(version)
    for table in (ROUNDS, ACQUIRED, EPOCHS):
        assert (folder / table.file).exists() == (version >= table.since)
        if version >= table.since:
            columns = [column.name for column in table.columns if column.since <= version]
            assert columns_of(folder / table.file) == columns


def test_a_value_is_missing_only_where_the_schema_says_so():
    record = read_record(folder_of(VERSION))
    for table, rows in zip((ROUNDS, ACQUIRED, EPOCHS), record, strict=True):
        assert rows
        always = [column.name for column in table.columns if not column.empty and column.since <= VERSION]
        assert all(row[name] for row in rows for name in always)
    in_last_round = {column.name for column in ROUNDS.columns if "in the last round" in column.empty}
    later = {column.name for column in ROUNDS.columns if column.since > VERSION}
    assert {name for name, value in record.rounds[-1].items() if not value} == in_last_round | later


def test_a_new_row_has_a_value_in_every_column(extended):
    """Also of the columns that no version's record has yet: fails when a column's value is not computed."""
    for version in VERSIONS:
        record = read_record(folder_of(version, extended))
        row = record.rounds[-2]  # the last but one is the last with a batch
        sometimes = {"first_non_positive", "decision"}
        assert {name for name, value in row.items() if not value} <= sometimes
        first_epoch = next(epoch for epoch in record.epochs if epoch["round"] == row["round"])  # better than none
        assert all(record.acquired[-1].values())
        assert all(first_epoch.values())


# Settings.


groups = st.dictionaries(st.sampled_from("cd"), st.none(), min_size=1)


@given(st.dictionaries(st.sampled_from("ab"), st.integers() | groups))
def test_nested_is_the_inverse_of_flat(settings):
    assert nested(flat(settings)) == settings


def test_every_setting_is_in_the_first_version_or_has_a_legacy_value():
    """Fails when a setting has been added and what old runs did has not been said: see `records.versions`."""
    first = flat(yaml.safe_load((folder_of(1) / "config.yaml").read_text()))
    known = {key for key in first if not key.startswith("method.")} | LEGACY.keys()
    known_beside_model = {key for key in known if not key.startswith("model.")}
    assert set(flat_keys()) - {"method", "model", "recorder"} == known_beside_model - {"recorder.name"}
    began_with = yaml.safe_load((RECORDS / "methods.yaml").read_text())
    for path in (ROOT / "configs" / "method").iterdir():
        now = yaml.safe_load(path.read_text()).keys() - {"name"}
        assert now == {*began_with.get(path.stem, []), *METHOD_LEGACY.get(path.stem, {})}, path.stem
    began_with = yaml.safe_load((RECORDS / "models.yaml").read_text())
    for path in (ROOT / "configs" / "model").iterdir():
        model = compose(f"model={path.stem}").model
        own = {"posterior", "network", *began_with.get(path.stem, []), *MODEL_LEGACY.get(model.posterior, {})}
        of_network = {"dropout", *MODEL_LEGACY["cnn"]} if model.network == "cnn" else set()
        assert model.keys() == own | of_network, path.stem


def test_legacy_values_are_settings_of_their_own():
    first = flat(yaml.safe_load((folder_of(1) / "config.yaml").read_text()))
    assert not LEGACY.keys() & first.keys()
    began_with = yaml.safe_load((RECORDS / "methods.yaml").read_text())
    for method, values in METHOD_LEGACY.items():
        assert not values.keys() & set(began_with.get(method, []))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_reads_as_settings(version):
    folder = folder_of(version)
    settings = from_record(folder)
    recorded = flat(yaml.safe_load((folder / "config.yaml").read_text()))
    read = flat(vars(settings) | {key: vars(getattr(settings, key)) for key in ("data", "training")})
    for key, value in read.items():
        if key == "device":
            assert value == "auto"
        elif key in recorded:
            assert value == recorded[key]
        else:
            assert value == legacy_values(recorded)[key]
    assert read.keys() >= recorded.keys()


def test_a_setting_of_a_method_reads_at_its_legacy_value():
    assert from_record(folder_of(4)).method["memory_budget"] is None
    assert from_record(folder_of(5)).method["memory_budget"] == 2**29
    assert from_record(folder_of(2)).precision == "fp32"


def test_a_model_reads_at_its_legacy_values(tmp_path):
    old = from_record(folder_of(6))
    assert old.model == from_config(compose()).model
    (tmp_path / "config.yaml").write_text(
        OmegaConf.to_yaml(compose("data=digits", "model=ensemble", "model.members=3"), resolve=True)
    )
    ensemble = from_record(tmp_path)
    assert (ensemble.model["posterior"], ensemble.model["members"], ensemble.num_samples) == ("ensemble", 3, 3)
    assert run_folder(ensemble) != run_folder(replace(ensemble, model=ensemble.model | {"members": 4}))


def test_there_are_committed_runs():
    assert len(COMMITTED) >= 50


@pytest.mark.parametrize("version", [version for version in VERSIONS if version >= 3])
def test_folders_keep_the_names_that_versions_gave_them(version):
    """A setting that came later does not change them; of the versions before the third, precision did."""
    assert run_folder(from_record(folder_of(version))).name == folder_of(version).name


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: str(folder.relative_to(ROOT / "results")))
def test_a_committed_run_reads_as_settings_and_is_found_by_them(folder, tmp_path):
    settings = from_record(folder)
    assert settings.num_samples == recorded_settings(folder)["num_samples"]
    settings.out = str(tmp_path)
    place = run_folder(settings).with_name(folder.name)  # a folder of the record's own name, wherever that came from
    shutil.copytree(folder, place)
    assert find_folder(settings) == place
    settings.num_samples += 1
    assert find_folder(settings) == run_folder(settings) != place


# Records.


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """The records of all versions, each gone on by a round."""
    out = tmp_path_factory.mktemp("records")
    shutil.copytree(RECORDS, out, dirs_exist_ok=True)
    for version in VERSIONS:
        folder = folder_of(version, out)
        settings = replace(from_record(folder), out=str(out / str(version) / "runs"), device="cpu", max_labels=40)
        run = loop.run(settings)
        assert run.folder == folder  # though other versions name it otherwise
    return out


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_reads(version):
    rounds, acquired, epochs = read_record(folder_of(version))
    assert [row["labelled"] for row in rounds] == ["20", "30"]
    assert len(acquired) == 10
    assert len(epochs) == (4 if version >= EPOCHS.since else 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_is_listed(version):
    listed = status(folder_of(version))
    assert (listed["state"], listed["rounds"], listed["labelled"]) == ("complete", "2", "30 of 30")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_goes_on(version, extended):
    before, now = read_record(folder_of(version)), read_record(folder_of(version, extended))
    (again,) = (extended / str(version)).rglob("rounds.csv")
    assert columns_of(again) == ROUNDS.names
    assert [row["labelled"] for row in now.rounds] == ["20", "30", "40"]
    assert now.rounds[0] == before.rounds[0]  # the last round is done again, with a batch
    assert now.acquired[:10] == before.acquired
    assert len(now.acquired) == 20
    without = 0 if version >= EPOCHS.since else 1  # rounds that the earlier version recorded
    assert [row["ece"] != "" for row in now.rounds] == [number >= without for number in range(3)]
    assert sorted({row["round"] for row in now.epochs}) == [str(number) for number in range(without, 3)]
    assert status(folder_of(version, extended))["state"] == "complete"
    settings = replace(from_record(again.parent), out=str(extended / str(version) / "runs"), device="cpu")
    assert Run(settings).is_complete


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_is_drawn(version, extended):
    for folder in (RECORDS, extended):
        rounds = load_runs([folder / str(version)])
        assert rounds["variant"].eq("").all()
        (axes,) = learning_curves(rounds).axes
        drawn = axes.lines[0].get_xydata()
        assert drawn.tolist() == rounds[["labelled", "accuracy"]].values.tolist()


def test_records_of_several_versions_are_one_table():
    rounds = load_runs([RECORDS])
    assert len(rounds) == 2 * VERSION
    apart = rounds[rounds["variant"] != ""]
    assert set(apart["method"]) == {"dynamic_bald"}  # of two versions with defaults of their own
    assert rounds["ece"].notna().sum() == 4  # of the sixth and seventh
    assert pd.api.types.is_float_dtype(rounds["ece"])


def test_the_committed_runs_are_listed():
    done = subprocess.run(
        [sys.executable, "-m", "alkbald.status", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *rows, count = done.stdout.splitlines()
    under_way = sum("full_protocol" in folder.parts for folder in COMMITTED)  # runs that are not at their end yet
    counts = {state: int(number) for number, state in (part.split() for part in count.split(", "))}
    assert counts.keys() <= {"complete", "partial"}
    assert counts["complete"] >= len(COMMITTED) - under_way
    assert len(rows) == len(COMMITTED) + 1
