"""What an entry of a flows.yaml stands for, what one takes off the list, and what is read of many."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sftp_s3.flows import entries, file
from airflow_provider_sftp_s3.flows.file import check_flows, load_flows, read_flows
from airflow_provider_sftp_s3.flows.loader import TextLoader
from airflow_provider_sftp_s3.flows.settings import FlowError, FlowsError, Problem

pytestmark = pytest.mark.unit

GOOD = "- {name: %s, direction: pull, sftp_path: /outgoing, s3_bucket: a-bucket}\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "flows.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have Airflow ask for one Dag, as it does at the start of a task."""
    return lambda name: monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", name)


def good_and_bad(path: Path) -> tuple[dict[str, file.Settings], list[FlowError]]:
    read = read_flows(path)
    return read.flows, read.errors


def settings_of(path: Path) -> dict[str, Any]:
    settings, errors = good_and_bad(path)
    assert errors == []
    return {name: found.flow for name, found in settings.items()}


def errors_of(path: Path) -> list[str]:
    return [str(error) for error in read_flows(path).errors]


# -- What is broken breaks itself --------------------------------------------------------------------------------------

FORMS = {
    "a list": ("", GOOD % "one", GOOD % "two"),
    "a list that is indented": ("", "  " + GOOD % "one", "  " + GOOD % "two"),
    "with a head": ("%YAML 1.2\n---\n# the flows\n\n", GOOD % "one", GOOD % "two"),
    "a mapping": ("defaults:\n  retries: 2\n\nflows:  # of all partners\n\n", "  " + GOOD % "one", "  " + GOOD % "two"),
    "not indented": ("defaults: {retries: 2}\nflows:\n", GOOD % "one", GOOD % "two"),
    "defaults below": ("flows:\n", GOOD % "one", GOOD % "two", "defaults: {retries: 2}\n"),
}
BROKEN = [
    "- name: bad\n  schedule: @daily\n",
    "- name: bad\n  include: *.csv\n",
    "- name: bad\n  sftp_path: 'open\n",
    "- name: bad\n  include: [a, b\n",
    "- name: bad\n   direction: pull\n  sftp_path: /a\n",
    "- name: bad\n\tdirection: pull\n",
    "- name: bad\nsftp_path: /a\n",
    "- name: bad\n  sftp_path: *nobody\n",
    "- name: bad\n  s3_prefix: {{ ds }}\n",
    "- name: bad\n  sftp_path: /a\n - {direction: pull}\n",
    "- {name: bad, direction: pull\n",
    "- name: bad\n  sftp_path: a: b\n",
    '- name: "bad\n',
    "- name: bad\n  description: \x07\n",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("broken", BROKEN)
def test_an_entry_that_is_no_yaml_breaks_itself(write: Callable[[str], Path], form: str, broken: str) -> None:
    """Wherever the list stands, and before, between or after the others."""
    head, *good, tail = [*FORMS[form], ""][:4]
    indent = "  " if good[0].startswith(" ") else ""
    bad = "".join(f"{indent}{line}\n" if line.strip() else "\n" for line in broken.splitlines())
    for place in range(3):
        several = [*good[:place], bad, *good[place:]]
        settings, errors = good_and_bad(write(head + "".join(several) + tail))
        assert sorted(settings) == ["one", "two"]
        (error,) = errors
        assert "flow 'bad': " in str(error)
        if "defaults" in head + tail:
            assert {found.flow["retries"] for found in settings.values()} == {2}


def test_an_entry_is_used_whole_or_not_at_all(write: Callable[[str], Path], asked_for: Callable[[str], None]) -> None:
    """What PyYAML takes for a text of one entry is none of its own, whichever one is asked for."""
    text = (
        GOOD % "one" + '- name: two\n  direction: pull\n  sftp_path: /a\n  s3_bucket: a-bucket\n  description: "was:\n'
    )
    path = write(text + GOOD % "old" + '  "\n' + GOOD % "three")
    assert list(settings_of(path)) == ["one", "two", "three"]
    assert "name: old" in settings_of(path)["two"]["description"]
    asked_for("two")
    assert list(load_flows(path).dags) == ["two"]


def test_anchors_of_good_entries_stand_for_what_they_do(write: Callable[[str], Path]) -> None:
    """Those of a broken one for nothing: who uses them is broken, too."""
    good = "- &base {name: one, direction: pull, sftp_path: /a, s3_bucket: a-bucket}\n"
    bad = "- name: bad\n  options: &fast {concurrency: 4}\n  schedule: @daily\n"
    path = write(good + bad + "- {<<: *base, name: two}\n- {<<: *base, name: three, options: *fast}\n")
    settings, errors = good_and_bad(path)
    assert sorted(settings) == ["one", "two"]
    assert [error.flow for error in errors] == ["bad", "three"]
    assert "undefined alias 'fast'" in str(errors[1])


def test_two_names_that_differ_in_case_only_are_one_to_mysql(write: Callable[[str], Path]) -> None:
    (error,) = errors_of(write(GOOD % "partner" + GOOD % "Partner"))
    assert "flow 'Partner': name: 'Partner' is not allowed: a flow above has it, but for upper and lower case" in error


@pytest.mark.parametrize("name", ["日本_push", "café", "x\u0660"])
def test_a_name_that_airflow_would_refuse_is_refused_here(write: Callable[[str], Path], name: str) -> None:
    (error,) = errors_of(write(GOOD % name))
    assert "name: " in error
    assert "1 to 250 letters from a to z" in error


@pytest.mark.parametrize("form", ["%s", "flows:\n%s"])
def test_an_entry_without_end_is_not_even_read(
    write: Callable[[str], Path], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some megabytes in one line take YAML a quarter of a minute, in Airflow's loop over all Dag files."""
    long = "- name: bad\n  include: [" + "a.csv, " * 200_000 + "]\n"
    read: list[int] = []
    init = TextLoader.__init__

    def loaded(self: TextLoader, text: str, *more: Any) -> None:
        read.append(len(text))
        init(self, text, *more)

    monkeypatch.setattr(TextLoader, "__init__", loaded)
    settings, (error,) = good_and_bad(write(form % (GOOD % "one" + long + GOOD % "two")))
    assert sorted(settings) == ["one", "two"]
    assert "line 2" in str(error).replace("line 3", "line 2")
    assert "flow 'bad': it has more than 1000000 characters. Shorten it" in str(error)
    assert max(read) < 1000


def test_a_file_without_end_is_refused(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(GOOD % "one" + GOOD % "two")
    monkeypatch.setattr(entries, "MAX_FILE", path.stat().st_size)
    assert len(read_flows(path).flows) == 2
    monkeypatch.setattr(entries, "MAX_FILE", path.stat().st_size - 1)
    with pytest.raises(entries.FlowsFileError, match=r"has more than \d+ characters. Make several files of it"):
        read_flows(path)


def test_what_is_wrong_with_thousands_fits_into_airflows_database(write: Callable[[str], Path]) -> None:
    """MySQL takes 65,535 bytes of an import error. Here, the prefix lacks its {p}, and each flow meets all others."""
    several = ", ".join(f"päckchen{number}" for number in range(400))
    path = write(
        f"- {{name: 'out_{{n}}', for_each: {{n: [{', '.join(map(str, range(400)))}]}}, direction: push, "
        "sftp_path: '/in/{n}', s3_bucket: a-bucket, s3_prefix: out/}\n"
        f"- {{name: 'ä{{p}}', for_each: {{p: [{several}]}}, direction: pull, sftp_path: '/in', s3_bucket: 'a {{p}}'}}\n"
    )
    read = read_flows(path)
    assert len(read.errors) == 800
    assert {len(error.problems) for error in read.errors if str(error.flow).startswith("out_")} == {1}
    with pytest.raises(FlowsError, match=r"\.\.\. and \d+ more errors, told once these are mended") as caught:
        check_flows(path)
    assert len(str(caught.value).encode()) < 60_000
    one = FlowsError.of([FlowError("one", [Problem("", "é" * 100_000)])])
    assert one is not None
    assert len(str(one).encode()) < 60_000


# -- Defaults, for_each ------------------------------------------------------------------------------------------------


def test_defaults_count_where_a_flow_does_not_say(write: Callable[[str], Path]) -> None:
    """An empty value takes one away; what only the other direction has is left out."""
    path = write(
        "defaults:\n"
        "  s3_bucket: a-bucket\n"
        "  retention: 7d\n"
        "  wait_timeout: 2h\n"
        "  retries: 2\n"
        "  direction: pull\n"
        "flows:\n"
        "- {name: one, sftp_path: /a}\n"
        "- {name: two, sftp_path: /a, retries: 3, retention: }\n"
        "- {name: three, direction: push, sftp_path: /a, s3_bucket: other}\n"
    )
    found = settings_of(path)
    assert [found[name]["retries"] for name in ("one", "two", "three")] == [2, 3, 2]
    assert [found[name]["s3_bucket"] for name in ("one", "two", "three")] == ["a-bucket", "a-bucket", "other"]
    assert ("retention" in found["one"], "retention" in found["two"]) == (True, False)
    assert "wait_timeout" not in found["one"]
    assert found["three"]["wait_timeout"].total_seconds() == 7200


EACH = """
defaults: {s3_bucket: a-bucket, direction: pull}
flows:
- name: "{partner}_in"
  for_each: {partner: [a, b, c-d]}
  sftp_path: "/{partner}/{{ ds }}/{other}/{{partner_id}}"
  include: ["{partner}*.csv", "x"]
  options: {concurrency: 4}
  access_control: {Ops: [can_read]}
"""


def test_for_each_replaces_in_names_of_mappings_too(write: Callable[[str], Path]) -> None:
    """A role of each partner: one that does not exist is an error for all flows of the file."""
    roles = '"{partner}_ops": can_read, Ops: can_edit'
    found = settings_of(write(EACH.replace("Ops: [can_read]", roles)))
    assert list(found["b_in"]["access_control"]) == ["b_ops", "Ops"]


@pytest.mark.parametrize("flows", [GOOD % "one", "[" + (GOOD % "one")[2:].strip() + "]\n"])
def test_defaults_stand_there_once(write: Callable[[str], Path], flows: str) -> None:
    """The second ones would quietly take the place of the first."""
    path = write(f"defaults: {{pool: a}}\nflows:\n  {flows}defaults: {{owner: b}}\n")
    with pytest.raises(entries.FlowsFileError, match=r"line 4: defaults stand there twice\. Remove one of the two"):
        read_flows(path)


def test_json_is_yaml(write: Callable[[str], Path]) -> None:
    """It writes an emoji as two halves, which no database takes; one half alone is an error."""
    flow = {"name": "one", "direction": "pull", "sftp_path": "/a", "s3_bucket": "a-bucket", "description": "😀 ü"}
    text = json.dumps([flow])
    assert "\\ud83d\\ude00" in text
    assert settings_of(write(text))["one"]["description"] == "😀 ü"
    assert "description: '\\ude00 ü' is not allowed: it has half" in errors_of(write(text.replace("\\ud83d", "")))[0]


def test_for_each_makes_a_flow_of_each_value(write: Callable[[str], Path]) -> None:
    """The very text is replaced, wherever it stands, and no other braces are touched."""
    found = settings_of(write(EACH))
    assert list(found) == ["a_in", "b_in", "c-d_in"]
    assert found["c-d_in"]["sftp_path"] == "/c-d/{{ ds }}/{other}/{{partner_id}}"
    assert found["b_in"]["include"] == ["b*.csv", "x"]
    assert found["a_in"]["s3_bucket"] == "a-bucket"


def test_the_same_problem_of_a_hundred_flows_is_told_once(write: Callable[[str], Path]) -> None:
    partners = ", ".join(f"p{number}" for number in range(100))
    path = write(
        f"- {{name: '{{p}}', for_each: {{p: [{partners}]}}, direction: pull, s3_bucket: a-bucket, shedule: x, "
        "retries: '{p}', sftp_path: /a}\n" + GOOD % "p7"
    )
    settings, errors = good_and_bad(path)
    assert list(settings) == ["p7"]
    assert len(errors) == 100, "each has a wrong number of retries of its own"
    path.write_text(path.read_text().replace("retries: '{p}', ", ""))
    with pytest.raises(FlowsError) as caught:
        check_flows(path)
    first, fields = str(caught.value).splitlines()
    assert "flow 'p0' and 99 more of its for_each: shedule: there is no such field. Did you mean 'schedule'?" in first
    assert fields.startswith("Fields of a pull: ")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("name: a, for_each: {p: [x]}", "for_each: name must hold {p}"),
        ("name: 'a{p}', for_each: [x]", "for_each: ['x'] is not allowed. Allowed: one word with a list of texts"),
        ("name: 'a{p}', for_each: {p: [x], q: [y]}", "Allowed: one word with a list"),
        ("name: 'a{p}', for_each: {p: []}", "for_each: p: [] is not allowed"),
        ("name: 'a{p}', for_each: {p: [[x]]}", "for_each: p: [['x']] is not allowed"),
        ("name: 'a{p q}', for_each: {p q: [x]}", "'p q' is no word"),
        ("name: 'a{stem}', for_each: {stem: [x]}", "for_each: {stem} has a meaning in other fields"),
        ("for_each: {p: [x]}", "for_each: name must hold {p}"),
        ("name: 'a{p}', for_each: ", "for_each: None is not allowed"),
        (
            f"name: 'a{{p}}', for_each: {{p: [{'a, ' * 5001}]}}",
            "for_each: p has 5001 values, more than 5000. Make several",
        ),
    ],
)
def test_a_wrong_for_each_says_what_is_allowed(write: Callable[[str], Path], entry: str, says: str) -> None:
    path = write(f"- {{{entry}, direction: pull, sftp_path: /a, s3_bucket: a-bucket}}\n" + GOOD % "two")
    settings, errors = good_and_bad(path)
    assert list(settings) == ["two"]
    assert says in str(errors[0])


def test_two_values_that_make_one_name_make_one_flow(write: Callable[[str], Path]) -> None:
    path = write("- {name: '{p}', for_each: {p: [a, b, a]}, direction: pull, sftp_path: /a, s3_bucket: a-bucket}\n")
    settings, errors = good_and_bad(path)
    assert sorted(settings) == ["a", "b"]
    assert "flow 'a': name: 'a' is not allowed: a flow above has it" in str(errors[0])


# -- What Airflow asks for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["one", "a_in", "two"])
def test_a_task_makes_the_dag_that_airflow_asks_for_and_no_other(
    write: Callable[[str], Path], asked_for: Callable[[str], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(EACH + "".join([GOOD % "one", GOOD % "bad one", "- name: two\n  schedule: @x\n", GOOD % "two"]))
    whole = read_flows(path).flows[name].flow
    monkeypatch.setattr(file, "build", lambda flow: flow)
    asked_for(name)
    assert load_flows(path).dags == {name: whole}


def test_of_many_flows_only_the_texts_that_may_be_asked_for_are_read(
    write: Callable[[str], Path], asked_for: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("".join(GOOD % f"flow_{number:03}" for number in range(500)))
    read: list[str] = []

    class Loader(TextLoader):
        def __init__(self, text: str, *rest: Any) -> None:
            read.append(text)
            super().__init__(text, *rest)

    monkeypatch.setattr(entries, "TextLoader", Loader)
    asked_for("flow_321")
    assert list(load_flows(path).dags) == ["flow_321"]
    assert read == [GOOD % "flow_321"]


@pytest.mark.parametrize("name", ["&n flow", '"f\\x6cow"', "*n"])
def test_a_name_is_written_out(write: Callable[[str], Path], name: str) -> None:
    """Or the text of its entry could not be told from the others'."""
    text = f"- {{name: {name}, direction: pull, sftp_path: /a, s3_bucket: a-bucket}}\n"
    above = "- {name: other, sftp_path: &n flow, direction: pull, s3_bucket: abc}\n" if "*" in name else ""
    settings, errors = good_and_bad(write(above + text))
    if "&" in name:
        assert list(settings) == ["flow"]
    else:
        assert "name: write 'flow' out" in str(errors[0])


def test_the_check_makes_no_dags(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(GOOD % "one" + GOOD % "b/d")
    monkeypatch.setattr(file, "build", None)
    with pytest.raises(FlowsError, match="name: 'b/d' is not allowed"):
        check_flows(path)


# -- Where files lie ---------------------------------------------------------------------------------------------------


def test_a_zip_of_dag_files_may_hold_the_flows(tmp_path: Path) -> None:
    archive = tmp_path / "flows.zip"
    with zipfile.ZipFile(archive, "w") as file_:
        file_.writestr("sub/flows.yaml", GOOD % "one")
    assert list(load_flows(archive / "sub" / "flows.yaml").dags) == ["one"]
    with pytest.raises(entries.FlowsFileError, match=r"cannot be read: there is no such file in the zip\. Allowed"):
        load_flows(archive / "flows.yaml")


POLICY = """
def task_policy(task):
    if task.owner == "airflow" and task.dag.dag_id != "no_owner_wanted":
        raise ValueError("each task must have an owner")

def dag_policy(dag):
    dag.doc_md += "!"
    if "skip" in dag.dag_id:
        from airflow.exceptions import AirflowClusterPolicySkipDag
        raise AirflowClusterPolicySkipDag("not here")
"""
LOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1])
changed = {name: dag.doc_md.count("!") for name, dag in bag.dags.items()}
errors = {name.split("/")[-1]: text for name, text in bag.import_errors.items()}
print(json.dumps({"changed": changed, "errors": errors}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [False, True])
def test_a_flow_that_a_cluster_policy_refuses_is_refused_alone(tmp_path: Path, zipped: bool) -> None:
    """As an import error of the check file; what a policy changes, it changes once."""
    import os

    home, dags = tmp_path / "home", tmp_path / "dags"
    (home / "config").mkdir(parents=True)
    dags.mkdir()
    (home / "config/airflow_local_settings.py").write_text(POLICY)
    with_owner = "- {name: %s, direction: push, sftp_path: /a, s3_bucket: a-bucket, owner: me}\n"
    flows = with_owner % "good" + GOOD % "refused" + with_owner % "skip_me"
    ours = Path(__file__).parents[2] / "dags"
    contents = {each.name: each.read_text() for each in ours.glob("*.py")} | {"flows.yaml": flows}
    if zipped:
        with zipfile.ZipFile(dags / "flows.zip", "w") as archive:
            for name, text in contents.items():
                archive.writestr(name, text)
    else:
        for name, text in contents.items():
            (dags / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(dags)],
        env=os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(dags)},
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["changed"] == {"good": 1}
    ((name, error),) = found["errors"].items()
    assert name == "sftp_s3_flows_check.py"
    assert "flow 'refused': ValueError: each task must have an owner" in error
