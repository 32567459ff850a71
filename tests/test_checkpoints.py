"""load() and Clip: what they give, and that nothing is loaded halfway."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPProcessor

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP
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


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (["config.json"], "lacks config.json"),
        (["model.safetensors"], "lacks model.safetensors or model.safetensors.index.json"),
        (["preprocessor_config.json"], "lacks preprocessor_config.json or processor_config.json"),
        (["tokenizer.json", "merges.txt"], "lacks tokenizer.json or vocab.json and merges.txt"),
    ],
)
def test_missing_file(copy, files, missing):
    for file in files:
        (copy / file).unlink()
    with pytest.raises(ValueError, match=re.escape(missing)):
        clipnotes.load(copy)


@pytest.mark.parametrize("content", ['["rose", "tulip"]', "{not json", "3"])
def test_a_json_file_that_transformers_does_not_read_may_hold_anything(copy, content):
    for name in ("labels.json", "modules.json", "trainer_state.json"):
        (copy / name).write_text(content)
    assert clipnotes.load(copy).encode_text(["a tulip"]).shape == (1, 128)


@pytest.mark.parametrize(
    "file",
    [
        *("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"),
        *("added_tokens.json", "special_tokens_map.json", "vocab.json", "processor_config.json"),
        "model.safetensors.index.json",
    ],
)
@pytest.mark.parametrize("content", [b"", b"{broken", b"\xff\xfe", b"[1, 2]"])
def test_damaged_json_is_named(copy, file, content):
    (copy / file).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(copy / file))):
        clipnotes.load(copy)


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        ("nonsense\n", "has the line 'nonsense'"),
        (f"{'0' * 64}  ../config.json\n", "has the line"),
        ("\n", "does not name model.safetensors"),
        (f"{'0' * 64}  gone.txt\n{'0' * 64}  model.safetensors\n", "names gone.txt, which cannot"),
        (f"{'0' * 64} *model.safetensors\n", "is not the file that SHA256SUMS"),
    ],
)
def test_checksums_are_read_with_care(copy, sums, words):
    (copy / "SHA256SUMS").write_text(sums)
    with pytest.raises(ValueError, match=re.escape(words)):
        clipnotes.load(copy)


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


def test_weights_that_are_not_finite(copy):
    (copy / "SHA256SUMS").unlink()
    tensors = load_file(copy / "model.safetensors")
    tensors["text_projection.weight"][3, 4] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"the tensor text_projection\.weight in .* is not finite"):
        clipnotes.load(copy)


def test_a_configuration_with_fewer_layers_than_the_file(copy):
    (copy / "SHA256SUMS").unlink()
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["vision_config"]["num_hidden_layers"] -= 1
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="they have too much: 16 tensors"):
        clipnotes.load(copy)


def test_a_processor_for_another_size(copy):
    (copy / "SHA256SUMS").unlink()
    (copy / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"makes pictures of \(224, 224\) pixels, and its model"):
        clipnotes.load(copy)


def test_a_tokenizer_of_another_model(copy):
    (copy / "SHA256SUMS").unlink()
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["eos_token_id"] = 17
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="ends a text with 17"):
        clipnotes.load(copy)


def test_what_a_processor_saves_loads(clip, tmp_path):
    clip.model.save_pretrained(tmp_path)
    CLIPProcessor(clip.image_processor, clip.tokenizer).save_pretrained(tmp_path)
    again = clipnotes.load(tmp_path)
    dot = [Image.effect_noise((40, 50), 90)]
    torch.testing.assert_close(again.encode_image(dot), clip.encode_image(dot))


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
    with pytest.raises(ValueError, match="they lack 1 tensors"):
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
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "siglip"}))
    with pytest.raises(ValueError, match="type 'siglip'; clipnotes opens models of type 'clip'"):
        clipnotes.load(copy)


def test_bad_pictures(clip):
    dot = Image.new("RGB", (2, 2))
    for images, error, words in (
        (dot, TypeError, r"give a list: \[image\]"),
        ([], ValueError, "no picture was given"),
        (None, TypeError, "a NoneType was given; give a list of pictures"),
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
    with pytest.raises(ValueError, match="give at least one name"):
        clip.classify(dot, [])
    with pytest.raises(TypeError, match=r"give a list, \['tulip'\]"):
        clip.classify(dot, "tulip")
    with pytest.raises(TypeError, match="the template is a NoneType"):
        clip.classify(dot, ["a"], template=None)
    with pytest.raises(TypeError, match="class 1 is a int"):
        clip.classify(dot, ["a", 2])
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
    with pytest.raises(AttributeError, match="no attribute 'laod'; it has Clip, load"):
        clipnotes.laod  # noqa: B018
