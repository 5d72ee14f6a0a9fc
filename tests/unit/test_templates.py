"""What Airflow's templates leave: lists that come as their text, and labels that fit Airflow's database."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.transfers.templates import MAX_LABEL, label_of
from tests.support.airflow_env import warnings_of_ours_only

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("airflow_home")]

ODD = ["*.tmp", 'it\'s "x"', "ü\\d,", "[a]"]


def operators() -> dict[str, Any]:
    """Everything that has lists among its template fields."""
    from airflow_provider_sftp_s3.operators.s3_unsynced import S3ListAnnouncedOperator, S3ListUnsyncedOperator
    from airflow_provider_sftp_s3.sensors.s3_unsynced import S3UnsyncedSensor
    from airflow_provider_sftp_s3.transfers.s3_to_sftp import S3ToSftpOperator
    from airflow_provider_sftp_s3.transfers.sftp_tree_to_s3 import SftpTreeToS3Operator

    there = {"s3_bucket": "bkt"}
    return {
        "pull": (SftpTreeToS3Operator, {**there, "sftp_path": "/in"}),
        "push": (S3ToSftpOperator, {**there, "sftp_path": "/out"}),
        "list": (S3ListUnsyncedOperator, there),
        "announced": (S3ListAnnouncedOperator, there),
        "sensor": (S3UnsyncedSensor, {"bucket_name": "bkt", "bucket_key": "", "wait": timedelta(0), "timeout": 1}),
    }


def rendered(which: str, context: dict[str, Any], *, native: bool = False, **arguments: Any) -> Any:
    """Return an operator as it is when Airflow runs it."""
    from airflow_provider_sftp_s3._compat import DAG

    with warnings_of_ours_only():
        kind, needed = operators()[which]
        dag = DAG("d", schedule=None, start_date=datetime(2024, 1, 1), render_template_as_native_obj=native)
        operator = kind(task_id="t", dag=dag, **needed | arguments)
        operator.render_template_fields(context, dag.get_template_env())
    return operator


@pytest.mark.parametrize("which", ["pull", "push", "list", "announced", "sensor"])
@pytest.mark.parametrize("field", ["include", "exclude", "last"])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "template",
    ["{{ x }}", " {{ x }}\n", "{{ x | tojson }}", "{% if 1 %}{{ x }}{% endif %}", "{{ y }}"],
)
def test_a_template_that_gives_the_text_of_a_list_is_that_list(
    which: str, field: str, native: bool, template: str
) -> None:
    """Of every operator and the sensor, however the list is written, alone and among others."""
    context = {"x": ODD, "y": tuple(ODD)}
    alone: dict[str, Any] = {field: template}
    assert list(getattr(rendered(which, context, native=native, **alone), field)) == ODD
    among: dict[str, Any] = {field: ["a*", template, "{{ 'b' }}*"]}
    operator = rendered(which, context, native=native, **among)
    assert getattr(operator, field) == ["a*", *ODD, "b*"]


@pytest.mark.parametrize("native", [False, True])
def test_so_are_keys(native: bool) -> None:
    assert list(rendered("push", {"x": ODD}, native=native, s3_keys="{{ x }}").s3_keys) == ODD
    assert list(rendered("push", {"x": {"b", "a"}}, s3_keys="{{ x }}").s3_keys) == ["a", "b"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_list_comes_back(texts: list[str]) -> None:
    """As Python writes it and as JSON does, in ASCII and as it is."""
    for written in (repr(texts), json.dumps(texts), json.dumps(texts, ensure_ascii=False)):
        assert rendered("push", {"x": written}, s3_keys="{{ x }}").s3_keys == texts


@pytest.mark.parametrize("field", ["include", "exclude", "s3_keys"])
@pytest.mark.parametrize("plain", ["[a]", "['a', 'b']", '["a"]', "('a',)", "[]", "{'a'}"])
def test_what_is_written_plainly_stays_as_it_is(field: str, plain: str) -> None:
    """It is a glob, and the name of a file: alone and in a list."""
    for written in (plain, [plain, "x"]):
        arguments: dict[str, Any] = {field: written}
        assert getattr(rendered("push", {}, **arguments), field) == written


@pytest.mark.parametrize(
    ("template", "gives"),
    [
        ("[{{ 5 }}]", "[5]"),
        ("[{{ 'a-c' }}]", "[a-c]"),
        ("{{ '[a-c]' }}*.csv", "[a-c]*.csv"),
        ("{{ 'a' }}", "a"),
        ("{{ '[' }}", "["),
        ("{{ '(a' }}", "(a"),
        ("{{ '[' * 3000 }}{{ ']' * 3000 }}", "[" * 3000 + "]" * 3000),
    ],
)
def test_a_glob_from_a_template_stays_a_glob(template: str, gives: str) -> None:
    assert rendered("push", {}, include=template).include == gives


def test_an_empty_list_from_a_template() -> None:
    """Excludes nothing, and is no key; one to include is refused when the run begins, see test_paths.py."""
    operator = rendered("push", {"x": []}, s3_keys="{{ x }}", include="{{ x }}", exclude="{{ x }}")
    assert (operator.s3_keys, operator.include, operator.exclude) == ([], [], [])


# ------------------------------------------------------------------------------------------------- judged when, by whom

OPEN = ["{{ x }}", "a{% if x %}b{% endif %}", "a{# [ #}b"]


@pytest.mark.parametrize("which", ["pull", "push", "list", "announced", "sensor"])
def test_what_is_not_known_yet_is_not_judged(which: str) -> None:
    """Templates and references, alone and in a list, of every template field, made plainly and by partial."""
    from airflow_provider_sftp_s3._compat import DAG, BaseOperator

    kind, needed = operators()[which]
    with warnings_of_ours_only(), DAG("d", schedule=None, start_date=datetime(2024, 1, 1)):
        before = BaseOperator(task_id="before")
        for number, value in enumerate([*OPEN, ["[", "{{ x }}"], before.output, [before.output["x"]]]):
            for field in set(kind.template_fields) - {"sftp_conn_id", "aws_conn_id"}:
                if isinstance(value, list) and field not in kind._lists:
                    continue
                arguments: dict[str, Any] = {**needed, field: value}
                operator = kind(task_id=f"t-{number}-{field}", **arguments)
                assert getattr(operator, field) is value
                kind.partial(task_id=f"m-{number}-{field}", **arguments).expand(aws_conn_id=["a", "b"])


@pytest.mark.parametrize("which", ["pull", "push", "list", "announced", "sensor"])
def test_what_is_written_plainly_is_judged_at_once(which: str) -> None:
    """By every operator and the sensor; a default of the Dag, too."""
    from airflow_provider_sftp_s3._compat import DAG

    kind, needed = operators()[which]
    prefix = "bucket_key" if which == "sensor" else "s3_prefix"
    wrong: list[dict[str, Any]] = [{"include": []}, {"exclude": [5]}, {prefix: "a//b"}]
    wrong += [{"done_dir": "a/b"} if which == "pull" else {"mark": "x"}]
    for arguments in wrong:
        for defaults, own in ((arguments, {}), ({}, arguments)):
            with (
                warnings_of_ours_only(),
                DAG("d", schedule=None, start_date=datetime(2024, 1, 1), default_args=defaults),
                pytest.raises(ValueError, match=next(iter(arguments)).replace("bucket_key", "s3_prefix")),
            ):
                kind(task_id="t", **{**{n: v for n, v in needed.items() if n not in arguments}, **own})


def test_a_subclass_is_judged_as_it_is_in_the_end() -> None:
    """What its own __init__ sets counts."""
    pull, _ = operators()["pull"]

    class Fixed(pull):  # type: ignore[misc, valid-type]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(sftp_path="", **kwargs)
            self.sftp_path = "/" + self.task_id

    with warnings_of_ours_only():
        assert Fixed(task_id="t", s3_bucket="bkt").sftp_path == "/t"
        with pytest.raises(ValueError, match="done_dir"):
            Fixed(task_id="t", s3_bucket="bkt", done_dir="/")


@pytest.mark.parametrize("which", ["pull", "push", "list", "announced", "sensor"])
@pytest.mark.parametrize("native", [False, True])
def test_what_comes_to_none_is_refused(which: str, native: bool) -> None:
    """Where it says what is moved and where to; a file of that name, written plainly, may be meant."""
    kind = operators()[which][0]
    for field in kind._places:
        value: dict[str, Any] = {field: "{{ x }}"}
        operator = rendered(which, {"x": None}, native=native, **value)
        with pytest.raises(ValueError, match=f"^{field} is None"):
            operator.refuse_none()
    rendered(which, {"x": None}, native=native, include="None", exclude="{{ x }}").refuse_none()


@pytest.mark.parametrize("which", ["pull", "push", "list", "announced", "sensor"])
def test_a_name_that_comes_to_the_text_of_none_is_refused(which: str) -> None:
    """Two partners would be one destination, and of what one has got, the other would get nothing."""
    kind = operators()[which][0]
    for field in {*kind._names} & {*kind.template_fields}:
        value: dict[str, Any] = {field: "{{ x }}"}
        with pytest.raises(ValueError, match=f"^{field} is None"):
            rendered(which, {"x": None}, **value).refuse_none()
        rendered(which, {"x": None}, native=True, **value).refuse_none()
        plain: dict[str, Any] = {field: "None"}
        rendered(which, {}, **plain).refuse_none()


@pytest.mark.parametrize(
    ("which", "arguments", "wrong"),
    [
        ("push", {"after_transfer": "{{ x }}", "sent_prefix": "sent/", "s3_prefix": "out/"}, {"sent_prefix": "out/a"}),
        ("pull", {"min_age": "{{ x }}", "max_age": 20}, {"max_age": -1}),
    ],
)
def test_what_goes_with_what_is_not_known_yet_is_not_judged(
    which: str, arguments: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """Made plainly, and by partial; what cannot go with any value of it is."""
    from airflow_provider_sftp_s3._compat import DAG

    kind, needed = operators()[which]
    with warnings_of_ours_only(), DAG("d", schedule=None, start_date=datetime(2024, 1, 1)):
        assert kind(task_id="t", **needed, **arguments)
        kind.partial(task_id="m", **needed, **arguments).expand(aws_conn_id=["a", "b"])
        plain = {name: value for name, value in arguments.items() if value != "{{ x }}"}
        for number, each in enumerate([plain, {**arguments, **wrong}]):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                kind(task_id=f"u-{number}", **needed, **each)


# -------------------------------------------------------------------------------------------------------------- labels

KEYS = st.builds(
    lambda text, times: (text * times)[:1024],
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50),
    st.integers(1, 1024),
)


@given(KEYS, st.integers(1, 100_000))
def test_a_label_is_bounded_and_printable_for_any_key(key: str, count: int) -> None:
    """At most what Airflow's column holds, counted in characters as PostgreSQL does."""
    label = label_of([key] * min(count, 3) + ["x"] * (count - 3))
    assert len(label) <= MAX_LABEL
    assert label.isprintable()
    assert label.startswith(f"{count} from ")


