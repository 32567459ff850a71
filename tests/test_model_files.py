"""A model's directory: what is missing, damaged or of another model is named; nothing unpickles."""

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP


@pytest.fixture
def copy(tmp_path):
    """A copy of the embedded model's directory that a test may damage."""
    return shutil.copytree(EMOJI_CLIP, tmp_path / "model")


@pytest.fixture
def unsigned(copy):
    """The same without checksums, so that a damage shows in what is read."""
    (copy / "SHA256SUMS").unlink()
    return copy


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (["config.json"], "lacks config.json"),
        (["model.safetensors"], "lacks model.safetensors or model.safetensors.index.json"),
        (["preprocessor_config.json"], "lacks preprocessor_config.json or processor_config.json"),
        (
            ["tokenizer.json", "merges.txt"],
            "lacks tokenizer.json or vocab.json and merges.txt or vocab.txt or",
        ),
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


def not_finite(tensors):
    tensors["text_projection.weight"][3, 4] = float("nan")


def one_tensor_less(tensors):
    del tensors["vision_model.post_layernorm.weight"]


def of_another_shape(tensors):
    narrow = tensors["visual_projection.weight"][:, :-1]
    tensors["visual_projection.weight"] = narrow.contiguous()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (not_finite, r"the tensor text_projection\.weight in .* is not finite"),
        (one_tensor_less, "they lack 1 tensors"),
        (of_another_shape, "are damaged or do not fit"),
    ],
)
def test_weights_that_do_not_fit(unsigned, damage, words):
    tensors = load_file(unsigned / "model.safetensors")
    damage(tensors)
    save_file(tensors, unsigned / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=words):
        clipnotes.load(unsigned)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"vision_config": {"num_hidden_layers": 5}}, "they have too much: 16 tensors"),
        ({"text_config": {"eos_token_id": 17}}, "ends a text with 17"),
        ({"model_type": "blip"}, "type 'blip'; clipnotes opens models of the types altclip, chin"),
    ],
    ids=["fewer layers than the file", "another model's tokenizer", "another kind of model"],
)
def test_a_configuration_of_another_model(unsigned, changed, words):
    config = json.loads((unsigned / "config.json").read_text(encoding="utf-8"))
    for name, value in changed.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (unsigned / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        clipnotes.load(unsigned)


def test_a_processor_for_another_size(unsigned):
    (unsigned / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"makes images of \(224, 224\) pixels, and its model"):
        clipnotes.load(unsigned)


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


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
        clipnotes.load(copy)
