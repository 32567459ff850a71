"""``clipnotes annotate``, as a stranger types it."""

import re

from command_line import refused, run


def test_a_part_of_the_model_is_printed():
    result = run("annotate", "--module", "vision_model.embeddings")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("CLIPVisionEmbeddings.forward")
    assert "B = 2" in result.stdout and "(B, L, D)" in result.stdout
    assert "Conv2d" not in result.stdout


def test_a_later_layer_and_all_that_it_calls():
    result = run("annotate", "--module", "text_model.encoder.layers.2", "--deep")
    assert result.stdout.startswith("CLIPEncoderLayer.forward")
    # In 4.49 there is a class for each implementation.
    assert re.search(r"^self_attn  CLIP(Sdpa)?Attention\.forward", result.stdout, re.MULTILINE)
    longer = run("annotate", "--module", "text_model.encoder.layers.2", "--text", "a b c d e f g")
    assert longer.stdout.splitlines()[:1] == result.stdout.splitlines()[:1]
    assert longer.stdout not in result.stdout, "the text counts"


def test_a_page_is_written(tmp_path):
    page = tmp_path / "a.html"
    result = run("annotate", "--module", "vision_model.embeddings", "--html", page)
    assert result.exit_code == 0 and result.stdout == ""
    assert "CLIPVisionEmbeddings" in page.read_text(encoding="utf-8")
    page.write_text("mine")
    refused("is there already", "annotate", "--html", page)
    assert page.read_text(encoding="utf-8") == "mine"
    refused("give a file", "annotate", "--html", tmp_path)


def test_a_module_that_is_not_there_is_answered_with_those_that_are():
    refused(
        "no module 'vision_model.embedding' in this model. In vision_model there are: embeddings",
        "annotate",
        "--module",
        "vision_model.embedding",
    )
    refused("In the model there are: text_model, vision_model", "annotate", "--module", "visual")
    refused("give a module that it calls", "annotate", "--module", "vision_model.encoder.layers")
