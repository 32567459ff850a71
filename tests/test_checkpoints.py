"""load() and Clip: what they give, and what they refuse."""

import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPProcessor

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.data import load_emoji


def test_the_embedded_model_is_small_float32_and_in_evaluation_mode(clip):
    assert sum(f.stat().st_size for f in EMOJI_CLIP.iterdir()) < 8e6
    assert {p.dtype for p in clip.model.parameters()} == {torch.float32}
    assert not clip.model.training
    stored = load_file(EMOJI_CLIP / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}


def test_tokenizer_is_clips(clip):
    ids = clip.tokenizer(["A  Tulip!", "a tulip !"])["input_ids"]
    assert ids[0] == ids[1], "lower case, one space"
    config = clip.model.config.text_config
    assert (
        ids[0][0] == config.bos_token_id == clip.tokenizer.convert_tokens_to_ids("<|startoftext|>")
    )
    assert (
        ids[0][-1] == config.eos_token_id == clip.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    )
    assert config.eos_token_id == config.vocab_size - 1, "so both rules of EOS pooling agree"
    assert len(clip.tokenizer) == config.vocab_size
    names = list(load_emoji(style="noto")["name"])
    assert (
        max(len(ids) for ids in clip.tokenizer(names)["input_ids"])
        <= config.max_position_embeddings - 16
    )


def test_features_have_unit_length_and_batches_do_not_matter(clip, monkeypatch):
    texts, images = (
        ["a tulip", "a beetle", "an emoji of a fire engine"],
        load_emoji(style="noto")[:5]["image"],
    )
    whole = clip.encode_text(texts), clip.encode_image(images)
    monkeypatch.setattr("clipnotes.checkpoints.BATCH", 2)
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 2)
    parts = clip.encode_text(texts), clip.encode_image(images)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        torch.testing.assert_close(a.norm(dim=-1), torch.ones(len(a)))
        assert not a.requires_grad


def test_padding_does_not_change_a_text(clip):
    alone = clip.encode_text(["a tulip"])
    padded = clip.encode_text(["a tulip", "an emoji of a very long name with many words"])[:1]
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=0)


def test_classify_is_the_softmax_of_the_models_own_logits(clip):
    names = ["turtle", "tractor", "peach"]
    noto = load_emoji(style="noto")
    images = [noto[noto["name"].index(name)]["image"] for name in names]
    probabilities = clip.classify(images, names, template="a {}")
    inputs = clip.tokenize([f"a {name}" for name in names])
    with torch.no_grad():
        logits = clip.model(**inputs, pixel_values=clip.preprocess(images)).logits_per_image
    torch.testing.assert_close(probabilities, logits.softmax(-1), atol=1e-5, rtol=0)
    assert probabilities.argmax(1).tolist() == [0, 1, 2]


def test_it_learned_to_name_a_designer_it_never_saw(clip):
    """A floor far under the model card's numbers: it catches a wrong file, not a worse run."""
    known = load_emoji(style="twemoji", held_out=False)
    features = clip.encode_image(list(known["image"]))
    texts = clip.encode_text([f"an emoji of a {name}" for name in known["name"]])
    assert ((features @ texts.T).argmax(1) == torch.arange(len(known))).float().mean() > 0.4


def test_clip_wraps_objects_you_already_have(clip):
    again = clipnotes.Clip(clip.model, clip.tokenizer, clip.image_processor)
    assert again.model is clip.model
    torch.testing.assert_close(again.encode_text(["a tulip"]), clip.encode_text(["a tulip"]))


def test_the_processor_is_what_everybody_has_typed(clip):
    image = load_emoji(style="noto")[0]["image"].convert("RGB")
    texts = ["a cat", "a long name of a dog"]
    inputs = clip.processor(text=texts, images=image, return_tensors="pt", padding=True)
    assert torch.equal(inputs["input_ids"], clip.tokenize(texts)["input_ids"])
    assert torch.equal(inputs["pixel_values"], clip.preprocess([image]))
    read = CLIPProcessor.from_pretrained(EMOJI_CLIP)
    assert torch.equal(
        read(text=texts, padding=True, return_tensors="pt").input_ids, inputs.input_ids
    )


def test_what_no_processor_can_be_made_of_is_named(clip):
    wrong = clipnotes.Clip(clip.model, clip.image_processor, clip.tokenizer)
    with pytest.raises(ValueError, match=r"no CLIPProcessor can be made of .*Call clip\.tokenize"):
        _ = wrong.processor


