"""What axe-core finds on a page that people cannot read."""

import axe
from browser import cannot

# (rule, what the element's markup holds)
LEFT_ALONE = {
    ("label-content-name-mismatch", "search-button-field"),  # its text also shows the keys
    ("label-content-name-mismatch", "theme-switch-button"),  # its icons have texts
    ("label-content-name-mismatch", 'class="cell'),  # an explorer's: its number is put in words
    ("region", "logo__image"),  # the logo stands above the navigation
}


def unreadable(page, rules=None):
    """What axe-core finds wrong, in the page and in the frames on it: by all rules, or some."""
    if not axe.FILE.exists():
        cannot(f"axe-core is not there: run {axe.__doc__.split('    ')[1].strip()}")
    script = axe.FILE.read_text(encoding="utf-8")
    said = []
    options = {"resultTypes": ["violations"], "iframes": False} | (
        {"runOnly": rules} if rules else {}
    )
    for frame in page.frames:
        frame.evaluate(script)
        found = frame.evaluate("(options) => axe.run(options)", options)
        said += [
            f"{rule['id']}: {node['html'][:200]} {[one['message'] for one in node['any']][:1]}"
            for rule in found["violations"]
            for node in rule["nodes"]
            if not any(rule["id"] == r and part in node["html"] for r, part in LEFT_ALONE)
        ]
    return said
