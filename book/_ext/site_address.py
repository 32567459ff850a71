"""Sphinx extension: where the published book stands, which previews and search engines ask for.

GitHub serves the pages of `https://github.com/OWNER/NAME` at `https://OWNER.github.io/NAME/`.
Whoever publishes elsewhere sets `html: baseurl:` in `_config.yml`.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

REPOSITORY = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")


def pages_address(repository: str) -> str:
    """Return the address at which GitHub serves a repository's pages."""
    found = REPOSITORY.fullmatch(repository)
    if not found:
        raise ConfigError(
            f"The repository {repository!r} is not on GitHub, so the book's own address is not "
            "known: write it into _config.yml as `html:` `baseurl: https://...`."
        )
    host = f"{found['owner'].lower()}.github.io"
    return (
        f"https://{host}/" if found["name"].lower() == host else f"https://{host}/{found['name']}/"
    )


def fill(app: Sphinx, config: Config) -> None:
    """Tell Sphinx and the previews the address, and the previews the book's name."""
    base = config.html_baseurl or pages_address(config.html_theme_options["repository_url"])
    config.html_baseurl = config.ogp_site_url = base.rstrip("/") + "/"
    config.ogp_site_name = config.html_title


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hook; the address is needed first when the builder starts."""
    app.connect("config-inited", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