def test_a_directory_that_transformers_saved_loads(clip, tmp_path):
    for part in (clip.model, clip.tokenizer, clip.image_processor):
        part.save_pretrained(tmp_path)
    loaded = clipnotes.load(tmp_path)
    torch.testing.assert_close(loaded.encode_text(["a tulip"]), clip.encode_text(["a tulip"]))


def test_environment_variable_names_another_model(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPNOTES_MODEL", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nowhere"):
        clipnotes.load()


@pytest.mark.parametrize(
    "name", ["a/path/or/name/that/is/not/there", "/no/such/place", "nobody/nothing"]
)
def test_unknown_name_names_the_choices(name):
    with pytest.raises(ValueError, match=f"no CLIP model '{name}'") as caught:
        clipnotes.load(name)
    for choice in ("clipnotes.load()", "config.json", "openai/clip-vit-base-patch32"):
        assert choice in str(caught.value)


def test_a_file_is_not_a_model():
    with pytest.raises(ValueError, match="is a file; give the directory that it is in"):
        clipnotes.load(EMOJI_CLIP / "config.json")


@pytest.mark.parametrize("name", ["", 3, b"x", ["a"]])
def test_a_name_of_another_kind(name):
    with pytest.raises(ValueError, match="it must be"):
        clipnotes.load(name)


def test_a_name_too_long_for_a_path():
    with pytest.raises(ValueError, match="no CLIP model"):
        clipnotes.load("a/" + "b" * 300)


def test_what_a_processor_saves_loads(clip, tmp_path):
    clip.model.save_pretrained(tmp_path)
    CLIPProcessor(clip.image_processor, clip.tokenizer).save_pretrained(tmp_path)
    again = clipnotes.load(tmp_path)
    dot = [Image.effect_noise((40, 50), 90)]
    torch.testing.assert_close(again.encode_image(dot), clip.encode_image(dot))


def test_bad_pictures(clip):
    dot = Image.new("RGB", (2, 2))
    for images, error, words in (
        (dot, TypeError, r"give a list: \[image\]"),
        ([], ValueError, "no image was given"),
        (None, TypeError, "a NoneType was given; give a list of images"),
        ([dot, "dot.png"], TypeError, "image 1 is a str; PIL images are needed"),
        ([Image.new("RGB", (0, 3))], ValueError, "image 0 is 0 x 3 pixels"),
        ([Image.new("CMYK", (2, 2))], ValueError, "mode 'CMYK'"),
    ):
        with pytest.raises(error, match=words):
            clip.encode_image(images)


def test_pictures_of_any_size_and_mode_become_one_shape(clip):
    size = clip.model.config.vision_config.image_size
    images = [
        Image.new(mode, size_)
        for mode, size_ in (("L", (3, 90)), ("P", (200, 70)), ("RGBA", (64, 64)))
    ]
    assert clip.preprocess(images).shape == (3, 3, size, size)


def test_bad_texts(clip):
    for texts, error, words in (
        ("a tulip", TypeError, r"give a list: \['a tulip'\]"),
        ([], ValueError, "no text was given"),
        (None, TypeError, "a NoneType was given; give a list of strings"),
        (["a tulip", 3], TypeError, "text 1 is a int"),
        (
            ["a tulip", "a " * 50],
            ValueError,
            "text 1 .* has 52 tokens, and this model has 32 positions",
        ),
    ):
        with pytest.raises(error, match=words):
            clip.encode_text(texts)


def test_bad_templates_and_classes(clip):
    dot = [Image.new("RGB", (2, 2))]
    for template in ("no place", "{} and {}"):
        with pytest.raises(ValueError, match="it needs one"):
            clip.classify(dot, ["a"], template=template)
    with pytest.raises(TypeError, match=r"give a list, \['tulip'\]"):
        clip.classify(dot, "tulip")
    with pytest.raises(TypeError, match="the template is a NoneType"):
        clip.classify(dot, ["a"], template=None)
    assert clip.classify(dot, ["a"], template="{} {x}").tolist() == [[1.0]], "other braces stay"


def test_import_is_light():
    """Counts modules, not seconds: `import clipnotes` may not pull in what it needs only later."""
    heavy = {"torch", "transformers", "matplotlib", "datasets", "numpy"}
    program = f"import sys, clipnotes; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True
        ).stdout.strip()
        == "[]"
    )
    assert set(dir(clipnotes)) >= {"load", "Clip"}
    with pytest.raises(AttributeError, match="no attribute 'laod'; it has Clip, annotate, load"):
        clipnotes.laod  # noqa: B018
