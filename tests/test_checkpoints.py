"""load() and Clip: what they give, and that nothing is loaded halfway."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP, NEEDED
from clipnotes.data import load_emoji


@pytest.fixture
def copy(tmp_path):
    """A copy of the embedded model's directory that a test may damage."""
    return shutil.copytree(EMOJI_CLIP, tmp_path / "model")


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


@pytest.mark.parametrize("file", NEEDED)
def test_missing_file(copy, file):
    (copy / file).unlink()
    with pytest.raises(ValueError, match=f"lacks {file}"):
        clipnotes.load(copy)


def test_truncated_weights(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not the file that SHA256SUMS beside it describes"):
        clipnotes.load(copy)
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="are damaged or do not fit"):
        clipnotes.load(copy)


def test_tampered_weights(copy):
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="was changed or is damaged"):
        clipnotes.load(copy)


def test_tensor_gone(copy):
    (copy / "SHA256SUMS").unlink()
    tensors = load_file(copy / "model.safetensors")
    del tensors["vision_model.post_layernorm.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lack 1 of the model's tensors"):
        clipnotes.load(copy)


def test_tensor_of_another_shape(copy):
    (copy / "SHA256SUMS").unlink()
    tensors = load_file(copy / "model.safetensors")
    tensors["visual_projection.weight"] = tensors["visual_projection.weight"][:, :-1].contiguous()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="are damaged or do not fit"):
        clipnotes.load(copy)


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
        clipnotes.load(copy)


def test_another_kind_of_model(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "siglip"}))
    with pytest.raises(ValueError, match="type 'siglip'; clipnotes opens models of type 'clip'"):
        clipnotes.load(copy)


def test_bad_pictures(clip):
    dot = Image.new("RGB", (2, 2))
    for images, error, words in (
        (dot, TypeError, r"give a list: \[image\]"),
        ([], ValueError, "no picture was given"),
        ([dot, "dot.png"], TypeError, "picture 1 is a str; PIL pictures are needed"),
        ([Image.new("RGB", (0, 3))], ValueError, "picture 0 is 0 x 3 pixels"),
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
    for names in ([], "tulip"):
        with pytest.raises(ValueError, match="give a list of at least one name"):
            clip.classify(dot, names)


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
    with pytest.raises(AttributeError, match="no attribute 'laod'; it has Clip, load"):
        clipnotes.laod  # noqa: B018
