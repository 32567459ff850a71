"""A prompt is fetched from the hub whole, or not at all, and only if no folder has its name."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import validate_repo_id

import some_hub
from clipnotes.prompts import load_prompt
from clipnotes.prompts.saved import storage
from clipnotes.prompts.saved.page import is_repo_id
from few_pictures import small_learner
from saved_prompts import rewrite

REPO = "me/my-prompt"


@pytest.fixture
def filled(hub, clip, tmp_path):
    """The hub with a prompt, put there by hand; and its learner."""
    learner = small_learner(clip, seed=4)
    learner.save(tmp_path / "source", shots=2)
    files = {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()}
    hub.repos[REPO] = {**files, "README.md": b"# hello", "model.bin": b"large", "code.py": b"1 / 0"}
    return hub, learner


def in_cache(hub, name=storage.FILE):
    return [path for path in hub.cache.rglob(name) if path.exists()]


def test_only_the_prompt_is_fetched_and_it_is_what_was_saved(filled, clip):
    hub, learner = filled
    back = load_prompt(REPO, clip)
    assert torch.equal(back.ctx, learner.ctx) and back.classnames == learner.classnames
    assert {one.split()[1] for one in hub.asked} == {f"/{REPO}/resolve/main/{storage.FILE}"}
    gets = sum(one.startswith("GET") for one in hub.asked)
    assert torch.equal(load_prompt(REPO, clip).ctx, learner.ctx)
    assert gets == sum(one.startswith("GET") for one in hub.asked) == 1, "the cache has it"


def test_a_folder_comes_before_a_repository(filled, clip, tmp_path, monkeypatch):
    hub, theirs = filled
    monkeypatch.chdir(tmp_path)
    mine = small_learner(clip, seed=5)
    mine.save(REPO)
    back = load_prompt(REPO, clip)
    assert torch.equal(back.ctx, mine.ctx) and not torch.equal(back.ctx, theirs.ctx)
    Path("me/file").write_text("no folder", encoding="utf-8")
    for name in (
        "./me/nowhere",
        Path("me/nowhere"),
        "me/file",
        "nowhere",
        "a/b/c",
        "me/my--prompt",
    ):
        with pytest.raises(ValueError, match=r"no folder .*; give one"):
            load_prompt(name, clip)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        ("me/nothing", r"me/nothing is not a folder here, and the hub shows you no repository"),
        ("me/secret", r"private or gated, ask its owner .*hf auth login.*HF_TOKEN"),
        ("me/other", r"me/other of the hub holds no prompt: prompt\.safetensors is missing"),
    ],
)
def test_a_wrong_repository_is_named(filled, clip, monkeypatch, repo, words):
    hub, _ = filled
    hub.repos |= {"me/other": {"model.bin": b"large"}, "me/secret": hub.repos[REPO]}
    hub.private.add("me/secret")
    assert load_prompt("me/secret", clip), "with the token it opens"
    monkeypatch.delenv("HF_TOKEN")
    for path in in_cache(hub):
        path.unlink()
    with pytest.raises(ValueError, match=words):
        load_prompt(repo, clip)


def test_a_connection_that_breaks_off_leaves_nothing_half_loaded(filled, clip):
    hub, learner = filled
    hub.cut_at = 700
    with pytest.raises(
        ConnectionError, match=f"download of {REPO} stopped .*nothing was loaded: t"
    ):
        load_prompt(REPO, clip)
    assert any(one.startswith("GET") for one in hub.asked)
    assert in_cache(hub) == []
    hub.cut_at = None
    assert torch.equal(load_prompt(REPO, clip).ctx, learner.ctx)


def test_without_a_connection_the_cache_opens(filled, clip):
    hub, learner = filled
    hub.refuse = {"/": "cut"}
    with pytest.raises(ConnectionError, match=r"nothing was loaded: try again|cannot be reached"):
        load_prompt(REPO, clip)
    hub.refuse = {}
    load_prompt(REPO, clip)
    hub.stop()
    some_hub.forget_connections()
    assert torch.equal(load_prompt(REPO, clip).ctx, learner.ctx)
    for path in in_cache(hub):
        path.unlink()
    with pytest.raises(ConnectionError, match=r"not in the hub's cache, and the hub cannot be re"):
        load_prompt(REPO, clip)


def test_offline_the_cache_opens_and_nobody_is_asked(filled, clip, monkeypatch):
    hub, learner = filled
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    some_hub.forget_connections()
    with pytest.raises(ConnectionError, match=r"not in the hub's cache, and HF_HUB_OFFLINE keeps"):
        load_prompt(REPO, clip)
    assert hub.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    some_hub.forget_connections()
    load_prompt(REPO, clip)
    asked = list(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    some_hub.forget_connections()
    assert torch.equal(load_prompt(REPO, clip).ctx, learner.ctx)
    assert hub.asked == asked


class Bomb:
    """What a pickle would run."""

    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("how", ["cut", "pickled", "of another format"])
def test_what_is_no_prompt_is_refused_and_runs_nothing(filled, clip, tmp_path, monkeypatch, how):
    hub, learner = filled
    monkeypatch.chdir(tmp_path)
    whole = hub.repos[REPO][storage.FILE]
    rewrite(tmp_path / "source", format=99)
    later = (tmp_path / "source" / storage.FILE).read_bytes()
    content = {"cut": whole[:-8], "pickled": pickle.dumps(Bomb()), "of another format": later}[how]
    hub.repos[REPO][storage.FILE] = content
    words = f"the prompt {REPO} of the hub cannot be used: .* for its owner to do; if it is the dow"
    with pytest.raises(ValueError, match=words) as caught:
        load_prompt(REPO, clip)
    assert not Path("exploded").exists()
    folder = str(caught.value).split("remove ")[1].split(" and try")[0]
    assert Path(folder).parent == hub.cache, "what it says to remove is this repository's cache"
    hub.repos[REPO][storage.FILE] = whole
    assert torch.equal(load_prompt(REPO, clip).ctx, learner.ctx), "its owner has put it right"


def test_a_name_of_the_hub_is_what_its_library_takes():
    good = ["me/my-prompt", "My_Org/a.b_c-d9", "0/x", f"me/{'x' * 96}"]
    bad = [
        "me",
        "",
        "/",
        "me/",
        "/x",
        "a/b/c",
        "./x",
        "../x",
        "~/x",
        "me/a--b",
        "me/a..b",
        "me/x.git",
    ]
    bad += [f"me/{'x' * 97}", "me/x ", "me/ü", "me\\x", "me/-x", "me/x.", "C:/x", "me/x\n"]
    for name in good:
        validate_repo_id(name)
    assert [is_repo_id(name) for name in good + bad] == [True] * len(good) + [False] * len(bad)
