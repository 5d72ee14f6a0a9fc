"""The README and the pages of docs, and the examples in them."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
#: What users read. The benchmark's page is part of docs/performance.md.
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")),
    *sorted(DOCS.glob("*.md")),
]


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the examples of a page in these languages, as they stand there."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^\1```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, language, text in found if language in languages]


def all_blocks(*languages: str) -> dict[str, Path]:
    """Return the examples of all pages, each with the first page that it is on."""
    return {text: page for page in reversed(PAGES) for text in blocks(page, *languages)}


def script(text: str) -> str:
    """Return the commands of a shell example: what follows a prompt, or all of it where there is none."""
    if not text.startswith("$ "):
        return text
    return "".join(f"{line.removeprefix('$ ')}\n" for line in text.splitlines() if line.startswith("$ "))


def commands(text: str, directory: Path) -> list[list[str]]:
    """
    Return the commands of a shell example, split into words by a shell, which runs none of them.

    :param directory: an empty one; what the commands are to write goes there.
    """
    (directory / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (directory / ".venv/bin/activate").touch()
    record = r"command_not_found_handle() { printf '%s\0' " '"$@"' " $'\n' >&3; }"
    done = subprocess.run(
        ["/bin/bash", "-uc", f"exec 3>&1 >/dev/null\n{record}\n{script(text).replace('.venv/bin/python', 'python')}"],
        cwd=directory,
        env={"PATH": "/nonexistent", "AIRFLOW_HOME": ".try"},
        capture_output=True,
        text=True,
    )
    assert not done.stderr, f"{text}\n{done.stderr}"
    return [found.split("\0") for found in done.stdout.split("\0\n\0") if found]


def make_buckets(s3: S3Server) -> Any:
    """Make the buckets of the examples, and return a client."""
    client = s3.client()
    for bucket in ("example-inbound", "example-outbound"):
        where = {"LocationConstraint": client.meta.region_name}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    return client
