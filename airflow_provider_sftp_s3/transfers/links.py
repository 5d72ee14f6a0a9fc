"""The buttons of a transfer's task in Airflow's UI: where its objects and its receipts are."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_sftp_s3._compat import AIRFLOW_2, BaseOperatorLink, xcom_value

if TYPE_CHECKING:
    from airflow_provider_sftp_s3._compat import Context
    from airflow_provider_sftp_s3.engine.s3.endpoint import Endpoint

#: Where the console is, by the end of S3's own host names.
_CONSOLES = {".amazonaws.com": "console.aws.amazon.com", ".amazonaws.com.cn": "console.amazonaws.cn"}
_GOV = "console.amazonaws-us-gov.com"


class _Link(BaseOperatorLink):
    """A link whose address the task has left: at the operator and, for Airflow 2, in XCom."""

    key = ""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """
        Return the address; "" where there is none, and the button does nothing. Never raises.

        Airflow 3 asks in the worker, as the task ends, where what is not in XCom would be an error at the end of its
        log. Airflow 2 asks in its web server.
        """
        if not AIRFLOW_2:
            return str(getattr(operator, "links", {}).get(self.key, ""))
        try:
            return str(xcom_value(self.key, ti_key) or "")
        except Exception:  # of its database's driver: a page of the UI is no place for that
            logging.getLogger(__name__).debug("no link", exc_info=True)
            return ""


class S3PrefixLink(_Link):
    """The directory in the bucket that a transfer reads or writes, in the console of AWS."""

    name = "S3 prefix"
    key = "s3_prefix_link"


class ReceiptLink(_Link):
    """The receipts of the Dag run, in the console of AWS."""

    name = "Receipt"
    key = "receipt_link"


def console_url(endpoint: Endpoint, bucket: str, prefix: str) -> str:
    """
    Return the address of a prefix in the console of AWS; "" where it is not there, as with another store.

    :param endpoint: of a bucket of the same partition and region.
    """
    host = urlsplit(endpoint.url).hostname or ""
    console = next((name for end, name in _CONSOLES.items() if host.endswith(end)), "")
    if not console or not re.fullmatch(r"[a-z0-9.-]+", bucket):
        return ""
    if endpoint.region.startswith("us-gov-"):
        console = _GOV
    where = f"?prefix={quote(prefix, safe='')}&region={quote(endpoint.region, safe='')}"
    return f"https://{console}/s3/buckets/{bucket}{where}"


def leave_links(
    context: Context, endpoint: Endpoint | None, bucket: str, prefix: str, receipt: str | None
) -> dict[str, str]:
    """
    Return the addresses for the buttons, as far as there are some, and leave them where Airflow looks for them.

    :param receipt: the URI of the receipts' directory.
    """
    links: dict[str, str] = {}
    if endpoint is None:
        return links
    receipts, _, directory = (receipt or "").removeprefix("s3://").partition("/")
    for key, url in (
        (S3PrefixLink.key, console_url(endpoint, bucket, prefix)),
        (ReceiptLink.key, console_url(endpoint, receipts, directory) if receipt else ""),
    ):
        if url:
            links[key] = url
            if AIRFLOW_2:
                context["ti"].xcom_push(key=key, value=url)
    return links
