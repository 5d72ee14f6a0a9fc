"""
What only the builder of a release knows: where the project is at home.

Hatchling calls this. With ``PROJECT_URL`` (of the repository) and ``PROJECT_DOCS_URL`` (of its site) in the
environment, the package gets its project links, and the README's links and pictures lead there. Without them it has
neither: a link that leads nowhere is worse than none. The workflow `release` sets both; Airflow's page of providers
shows the second one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """Sets the fields that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add readme and urls to a project's metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        home, docs = (os.environ.get(name, "").rstrip("/") for name in ("PROJECT_URL", "PROJECT_DOCS_URL"))
        if home:
            source = f"{home}/blob/v{metadata['version']}"
            text = re.sub(r"(?<=!)(\[[^]]*\]\()(?!https?:)", rf"\g<1>{home}/raw/v{metadata['version']}/", text)
            text = re.sub(r"\]\((?!https?:|#)", f"]({source}/", text)
            metadata["urls"] = {
                "Documentation": docs or f"{source}/docs/index.md",
                "Repository": home,
                "Issues": f"{home}/issues",
                "Changelog": f"{source}/CHANGELOG.md",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
