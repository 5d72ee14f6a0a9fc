"""What `make test` keeps of the files that take long: the rest of them is in `make slow`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.support.chromium import Chromium

#: file -> the tests of it that `make test` runs: one at least of each thing that the file is about
KEPT = {
    "test_operators.py": {
        "test_a_pull_returns_its_report",
        "test_a_push_returns_its_report",
        "test_a_failed_file_fails_the_task_and_not_its_siblings",
        "test_airflow_retries_what_failed_and_only_that",
        "test_a_typo_is_an_import_error",
        "test_a_list_to_exclude_may_come_from_a_template",
        "test_a_dry_run_lists_and_touches_nothing",
        "test_keys_are_mapped_over",
        "test_on_kill_ends_the_transfer",
        "test_the_log_has_a_line_for_each_file_and_a_summary",
    },
    "test_logins.py": {
        "test_a_wrong_password_is_shown_once",
        "test_ssh_config_is_not_read_unless_it_is_asked_for",
        "test_a_proxy_command_that_ends_at_once",
        "test_what_is_no_private_key_is_said_to_be_what_it_is",
        "test_a_malformed_line_of_known_hosts_is_passed_over",
    },
    "test_retry_table.py": {
        "test_the_table_is_complete",
        "test_each_event_leads_to_the_state_in_the_table",
        "test_the_retry_pushes_only_what_its_first_try_could_not",
    },
    "test_shards.py": {
        "test_the_retry_of_one_shard_takes_what_it_left",
        "test_two_shards_make_the_same_done_directory_at_once",
    },
    "test_flow_dags.py": {
        "test_a_pull_flow_with_parallelism_shares_the_tree_among_its_tasks",
        "test_a_push_flow_pushes_what_is_unsynced_and_the_next_run_finds_nothing",
        "test_a_failed_push_is_tried_again_with_its_keys",
    },
    "test_command_line.py": {
        "test_good_flows_are_a_line_each",
        "test_wrong_flows_are_the_import_errors_text",
        "test_what_may_be_meant_is_a_warning_and_no_error",
    },
    "test_support.py": {"test_the_password_works_too", "test_refusals", "test_hooks_answer_cut_and_lose_answers"},
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long and is not kept. A name that no test has keeps nothing: say so."""
    for file, kept in KEPT.items():
        tests = [item for item in items if isinstance(item, pytest.Function) and item.path.name == file]
        found = {item.originalname for item in tests}
        if len(found) > len(kept) and kept - found:
            raise pytest.UsageError(f"{file} has no {', '.join(sorted(kept - found))}: see {__file__}")
        for item in tests:
            if item.originalname not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    require(Chromium.available(), Chromium.missing())
    with Chromium(tmp_path_factory.mktemp("browser") / "profile", 1500, 1200) as started:
        yield started
