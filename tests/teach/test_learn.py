"""Learning from a folder: the numbers, and a run that was killed."""

import copy
import shutil

import pytest
import torch
from PIL import Image

from clipnotes import Clip
from clipnotes.pictures.folders import list_files
from clipnotes.pictures.reading import encode_files
from clipnotes.prompts import LinearProbe, NearestMean, PromptLearner, ZeroShot, evaluate
from clipnotes.prompts.training import fit as training
from clipnotes.teach import Plan, Report, learn
from clipnotes.teach.folder import split
from reference import agree
from some_folders import NAMES, make_folders

QUICK = {"shots": 4, "epochs": 3, "n_ctx": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"))


# The numbers


def test_the_numbers_are_those_of_the_saved_prompt_on_the_held_out_pictures(clip, folder, tmp_path):
    report = learn(clip, folder, tmp_path, Plan(**QUICK, seeds=[3], position="middle"))
    files = [
        str(path)
        for name in ("fruit", "on-wheels", "small_bird")
        for path in list_files(folder / name)
    ]
    features, rows, _ = encode_files(clip, files)
    assert rows == list(range(18))
    labels = torch.arange(3).repeat_interleave(6)
    train, test = split(labels.tolist(), 4, 3, True)
    assert (report.n_train, report.n_test, report.skipped, report.notes) == (12, 6, [], [])

    expected = PromptLearner(clip, NAMES, n_ctx=2, position="middle", seed=3)
    given = features[train], labels[train]
    training.fit(expected, *given, epochs=3, seed=3, progress=False)
    saved = PromptLearner.load(tmp_path, clip)
    assert torch.allclose(saved.ctx, expected.ctx, atol=1e-6)
    assert saved.classnames == NAMES and saved.position == "middle"
    methods = {
        "zero-shot": ZeroShot(clip, NAMES, "an emoji of a {}"),
        "nearest mean": NearestMean(clip, NAMES, *given),
        "linear probe": LinearProbe(clip, NAMES, *given),
        "learned": saved,
    }
    scores = {k: evaluate(m, features[test], labels[test]) for k, m in methods.items()}
    numbers = {name: one.accuracy for name, one in scores.items()}
    assert {name: values[0] for name, values in report.accuracies.items()} == numbers
    assert list(report.ece) == list(scores)
    for name, (ece,) in report.ece.items():
        assert ece == pytest.approx(scores[name].ece, abs=1e-4)
    from clipnotes.prompts.saved.storage import read_prompt

    card = read_prompt(tmp_path)[1]
    assert (card["scores"], card["shots"], card["seed"]) == (numbers, 4, 3)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.size[0] > 100
    assert {p.name for p in tmp_path.iterdir()} == {
        "prompt.safetensors",
        "card.json",
        "confusion.png",
    }


def test_lines_have_mean_and_deviation():
    report = Report({"a": [0.5, 0.75], "longer": [1.0, 1.0]})
    report.ece = {"a": [0.1, 0.3], "longer": [0.02, 0.02]}
    assert report.lines() == [
        "             accuracy            ECE",
        "a       62.5 ± 17.7 %  20.0 ± 14.1 %",
        "longer  100.0 ± 0.0 %    2.0 ± 0.0 %",
    ]


def test_several_seeds_keep_the_first_prompt(clip, folder, tmp_path, monkeypatch):
    seeds = []

    def counted(*given, seed, **rest):
        seeds.append(seed)
        return training.fit(*given, seed=seed, **rest)

    monkeypatch.setattr("clipnotes.prompts.methods.published.fit", counted)
    one = learn(clip, folder, tmp_path / "one", Plan(**QUICK, seeds=[5]))
    two = learn(clip, folder, tmp_path / "two", Plan(**QUICK, seeds=[5, 6]))
    assert all(
        two.accuracies[name] == [*values, two.accuracies[name][1]]
        for name, values in one.accuracies.items()
    )
    first = PromptLearner.load(tmp_path / "one", clip).ctx
    assert agree(PromptLearner.load(tmp_path / "two", clip).ctx, first, 1e-4)
    six = learn(clip, folder, tmp_path / "six", Plan(**QUICK, seeds=[6]))
    second = {name: values[1:] for name, values in two.accuracies.items()}
    assert second == six.accuracies
    assert seeds == [5, 5, 6, 6]


def test_a_test_folder_leaves_all_pictures_to_learning(clip, folder, tmp_path):
    other = make_folders(tmp_path / "other", n=2, skip=6)
    plan = Plan(shots=6, epochs=1, n_ctx=2)
    report = learn(clip, folder, tmp_path / "out", plan, test=other)
    assert (report.n_train, report.n_test, report.notes) == (18, 6, [])
    shutil.rmtree(other / "fruit")
    (other / "stone").mkdir()
    shutil.copy(next((other / "on-wheels").iterdir()), other / "stone")
    with pytest.raises(ValueError, match=r"1 too many \['stone'\], 1 missing \['fruit'\]"):
        learn(clip, folder, tmp_path / "more", plan, test=other)


def test_few_and_unreadable_pictures(clip, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    for path in list_files(tmp_path / "in" / "fruit")[1:]:
        path.write_bytes(b"x")
    plan = Plan(shots=6, epochs=1, n_ctx=2)
    report = learn(clip, tmp_path / "in", tmp_path / "out", plan)
    assert (report.n_train, report.n_test, len(report.skipped)) == (1 + 5 + 5, 2, 5)
    (note,) = report.notes
    assert "for 6 shots: fruit (1), on wheels (6), small bird (6); one of each is kept" in note
    list_files(tmp_path / "in" / "fruit")[0].write_bytes(b"x")
    with pytest.raises(ValueError, match=r"of 'fruit' in .* can be read: .*0\.png"):
        learn(clip, tmp_path / "in", tmp_path / "more", plan)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"position": "top"}, "position is 'top'"),
        ({"n_ctx": 40}, "n_ctx is 40"),
        ({"template": "a photo"}, "it needs one"),
        ({"init": "a photo of a", "n_ctx": 3}, "has 4 tokens and n_ctx is 3"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_before_a_picture_is_read(
    clip, folder, tmp_path, monkeypatch, plan, words
):
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    with pytest.raises(ValueError, match=words):
        learn(clip, folder, tmp_path / "out", Plan(**plan))
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_to_test_on(clip, folder, tmp_path):
    for name in ("fruit", "small_bird"):
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(folder / name / "0.png", tmp_path / "in" / name)
    with pytest.raises(ValueError, match="has a single image, so none is left to test on"):
        learn(clip, tmp_path / "in", tmp_path / "out")


def test_nothing_is_overwritten_unless_asked(clip, folder, tmp_path):
    (tmp_path / "confusion.png").write_text("mine")
    with pytest.raises(ValueError, match=r"already holds confusion\.png"):
        learn(clip, folder, tmp_path, Plan(**QUICK))
    learn(clip, folder, tmp_path, Plan(**QUICK), force=True)
    before = PromptLearner.load(tmp_path, clip).ctx
    with pytest.raises(ValueError, match=r"already holds prompt\.safetensors"):
        learn(clip, folder, tmp_path, Plan(**QUICK, seeds=[1]))
    assert torch.equal(PromptLearner.load(tmp_path, clip).ctx, before)
    learn(clip, folder, tmp_path, Plan(**QUICK, seeds=[1]), force=True)
    assert not agree(PromptLearner.load(tmp_path, clip).ctx, before, 1e-4)


# A kill


def test_a_stopped_run_goes_on_and_keeps_the_old_prompt(clip, folder, tmp_path, monkeypatch):
    plan = Plan(shots=4, epochs=6, n_ctx=2)
    learn(clip, folder, tmp_path / "whole", plan)
    learn(clip, folder, tmp_path / "out", Plan(**QUICK, seeds=[9]))
    old = PromptLearner.load(tmp_path / "out", clip).ctx

    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0)
    save, written = training.Checkpoint.save, []

    def stops(self, parameters, optimizer, history):
        save(self, parameters, optimizer, history)
        written.append(len(history["loss"]))
        if written == [1, 2, 3]:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Checkpoint, "save", stops)
    with pytest.raises(KeyboardInterrupt):
        learn(clip, folder, tmp_path / "out", plan, force=True)
    assert torch.equal(PromptLearner.load(tmp_path / "out", clip).ctx, old)
    assert len(list((tmp_path / "out").glob(".training-*"))) == 1
    learn(clip, folder, tmp_path / "out", plan, force=True)
    assert written == [1, 2, 3, 4, 5, 6], "only what was missing"
    whole = PromptLearner.load(tmp_path / "whole", clip).ctx
    assert agree(PromptLearner.load(tmp_path / "out", clip).ctx, whole, 1e-4)
    assert not list((tmp_path / "out").glob(".training-*"))


def test_the_sentence_of_zero_shot_suits_the_model(clip, folder, tmp_path, monkeypatch):
    templates = []

    def stop(clip, names, template):
        templates.append(template)
        raise ValueError("enough")

    monkeypatch.setattr("clipnotes.teach.loop.ZeroShot", stop)
    other = Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    other.model.config._name_or_path = "openai/clip-vit-base-patch32"
    for model, given in ((clip, None), (other, None), (clip, "one {}")):
        with pytest.raises(ValueError, match="enough"):
            learn(model, folder, tmp_path / "out", Plan(template=given))
    assert templates == ["an emoji of a {}", "a photo of a {}", "one {}"]