def test_a_label_shows_both_ends_of_a_long_key() -> None:
    """And all of a short one."""
    assert label_of(["partner/ü.csv", "b"]) == "2 from partner/ü.csv"
    assert label_of("partner/a.csv") == "1 from partner/a.csv"
    assert label_of([]) == label_of(None) == "0"
    label = label_of(["partner/" + "x" * 1000 + "/orders.csv"])
    assert label.startswith("1 from partner/xxx")
    assert label.endswith("xxx/orders.csv")
    assert MAX_LABEL - 3 < len(label) <= MAX_LABEL


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("template", "long"),
    [
        ("{{ task.batch }}", False),
        ("{{ task.s3_keys | first }}", True),
        ("{% set k = task.s3_keys %}{{ k[0] }} {# all #}{% raw %}{{ }}{% endraw %}", True),
        ("{{ task.s3_keys | length }}", False),
        ("plain", False),
    ],
)
def test_any_map_index_template_is_bounded(template: str, long: bool, native: bool) -> None:
    """A user's own, too: Airflow renders what rendering the fields has left in the context."""
    from airflow_provider_sftp_s3._compat import DAG

    context: dict[str, Any] = {"map_index_template": template}
    operator = rendered("push", context, native=native, s3_keys=["ü" * 1000])
    context["task"] = operator
    with warnings_of_ours_only():
        dag = DAG("d", schedule=None, start_date=datetime(2024, 1, 1), render_template_as_native_obj=native)
        environment = dag.get_template_env()
        label = str(environment.from_string(context["map_index_template"]).render(context))
        unbounded = str(environment.from_string(template).render(context))
    assert len(label) <= MAX_LABEL
    assert (len(unbounded) > MAX_LABEL) == long
    assert label == (unbounded[: MAX_LABEL - 3] + "..." if long else unbounded)


