"""What load() does not open, and why: told before any weight is read; and embedded names."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import transformers

import clipnotes
from clipnotes import checkpoints
from clipnotes.compat import kind_of_config
from families import NAMES, save, tiny_clip
from reference import assert_close


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Directories of tiny models, written when they are asked for."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = save(tiny_clip(name), tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture
def copied(folders, tmp_path):
    return lambda name: shutil.copytree(folders(name), tmp_path / name)


def change(file, **words):
    """Change some words of a JSON file, of which those that are objects are joined."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for name, value in words.items():
        content[name] = content.get(name, {}) | value if isinstance(value, dict) else value
    file.write_text(json.dumps(content))


TYPES = (
    "of the types altclip, chinese_clip, clip, clipseg, metaclip_2, siglip, vision-text-dual-encod"
)


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("Siglip", {"model_type": "siglip2"}, rf"'siglip2': .*NaFlex.*'siglip', as goo.*{TYPES}"),
        ("CLIP", {"model_type": "groupvit"}, f"'groupvit': its vision tower averages.*{TYPES}"),
        ("CLIP", {"model_type": "owlv2"}, f"'owlv2': it finds boxes.*{TYPES}"),
        ("CLIP", {"model_type": "blip"}, f"model of type 'blip'; .*{TYPES}"),
        ("CLIP", {"model_type": None}, f"model of type None; .*{TYPES}"),
        ("CLIP", {"model_type": ["clip"]}, f"model of type .*; .*{TYPES}"),
        (
            "VisionTextDualEncoder",
            {"text_config": {"model_type": "gpt2"}},
            "whose text tower is of type 'gpt2'; .*: bert, camembert, roberta, xlm_roberta",
        ),
        (
            "VisionTextDualEncoder",
            {"vision_config": {"model_type": "swin"}},
            "whose vision tower is of type 'swin'; .*: chinese_clip, clip, deit, vit",
        ),
    ],
)
def test_what_is_not_opened_is_refused_before_its_weights_are_read(copied, name, words, said):
    folder = copied(name)
    (folder / "model.safetensors").write_bytes(b"never read")
    change(folder / "config.json", **words)
    with pytest.raises(ValueError, match=f"{name} holds a .*{said}"):
        clipnotes.load(folder)


def test_of_the_hub_too_the_configuration_is_read_first(monkeypatch):
    monkeypatch.setattr(
        transformers.PretrainedConfig, "get_config_dict", lambda name: ({"model_type": "blip"}, {})
    )
    with pytest.raises(ValueError, match=r"some/model holds a model of type 'blip'; clipnotes ope"):
        clipnotes.load("some/model")


def test_a_type_that_this_transformers_does_not_know(monkeypatch):
    monkeypatch.setattr("clipnotes.compat.kinds.KINDS", {"new": KIND})
    with pytest.raises(ValueError, match=r"'new', which transformers .* does not know.*--upgrade"):
        kind_of_config({"model_type": "new"})


KIND = kind_of_config({"model_type": "clip"})._replace(model="NewModel")


def test_a_siglip_without_its_pooling_head(tmp_path):
    made = tiny_clip("Siglip")
    config = made.model.config
    config.vision_config.vision_use_head = False
    model = transformers.SiglipModel(config)
    save(clipnotes.Clip(model, made.tokenizer, made.image_processor), tmp_path)
    with pytest.raises(ValueError, match=r"gives no features: .*no pooling head"):
        clipnotes.load(tmp_path)


@pytest.mark.parametrize("name", ["Siglip", "ChineseCLIP", "AltCLIP"])
def test_weights_of_another_shape_or_too_many(copied, name):
    folder = copied(name)
    change(folder / "config.json", text_config={"num_hidden_layers": 1})
    with pytest.raises(ValueError, match="they have too much: 16 tensors"):
        clipnotes.load(folder)


@pytest.mark.parametrize("name", ["Siglip", "ChineseCLIP", "AltCLIP", "VisionTextDualEncoder"])
def test_an_image_processor_of_another_size(copied, name):
    folder = copied(name)
    file = folder / "preprocessor_config.json"
    square = {"height": 6, "width": 6}
    change(file, crop_size=square, **({} if name == "AltCLIP" else {"size": square}))
    with pytest.raises(ValueError, match=r"images of \(6, 6\) pixels, and its model takes \(8, 8"):
        clipnotes.load(folder)


def test_an_image_processor_that_nobody_knows(copied):
    folder = copied("Siglip")
    change(folder / "preprocessor_config.json", image_processor_type="OddImageProcessor")
    with pytest.raises(ValueError, match="has no image processor 'OddImageProcessor'"):
        clipnotes.load(folder)


