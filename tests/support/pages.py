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
EXAMPLE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)


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


def without_examples(page: Path) -> str:
    """Return the text of a page, with that of pages that it includes, and without examples."""
    text = page.read_text()
    for included in re.findall(r"^```\{include\} (\S+)$", text, re.MULTILINE):
        text += (page.parent / included).read_text()
    return EXAMPLE.sub("", text)


def links(page: Path) -> list[str]:
    """Return what the links and pictures of a page lead to."""
    return re.findall(r"\]\(([^)\s]+)\)", EXAMPLE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub and MyST make them of headings."""
    there: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", without_examples(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        there[anchor] = there.get(anchor, -1) + 1
    return {f"{anchor}-{number}" if number else anchor for anchor, last in there.items() for number in range(last + 1)}


def make_buckets(s3: S3Server) -> Any:
    """Make the buckets of the examples, and return a client."""
    client = s3.client()
    for bucket in ("example-inbound", "example-outbound"):
        where = {"LocationConstraint": client.meta.region_name}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    return client