# ------------------------------------------------------------------------------------------ numbers, durations, choices


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("min_age", "90", 90),
        ("min_age", "1h30m", 5400),
        ("min_age", " 0 ", 0),
        ("retention", "7d", 7 * 86400),
        ("retention", "None", None),
        ("retention", "never", None),
        ("retention", "", None),
        ("max_files", " 10 ", 10),
        ("max_files", "None", None),
        ("max_bytes", "500 MB", 500_000_000),
        ("max_bytes", "", None),
    ],
)
def test_the_text_of_a_number_is_the_number(name: str, text: str, value: float | None) -> None:
    from airflow_provider_sftp_s3.engine.settings import PullSettings
    from airflow_provider_sftp_s3.hooks.arguments import settings_of

    settings = settings_of(PullSettings, {"sftp_path": "/a", name: text})
    assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("min_age", ""),
        ("min_age", "None"),
        ("min_age", "-5"),
        ("retention", "a week"),
        ("max_files", "0"),
        ("max_files", "1.5"),
        ("max_bytes", "0"),
        ("max_bytes", "much"),
        ("after_transfer", "None"),
        ("done_dir", "a/b"),
        ("mark", ""),
    ],
)
def test_the_text_of_no_number_is_named(name: str, text: str) -> None:
    """No min_age is not a min_age of 0: files that are still written would be taken."""
    from airflow_provider_sftp_s3.engine.errors import ConfigurationError
    from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
    from airflow_provider_sftp_s3.hooks.arguments import settings_of

    with pytest.raises(ConfigurationError, match=f"{name} must be"):
        settings_of(PushSettings if name == "mark" else PullSettings, {"sftp_path": "/a", name: text})


def test_a_min_age_that_is_none_moves_nothing() -> None:
    from airflow_provider_sftp_s3.engine.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="min_age is None"):
        rendered("pull", {"x": None}, min_age="{{ x }}").refuse_none()
