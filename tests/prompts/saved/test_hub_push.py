"""A prompt is put on the hub whole, and what can be refused is refused before the hub is asked."""

import json

import pytest
import torch
from huggingface_hub import constants

from clipnotes.prompts import PromptLearner, load_prompt, push_prompt
from clipnotes.prompts.saved import storage
from few_pictures import small_learner
from saved_prompts import rewrite

REPO = "me/my-prompt"
FILES = ["README.md", "card.json", "prompt.safetensors"]


@pytest.fixture
def prompt(clip, tmp_path):
    """A saved prompt."""
    small_learner(clip, seed=4).save(tmp_path / "prompt", shots=2, seed=4, scores={"learned": 0.75})
    return tmp_path / "prompt"


def test_what_is_pushed_is_what_opens(hub, clip, prompt):
    assert push_prompt(prompt, REPO) == f"{hub.address}/{REPO}"
    assert hub.commits == [FILES], "one commit"
    assert REPO not in hub.private
    tensors, card = storage.read_prompt(prompt)
    back = load_prompt(REPO, clip)
    assert torch.equal(back.ctx, tensors["ctx"]) and back.classnames == card["classnames"]
    (folder,) = {path.parent for path in hub.cache.rglob(storage.FILE)}
    assert storage.read_prompt(folder)[1] == card
    assert json.loads(hub.repos[REPO]["card.json"])["scores"] == {"learned": 0.75}


def test_a_learner_is_pushed_with_what_it_is_told(hub, clip):
    learner = small_learner(clip, seed=6)
    learner.push_to_hub(REPO, shots=3, scores={"test": 0.5}, private=True, commit_message="First")
    assert REPO in hub.private
    back = load_prompt(REPO, clip)
    assert torch.equal(back.ctx, learner.ctx)
    card = json.loads(hub.repos[REPO]["card.json"])
    assert (card["shots"], card["seed"], card["scores"]) == (3, None, {"test": 0.5})


def test_a_second_push_replaces_all_three(hub, clip, prompt):
    push_prompt(prompt, REPO)
    other = small_learner(clip, seed=9)
    other.push_to_hub(REPO, seed=9)
    assert hub.commits == [FILES, FILES]
    assert torch.equal(load_prompt(REPO, clip).ctx, other.ctx)
    assert b"seed 9" in hub.repos[REPO]["README.md"]


def test_where_a_model_lies_on_this_machine_is_told_nobody(hub, prompt):
    for where in ("/home/somebody/models/mine", "C:\\Users\\somebody\\mine"):
        rewrite(prompt, model=where)
        push_prompt(prompt, REPO)
        assert not any(b"somebody" in content for content in hub.repos[REPO].values())
        assert json.loads(hub.repos[REPO]["card.json"])["model"] == ""
        assert storage.read_prompt(prompt)[1]["model"] == where, "the one here still says it"


def refused(words, *arguments, error=ValueError, **keywords):
    with pytest.raises(error, match=words):
        push_prompt(*arguments, **keywords)


def test_what_can_be_refused_is_refused_before_the_hub_is_asked(hub, clip, prompt, monkeypatch):
    for name in ("my-prompt", "me/my/prompt", "me/", "", "me/my prompt", "https://hub/me/x", None):
        refused("names no repository of the hub: give your name there", prompt, name)
        with pytest.raises(ValueError, match="names no repository"):
            small_learner(clip).push_to_hub(name)
    refused("commit_message is blank", prompt, REPO, commit_message=" ")
    refused("no folder .*nowhere", prompt / "nowhere", REPO)
    refused("prompt.safetensors is missing", prompt.parent, REPO)
    broken = small_learner(clip)
    with torch.no_grad():
        broken.ctx.fill_(float("nan"))
    with pytest.raises(ValueError, match="ctx is not finite"):
        broken.push_to_hub(REPO)
    with pytest.raises(ValueError, match="score 'test' is nan"):
        small_learner(clip).push_to_hub(REPO, scores={"test": float("nan")})
    monkeypatch.delenv("HF_TOKEN")
    refused(r"no token.*settings/tokens.*hf auth login.*HF_TOKEN", prompt, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set, so nothing can go to me/my-prompt", prompt, REPO, token="t")
    assert hub.asked == [] and hub.repos == {}


def test_what_the_hub_refuses_is_explained(hub, prompt):
    refused("the hub does not know the token: make a token", prompt, REPO, token="hf_wrong")
    refused("the token may not write to you/x: the first name must be yours", prompt, "you/x")
    hub.refuse = {"/api/repos/create": 500}
    refused(r"did not take me/my-prompt \(.*500.*push again", prompt, REPO, error=ConnectionError)
    assert hub.repos == {}


@pytest.mark.parametrize("where", ["/api/repos/create", f"/api/models/{REPO}/commit"])
def test_a_connection_that_breaks_off_leaves_all_or_nothing(hub, clip, prompt, where):
    hub.refuse = {where: "cut"}
    words = f"the upload to {REPO} stopped .*; the hub has all of a push or nothing, so push again"
    refused(words, prompt, REPO, error=ConnectionError)
    assert hub.commits == [] and set(hub.repos.get(REPO, {})) <= {".gitattributes"}
    assert (prompt / storage.FILE).exists()
    hub.refuse = {}
    push_prompt(prompt, REPO)
    assert torch.equal(load_prompt(REPO, clip).ctx, PromptLearner.load(prompt, clip).ctx)


def test_what_a_repository_holds_already_is_left_alone(hub, prompt):
    hub.repos["me/model"] = {"README.md": b"mine", "model.safetensors": b"large"}
    before = dict(hub.repos["me/model"])
    refused("me/model is .* already and holds no prompt, but model.safe", prompt, "me/model")
    assert hub.repos["me/model"] == before and hub.commits == []
    push_prompt(prompt, REPO)
    refused("already, and public: make it private", prompt, REPO, private=True)
    assert hub.commits == [FILES]
