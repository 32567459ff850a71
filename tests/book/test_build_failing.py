"""A book with one broken cell is built, says so, and ends with 1. The builder is the real one."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from _tools import pairs
from _tools.real import tabs
from repository import ROOT

pytestmark = pytest.mark.slow

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
INSTALL = """\
```{{code-cell}} ipython3
:tags: [remove-cell, skip-execution]

{}
```

"""
GOOD = """\
# A page that is well

**The question of this chapter:** does it run?

You need nothing.

A square stands in {numref}`fig-late`.

INSTALL```{code-cell} ipython3
print("this went well")
```
"""
BROKEN = """\
# A page that breaks

**The question of this chapter:** how far does it come?

You need chapter 1.

INSTALL```{code-cell} ipython3
print("as far as here")
```

```{code-cell} ipython3
:tags: [remove-cell]

wanted, got = 4, 3
assert wanted == got, "the sum is wrong"
```

```{code-cell} ipython3
:tags: [by-version]

print("never shown")
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A red square
  figure:
    caption: A square.
    name: fig-late
---
from IPython.display import Image
import base64
Image(base64.b64decode("PNG"))
```
"""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
TOC = {
    "format": "jb-book",
    "root": "book/index",
    "parts": [
        {"chapters": [{"file": "book/chapters/01-well"}, {"file": "book/chapters/02-breaks"}]},
        {"chapters": [{"file": "book/reference/glossary"}, {"file": "book/reference/status"}]},
    ],
}


@pytest.fixture
def small(tmp_path):
    """The book's own builder and settings around two chapters of a few lines."""
    pages = shutil.ignore_patterns("chapters", "reference", "*.ipynb", "__pycache__")
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=pages)
    for name in ("_config.yml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "clipnotes").mkdir()  # nothing here uses it
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(TOC))
    book = tmp_path / "book"
    (book / "index.md").write_text("# A small book\n\nOf two chapters.\n")
    for folder in ("chapters", "reference"):
        (book / folder).mkdir()
    (book / "reference" / "glossary.md").write_text(
        "# Glossary\n\n```{glossary}\nzebra\n  An animal.\n```\n"
    )
    (book / "reference" / "status.md").write_text("# Status\n\n```{status}\n```\n")
    install = INSTALL.format(pairs.install_text())
    for name, text in (("01-well", GOOD), ("02-breaks", BROKEN)):
        text = text.replace("INSTALL", install).replace('"PNG"', f'"{PNG}"')
        chapter = book / "chapters" / f"{name}.md"
        chapter.write_text(HEADER + text)
        chapter.with_suffix(".ipynb").write_text(pairs.text(chapter))  # to download
    return tmp_path


def build(folder):
    """Run the copy's `build`; return its exit code and all that it says."""
    env = {**os.environ, "CLIPNOTES_MODEL": "another, so that no record is compared with"}
    command = [sys.executable, "book/_tools", "build"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def page(folder, name):
    return (folder / "_build" / "html" / "book" / f"{name}.html").read_text(encoding="utf-8")


def test_a_book_with_one_broken_cell_is_built_and_ends_with_1(small):
    code, said = build(small)
    assert code == 1, said
    assert "One page shows an error, the others are built" in said, said
    summary = said[said.index("One page shows an error") :]
    assert "02-breaks: AssertionError: the sum is wrong in code cell 3; again with" in summary
    assert summary.rstrip().endswith("book/_tools execute 02")
    assert "The book has errors" not in said, said  # nothing else is wrong
    assert not (small / "_build" / "book.digest").exists()

    assert "this went well" in page(small, "chapters/01-well")
    assert "failed-notice" not in page(small, "chapters/01-well")
    broken = page(small, "chapters/02-breaks")
    notice = broken[broken.index("failed-notice") :]
    assert "AssertionError: the sum is wrong" in notice[:2000]
    assert "book/_tools execute 02" in notice[:2000]
    assert 'href="#failed-cell"' in notice[:2000]
    assert broken.index("as far as here") < broken.index('id="failed-cell"')
    words = re.sub(r"<[^>]*>", "", broken)
    assert "wanted, got = 4, 3" in words  # its tag would hide it
    assert words.index("as far as here") < words.index("wanted, got")
    assert "its cells took" not in broken
    assert page(small, "reference/status").count("<p>failed</p>") == 1

    # Once it is mended, only the chapter that failed runs again.
    chapter = small / "book" / "chapters" / "02-breaks.md"
    chapter.write_text(chapter.read_text().replace("4, 3", "4, 4").replace("[by-version]", "[]"))
    real = small / "book" / "recorded" / "real" / tabs.RECORD.name
    real.parent.mkdir(exist_ok=True)
    real.write_text(json.dumps({"model": tabs.REAL, "pages": {"03-gone": [{}, {}]}}))
    code, said = build(small)
    assert code == 0, said
    assert "03-gone: 2 of 2 cells recorded on openai/clip-vit-base-patch32 are not shown" in said
    assert "==> 2 chapters, 1 to run" in said
    assert "never shown" in page(small, "chapters/02-breaks")
    assert "failed-notice" not in page(small, "chapters/02-breaks")
    assert "The book is up to date" in build(small)[1]


def test_another_page_s_faults_are_still_found_beside_a_broken_one(small):
    chapter = small / "book" / "chapters" / "01-well.md"
    noisy = chapter.read_text().replace('print("', 'import sys\nsys.stderr.write("')
    chapter.write_text(noisy + "\n{numref}`fig-nowhere`\n")
    code, said = build(small)
    assert code == 1
    assert "One page shows an error" in said, said
    found = said[said.index("The book has errors:") : said.index("One page shows an error")]
    assert "01-well: code cell 2" in found
    assert "writes to stderr" in found
    assert "fig-nowhere" in found
    assert "fig-late" not in found  # the page that failed would have it
