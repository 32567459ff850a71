"""Break each stage of a copy of the package: the chapter that explains it must stop."""

import os
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

from repository import ROOT

pytestmark = pytest.mark.slow


class Break(NamedTuple):
    file: str  # below clipnotes/
    old: str
    new: str
    chapter: str  # how its name begins


BREAKS = {
    "no class token": Break("model/vision.py", "cat([class_token,", "cat([class_token * 0,", "02"),
    "class token at the end": Break(
        "model/vision.py", "([class_token, patches]", "([patches, class_token]", "02"
    ),
    "no positions": Break(
        "model/vision.py",
        "return tokens + self.position",
        "return tokens + 0 * self.position",
        "02",
    ),
    "no scale": Break("model/encoder.py", "self.head_dim**-0.5", "1.0", "03"),
    "gelu for quick_gelu": Break(
        "model/encoder.py", "return x * torch.sigmoid(1.702 * x)", "return F.gelu(x)", "03"
    ),
    "no norm before attention": Break(
        "model/encoder.py", "self.layer_norm1(hidden_states), mask", "hidden_states, mask", "03"
    ),
    "no norm before the MLP": Break(
        "model/encoder.py",
        "self.mlp(self.layer_norm2(hidden_states))",
        "self.mlp(hidden_states)",
        "03",
    ),
    "no norm before the encoder": Break(
        "model/vision.py", "tokens = self.pre_layrnorm(tokens)", "tokens = tokens", "05"
    ),
    "the last norm on everything": Break(
        "model/vision.py",
        "pooler_output = self.post_layernorm(last_hidden_state[:, 0])",
        "last_hidden_state = self.post_layernorm(last_hidden_state)\n"
        "        pooler_output = last_hidden_state[:, 0]",
        "05",
    ),
    "no unit length": Break(
        "model/clip.py", "return x / x.square().sum(dim=-1, keepdim=True).sqrt()", "return x", "06"
    ),
    "no mask": Break("model/masks.py", "device=device).tril()", "device=device)", "07"),
    "the last EOS": Break(
        "model/text.py",
        "(input_ids == eos_token_id).int().argmax(dim=-1)",
        "input_ids.shape[-1] - 1 - (input_ids == eos_token_id).int().flip(-1).argmax(dim=-1)",
        "07",
    ),
    "a context written into the caller's tensor": Break(
        "prompts/substitute.py", "return embeddings.scatter(", "return embeddings.scatter_(", "08"
    ),
    "no positions behind the context": Break(
        "prompts/embeddings.py",
        "return embeddings + self.position_embedding(position_ids)",
        "return embeddings",
        "08",
    ),
    "nothing frozen": Break(
        "prompts/embeddings.py", "model.requires_grad_(False)", "model.requires_grad_(True)", "08"
    ),
    "a hook that stays": Break("prompts/embeddings.py", "handle.remove()", "pass", "08"),
    "logits of a prompt without the scale": Break(
        "prompts/methods/coop.py",
        "return scale * image_features.to(features)",
        "return image_features.to(features)",
        "09",
    ),
}

RUN = """
import os, sys
from pathlib import Path
import matplotlib
from IPython.core.interactiveshell import InteractiveShell
matplotlib.use("Agg")
shell = InteractiveShell.instance()
import clipnotes
from _tools.chapters import code_cells, read, tags
assert Path(clipnotes.__file__).parents[1] == Path.cwd(), clipnotes.__file__
for cell in code_cells(read(Path(sys.argv[1]))):
    if "skip-execution" not in tags(cell):
        done = shell.run_cell(cell.source)
        if done.error_before_exec or done.error_in_exec:
            print("stopped by", type(done.error_before_exec or done.error_in_exec).__name__)
            break
else:
    print("came through")
"""


def run(folder, chapter, edit=None):
    """Run a chapter on a copy of the package, broken or not: the last line that it prints."""
    package = folder / "clipnotes"
    package.mkdir()
    copied = "model" if edit is None else edit.file.split("/")[0]
    for path in (ROOT / "clipnotes").iterdir():
        if path.name != copied:
            (package / path.name).symlink_to(path)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "clipnotes" / copied, package / copied, ignore=without)
    if edit is not None:
        text = (package / edit.file).read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"{edit.old!r} is not in {edit.file} once"
        (package / edit.file).write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    (source,) = (ROOT / "book" / "chapters").glob(f"{chapter}-*.md")
    path = os.pathsep.join([str(folder), str(ROOT / "book")])
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(source)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("name", BREAKS)
def test_a_chapter_stops_at(name, tmp_path):
    assert run(tmp_path, BREAKS[name].chapter, BREAKS[name]) == "stopped by AssertionError"


@pytest.mark.parametrize("chapter", sorted({edit.chapter for edit in BREAKS.values()}))
def test_unbroken_control(chapter, tmp_path):
    assert run(tmp_path, chapter) == "came through"
