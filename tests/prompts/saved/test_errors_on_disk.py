"""What a saved prompt is refused for names the file; what JSON cannot hold is not written."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clipnotes.prompts import METHODS, PromptLearner, load_prompt
from clipnotes.prompts.saved import storage
from few_pictures import small_learner
from saved_prompts import rewrite


@pytest.mark.parametrize("card", [{"method": "other"}, {"format": 3}, {"shots": "two"}])
def test_the_file_is_named(clip, tmp_path, card):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, **card)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_prompt(tmp_path, clip)
    assert str(error.value).startswith(str(tmp_path / storage.FILE))


def test_the_methods_that_are_known_are_named(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, method="other")
    with pytest.raises(ValueError, match=f"there are {', '.join(sorted(METHODS))};"):
        load_prompt(tmp_path, clip)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_numbers_of_another_precision_are_refused(clip, tmp_path, dtype):
    learner = small_learner(clip)
    learner.save(tmp_path)
    file = tmp_path / storage.FILE
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({"ctx": learner.ctx.detach().to(dtype)}, file, metadata=metadata)
    with pytest.raises(ValueError, match=f"ctx is {dtype} and must be float32"):
        PromptLearner.load(tmp_path, clip)


def test_write_prompt_replaces_nothing_unless_asked(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    tensors, card = storage.read_prompt(tmp_path)
    with pytest.raises(ValueError, match="already holds"):
        storage.write_prompt(tmp_path, {"ctx": tensors["ctx"] + 1}, card)
    assert torch.equal(storage.read_prompt(tmp_path)[0]["ctx"], tensors["ctx"])


def test_a_number_that_json_does_not_know_is_not_written(clip, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        small_learner(clip).save(tmp_path / "p", recipe={"lr": math.inf})
    assert not (tmp_path / "p").exists()


def test_the_copy_of_the_card_has_a_line_for_each_entry(clip, tmp_path):
    """It is there to be read."""
    small_learner(clip).save(tmp_path)
    text = (tmp_path / storage.COPY).read_text(encoding="utf-8")
    for name in json.loads(text):
        assert any(line.strip().startswith(f'"{name}": ') for line in text.splitlines()), name
