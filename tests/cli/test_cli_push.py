"""`learn --push`, `push` and `predict` of what is on the hub."""

import json

import pytest

import clipnotes.teach
import some_hub
from clipnotes.prompts.saved.storage import FILE
from command_line import python, refused, run
from few_pictures import small_learner
from some_folders import make_folders

REPO = "me/my-prompt"
QUICK = ["--shots", 4, "--epochs", 1, "--n-ctx", 1]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with some_hub.asked_here(tmp_path, monkeypatch) as hub:
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"))


def test_learned_pushed_and_opened_by_real_processes(folder, tmp_path, root):
    with some_hub.served() as hub:
        mine, theirs = (
            {"root": root, **some_hub.environment(hub, tmp_path / home)} for home in ("a", "b")
        )
        words = ["learn", folder, "--out", tmp_path / "out", *QUICK, "--push", REPO]
        done = python("-c", some_hub.GUARDED, *words, **mine)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(f"It is also at {hub.address}/{REPO}\n")
        words = ["predict", REPO, folder / "fruit" / "0.png", "--json"]
        done = python("-c", some_hub.GUARDED, *words, **theirs)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["model"] == "Emoji-CLIP"
        assert len(answer["pictures"][0]["classes"]) == 3


def test_learn_refuses_a_push_before_it_reads_an_image(hub, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(clipnotes.teach, "learn", lambda *_, **__: pytest.fail("it has begun"))
    words = ["learn", folder, "--out", tmp_path / "out", "--push"]
    refused("'my-prompt' names no repository of the hub", *words, "my-prompt")
    monkeypatch.delenv("HF_TOKEN")
    refused("no token, .*hf auth login", *words, REPO)
    assert hub.asked == [] and not (tmp_path / "out").exists()


def test_an_upload_that_fails_loses_nothing_and_says_how_to_go_on(hub, folder, tmp_path):
    out = tmp_path / "my out"
    hub.refuse = {"/api/models": "cut"}
    result = run("learn", folder, "--out", out, *QUICK, "--push", REPO)
    assert result.exit_code == 1 and "learned" in result.stdout, "the numbers are told"
    again = f"The prompt is safe in {out}; to push it again: clipnotes push '{out}' {REPO}"
    assert result.stderr.splitlines()[-1].endswith(again)
    assert (out / FILE).exists() and hub.commits == []
    hub.refuse = {}
    result = run("push", out, REPO)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"  clipnotes predict {REPO} IMAGE"
    assert set(hub.repos[REPO]) > {FILE, "card.json", "README.md"}
    assert run("predict", REPO, folder / "fruit" / "0.png").exit_code == 0


def test_push_hands_its_option_on_and_refuses(hub, clip, tmp_path):
    small_learner(clip).save(tmp_path / "prompt")
    assert run("push", tmp_path / "prompt", REPO, "--private").exit_code == 0
    assert hub.private == {REPO}
    refused("no folder", "push", tmp_path / "nowhere", REPO)
    refused("names no repository", "push", tmp_path / "prompt", "x")
    refused("the hub shows you no repository of this name", "predict", "me/nothing", "a.png")
