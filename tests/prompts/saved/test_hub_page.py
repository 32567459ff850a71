"""The page of a prompt on the hub: its lines in YAML, what it says, and that its Python runs."""

import re

import pytest
import yaml
from PIL import Image

from clipnotes.prompts import PromptLearner, push_prompt
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.saved.page import page
from clipnotes.prompts.saved.storage import read_prompt
from few_pictures import CLASSES, small_learner

REPO = "me/my-prompt"
SCORES = {"zero-shot": 0.5, "nearest mean": 0.625, "linear probe": 0.7, "learned": 0.8125}


@pytest.fixture
def card(clip, tmp_path):
    """The card of a prompt as `clipnotes learn` saves it."""
    recipe = {"method": "coop", "epochs": 50, "lr": 0.002}
    small_learner(clip).save(tmp_path / "prompt", shots=16, seed=3, scores=SCORES, recipe=recipe)
    return read_prompt(tmp_path / "prompt")[1]


def parts(text):
    _, metadata, rest = text.split("---\n", 2)
    return yaml.safe_load(metadata), rest


def test_the_hub_reads_its_lines(card):
    metadata, _ = parts(page(card, REPO))
    assert metadata["library_name"] == "clipnotes"
    assert {"clip", "few-shot", "coop"} < set(metadata["tags"])
    assert metadata["metrics"] == ["accuracy"]
    assert not {"base_model", "license"} & set(metadata), "Emoji-CLIP is not on the hub"
    on_the_hub = {**card, "model": "openai/clip-vit-base-patch32"}
    metadata, text = parts(page(on_the_hub, REPO))
    assert metadata["base_model"] == on_the_hub["model"]
    assert f'clipnotes.load("{on_the_hub["model"]}")' in text
    assert "metrics" not in parts(page({**card, "scores": {"loss": 0.3}}, REPO))[0]


def test_it_says_what_the_card_says(card):
    _, text = parts(page(card, REPO))
    assert text.startswith("\n# my-prompt\n")
    assert (
        "What [CoOp](https://arxiv.org/abs/2109.01134) has learned on top of `Emoji-CLIP`" in text
    )
    assert "Learned from: 16 images of each class, seed 3, epochs 50, lr 0.002." in text
    assert f"5 classes: {', '.join(f'`{name}`' for name in CLASSES)}." in text
    rows = re.findall(r"\| ([\w -]+) \| ([\d.]+)% \|", text)
    assert {name: float(value) / 100 for name, value in rows} == pytest.approx(SCORES, abs=6e-4)
    assert card["text_tower"] in text and f"clipnotes predict {REPO} IMAGE\n" in text


def test_it_says_nothing_that_the_card_does_not(clip, tmp_path):
    small_learner(clip).save(tmp_path / "plain", scores={"openmoji": 0.25})
    _, card = read_prompt(tmp_path / "plain")
    _, text = parts(page({**card, "model": ""}, REPO))
    assert "Learned from" not in text and "None" not in text
    assert "What its author measured:" in text and "| openmoji | 0.25 |" in text
    assert (
        "a model that is not on the hub" in text and f"predict {REPO} IMAGE --model FOLDER" in text
    )
    many = {**card, "classnames": [f"thing {i}" for i in range(40)], "scores": {}}
    text = page(many, REPO)
    assert "`thing 29`, and 10 more" in text and "thing 30" not in text and "How good" not in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_method_has_its_paper(card, name):
    method = PUBLISHED[name]
    text = page({**card, "recipe": {"method": name}}, REPO)
    assert f"[{method.title}](https://arxiv.org/abs/{method.paper})" in text
    assert f'- "{name}"\n' in text


def test_odd_names_stay_names(card):
    odd = {**card, "classnames": ["a`b", "# no\nheading", "x|y"], "scores": {"a|b_c": 0.5}}
    odd |= {"method": "mine\n---", "recipe": {"init": "<b>*a*"}}
    text = page(odd, REPO)
    metadata, _ = parts(text)
    assert metadata["tags"][-1] == "mine\n---"
    assert "`a'b`, `# no heading`, `x|y`" in text
    assert r"| a\|b\_c | 0.5 |" in text and r"\<b\>\*a\*" in text


def test_its_lines_of_python_run(hub, clip, tmp_path):
    learner = small_learner(clip, seed=2)
    learner.save(tmp_path / "prompt")
    push_prompt(tmp_path / "prompt", REPO)
    text = hub.repos[REPO]["README.md"].decode()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {"images": [Image.new("RGB", (64, 64), colour) for colour in ("red", "white")]}
    exec(compile(block, "README.md", "exec"), names)
    assert isinstance(names["learner"], PromptLearner)
    best = learner.logits(learner.inputs(names["images"])).argmax(dim=-1)
    assert names["names"] == [CLASSES[i] for i in best]
