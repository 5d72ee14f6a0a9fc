"""The plugin that puts the page of all flows into Airflow's menu: the entry point ``airflow.plugins`` names it."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_sftp_s3.plugins.page import Page

#: Where the page is, beneath Airflow's own address.
PREFIX = "/sftp-s3"
TITLE = "SFTP and S3 flows"

#: Airflow 3.0 would serve the page, with no session that its requests could use, and 2.x has no such API. Asked here
#: and not in `_compat`: every Airflow process loads this module, some before they can import `airflow.sdk`.
HAS_VIEWS = hasattr(AirflowPlugin, "external_views")

APPS = [{"app": Page(), "url_prefix": PREFIX, "name": TITLE}]
#: Relative, so that it works beneath any `[api] base_url`. With no slash at its end it would be one of Airflow's pages.
VIEWS = [{"name": TITLE, "href": f"{PREFIX.removeprefix('/')}/", "destination": "nav", "category": "browse"}]


class SftpS3Plugin(AirflowPlugin):
    """
    The page of all flows, in the menu "Browse", from Airflow 3.1 on. On older versions it adds nothing.

    The menu's entry opens a window: within its own pages Airflow shows a view in a frame that must not open links.
    """

    name = "sftp_s3"
    fastapi_apps: list[Any] = APPS if HAS_VIEWS else []
    external_views: list[Any] = VIEWS if HAS_VIEWS else []