def test_an_image_processor_that_fails(copied):
    folder = copied("Siglip")
    change(folder / "preprocessor_config.json", image_mean=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"(image processor of|a file in) .*Siglip .*(fails|used)"):
        clipnotes.load(folder)


@pytest.mark.parametrize("name", ["Siglip", "ChineseCLIP", "AltCLIP"])
def test_a_tokenizer_that_does_not_fit(folders, tmp_path, name):
    """With more tokens than the model, without padding, or with padding of another id."""
    clip = tiny_clip(name)
    clip.tokenizer.add_tokens(["new"])
    clip.tokenizer.pad_token = "new"
    save(clip, tmp_path)
    with pytest.raises(ValueError, match=r"model has 2\d tokens.* The tokenizer pads with 2\d; fe"):
        clipnotes.load(tmp_path)
    clip.tokenizer.pad_token = None
    save(clip, tmp_path)
    with pytest.raises(ValueError, match="The tokenizer pads with None; fetch the tokenizer's"):
        clipnotes.load(tmp_path)
    clip.tokenizer.pad_token = "fox"  # BERT masks any padding, RoBERTa counts without its own
    save(clip, tmp_path)
    if name == "AltCLIP":
        with pytest.raises(
            ValueError, match=r"tokens, and takes 1 for padding\. The tokenizer pads"
        ):
            clipnotes.load(tmp_path)
    else:
        assert clipnotes.load(tmp_path).tokenizer.pad_token == "fox"


@pytest.mark.parametrize("name", [n for n in NAMES if n in ("CLIP", "CLIPSeg", "MetaClip2")])
def test_an_end_token_of_2_means_the_largest_id_but_not_in_metaclip_2(copied, name):
    folder = copied(name)
    change(folder / "config.json", text_config={"eos_token_id": 2})
    if name == "MetaClip2":
        with pytest.raises(ValueError, match="tokens and ends a text with 2; fetch the tokenizer"):
            clipnotes.load(folder)
    else:
        assert clipnotes.load(folder).encode_text(["a fox"]).shape == (1, 6)


def test_a_vocabulary_may_be_a_text_file(copied):
    folder = copied("ChineseCLIP")
    expected = clipnotes.load(folder)
    ids = expected.tokenizer.get_vocab()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(ids, key=ids.get)) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    found = clipnotes.load(folder)
    assert_close("text", found.encode_text(["a fox"]), expected.encode_text(["a fox"]))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_never_run(copied, file, tmp_path):
    folder, traces = copied("Siglip"), tmp_path / "it ran"
    code = f"open({str(traces)!r}, 'w').close()\nclass Odd: pass\n"
    (folder / "odd.py").write_text(code)
    autos = ("AutoModel", "AutoConfig", "AutoImageProcessor")
    change(folder / file, auto_map=dict.fromkeys(autos, "odd.Odd"))
    if file == "tokenizer_config.json":
        words = {"AutoTokenizer": ["odd.Odd", "odd.Odd"]}
        change(folder / file, auto_map=words, tokenizer_class="OddTokenizer")
    with suppress(ValueError):  # some versions refuse it, others go on without
        clipnotes.load(folder)
    assert not traces.exists()


def test_a_package_that_a_tokenizer_needs_is_named(copied, monkeypatch):
    def lacks(*_, **__):
        raise ImportError("\nit requires the SentencePiece library,\nwhich was not found.")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lacks)
    said = r"not installed: it requires the SentencePiece library, which.*pip install sentencepiece"
    with pytest.raises(ValueError, match=said):
        clipnotes.load(copied("Siglip"))


def test_embedded_models_have_names(clip, folders, monkeypatch, tmp_path):
    assert_close("text", clipnotes.load("emoji-clip").encode_text(["a"]), clip.encode_text(["a"]))
    assert Path(checkpoints.EMOJI_SIGLIP).name == "emoji_siglip"
    monkeypatch.setitem(checkpoints.EMBEDDED, "emoji-siglip", folders("Siglip"))
    assert type(clipnotes.load("emoji-siglip").model).__name__ == "SiglipModel"
    monkeypatch.setenv("CLIPNOTES_MODEL", "emoji-siglip")
    assert type(clipnotes.load().model).__name__ == "SiglipModel"
    # A directory of that name is there only for those who say that they mean one.
    shutil.copytree(folders("ChineseCLIP"), tmp_path / "emoji-siglip")
    monkeypatch.chdir(tmp_path)
    assert type(clipnotes.load("emoji-siglip").model).__name__ == "SiglipModel"
    for name in ("./emoji-siglip", Path("emoji-siglip")):
        assert type(clipnotes.load(name).model).__name__ == "ChineseCLIPModel"
    monkeypatch.setitem(checkpoints.EMBEDDED, "emoji-siglip", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"not in this installation.*nowhere.*'\./emoji-siglip'"):
        clipnotes.load("emoji-siglip")
