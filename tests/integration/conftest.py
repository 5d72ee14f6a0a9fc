"""What `make test` keeps of the files that take long: the rest of them is in `make slow`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.sftp import line, session
from airflow_provider_sftp_s3.engine.sftp.connection import connect
from tests.conftest import require
from tests.support import unhurried
from tests.support.airflow_env import airflow_connections
from tests.support.chromium import Chromium
from tests.support.engine import Engine, engine_on
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, SftpServer

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
        "test_the_retry_pushes_only_what_its_first_try_could_not",
    },
    "test_shards.py": {
        "test_the_retry_of_one_shard_takes_what_it_left",
        "test_two_shards_make_the_same_done_directory_at_once",
    },
    "test_flow_dags.py": {
        "test_a_push_flow_pushes_what_is_unsynced_and_the_next_run_finds_nothing",
        "test_a_failed_push_is_tried_again_with_its_keys",
    },
    "test_command_line.py": {
        "test_good_flows_are_a_line_each",
        "test_wrong_flows_are_the_import_errors_text",
        "test_what_may_be_meant_is_a_warning_and_no_error",
    },
    "test_receipts.py": {
        "test_each_file_is_a_line",
        "test_nothing_is_moved_where_s3_takes_no_receipts",
        "test_a_retry_knows_what_the_tries_before_it_have_moved",
        "test_a_place_that_cannot_be",
    },
    "test_on_duty.py": {
        "test_failures_stand_at_the_end_with_their_times",
        "test_an_event_says_what_was_moved",
    },
    "test_on_conflict.py": {
        "test_each_mode",
        "test_an_earlier_try_of_its_own_is_no_conflict",
        "test_without_it_nothing_is_asked",
    },
    "test_rename_to.py": {
        "test_files_go_under_their_new_names",
        "test_of_two_files_of_one_key_the_second_fails",
        "test_objects_go_under_their_new_names",
        "test_of_two_objects_of_one_path_the_second_fails",
    },
    "test_dated_done_dir.py": {"test_each_day_has_its_directory", "test_whole_days_are_purged"},
    "test_done_conflict.py": {"test_an_older_one_is_replaced_or_renamed"},
    "test_file_attributes.py": {"test_mode_and_mtime_of_pushed_files", "test_without_them_nothing_is_asked"},
    "test_expected_files.py": {
        "test_what_is_not_allowed_is_said",
        "test_it_is_a_dag_of_its_own",
        "test_it_counts_what_has_come",
    },
    "test_sftp_paths.py": {"test_given_files_are_pulled_and_no_others", "test_no_directory_is_listed"},
    "test_beside_boto3.py": {"test_an_authority_of_ones_own"},
    "test_account.py": {
        "test_a_pull_without_it_ends_with_one_error",
        "test_what_objects_are_stored_with",
        "test_a_bit_that_is_flipped_is_read_again",
    },
    "test_links.py": {"test_what_links_lead_to_is_pulled_under_their_names", "test_a_loop_ends_where_it_begins"},
    "test_partners_page.py": {"test_orders_in"},
    "test_checksum_file.py": {"test_each_file_has_its_sum", "test_a_file_is_taken_with_its_sum"},
    "test_last.py": {
        "test_all_go_in_one_run",
        "test_one_that_fails_holds_them_back",
        "test_a_run_by_keys_looks_for_others",
        "test_what_does_not_go_together",
    },
    "test_trigger_file.py": {
        "test_each_file_has_its_trigger",
        "test_a_file_is_taken_with_its_trigger",
        "test_what_does_not_go_together",
    },
    "test_support.py": {"test_the_password_works_too", "test_refusals", "test_hooks_answer_cut_and_lose_answers"},
}


#: Files that take minutes, the longest first: who gets one of them last has everybody wait.
FIRST = [
    *("test_shell_examples.py", "test_page.py", "test_page_of_many.py", "test_airflow_system.py", "test_demo.py"),
    *("test_trigger_file.py", "test_last.py", "test_operators.py", "test_command_line.py"),
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long and is not kept. A name that no test has keeps nothing: say so."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    for file, kept in KEPT.items():
        tests = [item for item in items if isinstance(item, pytest.Function) and item.path.name == file]
        found = {item.originalname for item in tests}
        if len(found) > len(kept) and kept - found:
            raise pytest.UsageError(f"{file} has no {', '.join(sorted(kept - found))}: see {__file__}")
        for item in tests:
            if item.originalname not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    unhurried.give_time(monkeypatch)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    require(Chromium.available(), Chromium.missing())
    with Chromium(tmp_path_factory.mktemp("browser") / "profile", 1500, 1200) as started:
        yield started


@pytest.fixture
def options() -> TransferOptions:
    """Those of `engine` and `fast`: a module that wants others has a fixture of this name."""
    return TransferOptions()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let each login, and each proxy command, take the time of a busy machine, whatever `conn_timeout` says.

    A short one then says that a login which has failed is not tried again, and nothing else.
    """
    monkeypatch.setattr(session, "connect", lambda server, timeout, number: connect(server, 60, number))
    monkeypatch.setattr(line, "LAST_WORDS_SECONDS", 60.0)


@pytest.fixture
def engine(any_sftp_server: SftpServer, s3: S3Server, bucket: str, options: TransferOptions) -> Engine:
    """Every real SFTP server in turn, each with the directories `in` and `out`, and a bucket."""
    return engine_on(any_sftp_server, s3, bucket, options)


@pytest.fixture
def fast(sftp_server: AsyncsshServer, s3: S3Server, bucket: str, options: TransferOptions) -> Engine:
    """The same with asyncssh's server: for what does not depend on the SFTP server."""
    return engine_on(sftp_server, s3, bucket, options)


@pytest.fixture
def default_connections(airflow_home: Path, sftp_server: AsyncsshServer, s3: S3Server) -> Iterator[None]:
    """`sftp_default` and `aws_default`, to asyncssh's server and to S3, for what Airflow runs."""
    with airflow_connections(sftp_default=sftp_server.airflow_connection(), aws_default=s3.airflow_connection()):
        yield
