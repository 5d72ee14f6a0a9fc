"""How the site is built, by Sphinx: ``make docs``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.transforms import SphinxTransform

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.support import airflow_env  # noqa: E402

airflow_env.configure()  # the reference is made of the package itself, which imports Airflow

from airflow_provider_sftp_s3 import __version__  # noqa: E402
from airflow_provider_sftp_s3.__main__ import main  # noqa: E402
from docs import fields  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Stands in index.md for all pages that it does not name.
ALL_OTHERS = "(all others)"

project = "airflow-provider-sftp-s3"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
nitpicky = True  # a name that leads nowhere is a warning, and `make docs` makes errors of those
nitpick_ignore_regex = [
    (r"py:.*", r"(?!airflow_provider_sftp_s3).*"),  # of Python and of Airflow, whose sites are not asked here
    (r"py:.*", r"airflow_provider_sftp_s3\._.*"),
]
default_role = "code"  # `min_age` in a docstring

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["prompts.css"]
html_js_files = ["find-error.js"]
html_title = f"airflow-provider-sftp-s3 {release}"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_baseurl = os.environ.get("PROJECT_DOCS_URL", "")

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures show defaults; the docstrings say what may be given


class FlowFields(Directive):
    """``.. flow-fields:: group``: each field of flows.yaml that is in this group of docs/fields.py."""

    required_arguments = 1

    def run(self) -> Any:
        """Return what stands in the page in its place."""
        text = StringList(fields.rst(self.arguments[0]).splitlines(), source="flows/fields.py")
        node = nodes.container()
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


class CommandHelp(Directive):
    """``.. command-help:: name``: what a command of the command line says of itself."""

    required_arguments = 1

    def run(self) -> Any:
        """Return what stands in the page in its place."""
        said = io.StringIO()
        os.environ["COLUMNS"] = "84"  # what fits into a page
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main([*self.arguments, "--help"])
        return [nodes.literal_block(said.getvalue(), said.getvalue(), language="none")]


class DarkPictures(SphinxTransform):
    """Put the dark picture beside each light one that has one: the theme shows one of the two."""

    default_priority = 400  # before Sphinx collects pictures

    def apply(self, **_: Any) -> None:
        """Change the page."""
        for light in list(self.document.findall(nodes.image)):
            uri = light["uri"].replace("-light.", "-dark.")
            if uri != light["uri"] and Path(self.app.srcdir, uri).exists():
                dark = light.deepcopy()
                dark["uri"] = uri
                light["classes"].append("only-light")
                dark["classes"].append("only-dark")
                light.replace_self([light, dark])


def list_all_pages(app: Sphinx, page: str, content: list[str]) -> None:
    """Put the pages that index.md lists nowhere where it says so: a new page needs no line there to be found."""
    if page == "index":
        listed = {line for line in content[0].splitlines() if line in app.env.found_docs}
        content[0] = content[0].replace(ALL_OTHERS, "\n".join(sorted(app.env.found_docs - listed - {page})))


def setup(app: Sphinx) -> None:
    app.add_directive("flow-fields", FlowFields)
    app.add_directive("command-help", CommandHelp)
    app.add_transform(DarkPictures)
    app.connect("source-read", list_all_pages)
