"""The training program: its parts, that it goes on after a stop, that its card is true."""

import hashlib
import io
import json
import random

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import CLIPConfig, SiglipConfig

import build_emoji
import card
import emoji
import emoji_clip
import emoji_siglip
import pretrain
from augment import augment
from captions import CATEGORY, KEYWORDS, NAME, caption
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.data import composite, load_emoji
from clipnotes.llava.loading import EMOJI_LLAVA
from reference import agree, assert_close

KINDS = pytest.mark.parametrize("kind", [emoji_clip, emoji_siglip], ids=["clip", "siglip"])


@pytest.fixture(scope="module")
def rgba():
    drawn = load_emoji(style="noto")[:12]["image"]
    pixels = [
        torch.frombuffer(bytearray(i.tobytes()), dtype=torch.uint8).view(64, 64, 4) for i in drawn
    ]
    return drawn, torch.stack(pixels).permute(0, 3, 1, 2)


def test_augmentation_of_strength_zero_is_the_picture_on_white(rgba):
    images, pixels = rgba
    seen = augment(pixels, 0.0, torch.Generator().manual_seed(0))
    for image, got in zip(images, seen, strict=True):
        white = torch.frombuffer(bytearray(composite(image).tobytes()), dtype=torch.uint8)
        wanted = white.view(64, 64, 3).permute(2, 0, 1).float() / 255
        assert (got - wanted).abs().max() < 0.01


def test_augmentation_is_a_draw_by_seed_and_stays_in_range(rgba):
    _, pixels = rgba
    first, again, other = (
        augment(pixels, 1.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert agree(first, again) and not agree(first, other)
    assert first.shape == (12, 3, 64, 64) and first.min() >= 0 and first.max() <= 1


def test_captions_grow_harder():
    row = {
        "name": "fire engine",
        "keywords": ["engine", "fire", "truck"],
        "category": "transport-ground",
    }
    rng = random.Random(0)
    assert {caption(row, 0.0, rng) for _ in range(20)} == {("an emoji of a fire engine", NAME)}
    drawn = [caption(row, 1.0, rng) for _ in range(2000)]
    share = [sum(kind == k for _, kind in drawn) / len(drawn) for k in (NAME, KEYWORDS, CATEGORY)]
    assert share == pytest.approx([0.6, 0.2, 0.2], abs=0.04)
    for text, kind in drawn:
        assert kind != NAME or "fire engine" in text
        assert kind != CATEGORY or "transport ground" in text


def test_every_true_pair_counts_as_a_match():
    concepts, categories = torch.tensor([0, 1, 0, 2]), torch.tensor([7, 7, 7, 8])
    kinds = torch.tensor([NAME, CATEGORY, KEYWORDS, NAME])
    wanted = [[1, 1, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    assert pretrain.matches(concepts, categories, kinds).tolist() == wanted


def test_the_loss_is_clips_where_each_pair_is_alone(monkeypatch):
    monkeypatch.setattr(emoji_clip, "SMOOTHING", 0.0)
    model = emoji_clip.new_model()
    cosines, truth = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    logits = cosines * model.logit_scale.exp()
    both = [torch.nn.functional.cross_entropy(rows, truth) for rows in (logits, logits.T)]
    torch.testing.assert_close(emoji_clip.loss_of(model, cosines, torch.eye(5)), sum(both) / 2)


@KINDS
def test_towers_and_loss_are_those_of_transformers(kind, monkeypatch):
    monkeypatch.setattr(emoji_clip, "SMOOTHING", 0.0)
    model, generator = kind.new_model(), torch.Generator().manual_seed(0)
    pixels = torch.randn(3, 3, 64, 64, generator=generator)
    ids = torch.randint(0, 4000, (3, 32), generator=generator)
    ids[:, -1] = 3999
    theirs = model(input_ids=ids, pixel_values=pixels, return_loss=True)
    images, texts = kind.encode_pictures(model, pixels), kind.encode_captions(model, ids)
    assert_close("images", images, theirs.image_embeds)
    assert_close("texts", texts, theirs.text_embeds)
    assert_close("loss", kind.loss_of(model, images @ texts.T, torch.eye(3)), theirs.loss)


def test_fused_activation_is_quick_gelu():
    model = emoji_clip.new_model()
    pixel_values = torch.randn(2, 3, 64, 64)
    encode_pictures = emoji_clip.encode_pictures
    before = encode_pictures(model, pixel_values)
    emoji_clip.prepare(model)
    torch.testing.assert_close(encode_pictures(model, pixel_values), before, atol=1e-5, rtol=1e-5)


@KINDS
def test_dropping_no_patch_is_the_whole_picture(kind):
    model, encode_pictures = kind.new_model(), kind.encode_pictures
    pixel_values = torch.randn(2, 3, 64, 64)
    # The patches are shuffled, which changes nothing for attention.
    kept_all = encode_pictures(model, pixel_values, kept=64)
    torch.testing.assert_close(kept_all, encode_pictures(model, pixel_values), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(encode_pictures(model, pixel_values, kept=20), kept_all, atol=1e-3)


def test_validation_is_apart_from_training_and_from_all_that_is_reported():
    pictures = emoji.load_pictures()
    assert not set(pictures.train) & set(pictures.validation)
    for i in pictures.train + pictures.validation:
        row = pictures.rows[i]
        assert not row["held_out"] and row["style"] not in ("openmoji", "twemoji")
    apart = emoji.load_pictures(leave_out="noto")
    assert {apart.rows[i]["style"] for i in apart.validation} == {"noto"}
    assert "noto" not in {apart.rows[i]["style"] for i in apart.train}


EMOJI_SIGLIP = EMOJI_CLIP.parent / "emoji_siglip"
SHIPPED = {"Emoji-CLIP": (CLIPConfig, EMOJI_CLIP), "Emoji-SigLIP": (SiglipConfig, EMOJI_SIGLIP)}


def architecture(config, folder):
    """The sizes and settings in config.json, with the defaults that some versions leave out."""
    said = config.from_pretrained(folder).to_dict()
    # Each version words these three in its own way.
    return {
        k: v for k, v in said.items() if k not in ("dtype", "torch_dtype", "transformers_version")
    }


@KINDS
def test_a_stopped_run_goes_on(tmp_path, monkeypatch, capsys, kind):
    """The tokenizer comes from the shipped files: its training needs the npm sources."""
    tokenizer = Tokenizer.from_file(str(EMOJI_CLIP / "tokenizer.json"))
    monkeypatch.setattr(pretrain, "build", lambda: tokenizer)
    monkeypatch.setattr(pretrain, "BATCH", 4)
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY", 2)
    real, calls = kind.loss_of, []

    def killed_at_step_3(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(kind, "loss_of", killed_at_step_3)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train(tmp_path, kind, steps=6, seed=0, leave_out=None, device="cpu")
    # As if it was killed between the log's line and the checkpoint of step 4.
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"step": 4, "loss": 0.0}) + "\n")
    pretrain.train(tmp_path, kind, steps=6, seed=0, leave_out=None, device="cpu")
    assert "going on from step 2" in capsys.readouterr().out
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps == [2, 4, 6]

    out = tmp_path / "exported"
    monkeypatch.setattr(pretrain, "save", lambda tokenizer, folder: None)
    pretrain.export(tmp_path, kind, out)
    config, shipped = SHIPPED[kind.NAME]
    assert architecture(config, out) == architecture(config, shipped)


@pytest.mark.parametrize("model", card.MODELS, ids=lambda model: model.copy)
def test_the_card_says_what_was_measured(model):
    text = (model.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert model.measured() in text and f"# {model.name}" in text
    log = model.log()
    assert log[-1]["step"] == max(row["step"] for row in log)
    assert (model.folder / "curves.svg").stat().st_size > 1000
    assert model.copied.read_text(encoding="utf-8") == model.for_chapters()


def test_both_models_were_measured_in_the_same_way():
    one, other = (model.results() for model in card.MODELS[:2])
    for row in (*one, *other):
        for said in ("pictures", "names"):
            assert one[row].get(said) == other[row].get(said), row


def test_the_readme_says_what_was_measured():
    results = card.MODELS[0].results()
    readme = (card.HERE.parent / "README.md").read_text(encoding="utf-8")
    for style in ("twemoji", "openmoji"):
        row = results[f"{style}: known things"]
        assert f"| {row['top1']:.0%} | {row['top5']:.0%} |" in readme
    assert f"{results['twemoji: held-out things among themselves']['top1']:.0%} among 82" in readme


@pytest.mark.parametrize(
    "shipped", [EMOJI_CLIP, EMOJI_SIGLIP, EMOJI_LLAVA], ids=lambda path: path.name
)
def test_the_checksums_are_those_of_the_shipped_files(shipped):
    lines = (shipped / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert {line.split("  ")[1] for line in lines} >= {
        "model.safetensors",
        "tokenizer.json",
        "config.json",
    }
    for line in lines:
        wanted, name = line.split("  ")
        assert hashlib.sha256((shipped / name).read_bytes()).hexdigest() == wanted


def test_a_bad_drawing_is_refused():
    with pytest.raises(ValueError, match="the drawing is empty"):
        build_emoji.to_webp(Image.new("RGBA", (64, 64)))
    with pytest.raises(ValueError, match=r"the drawing is \(64, 32\), not \(64, 64\)"):
        build_emoji.to_webp(Image.new("RGBA", (64, 32), "red"))
    noise = Image.effect_noise((64, 64), 80).convert("RGBA")
    again = Image.open(io.BytesIO(build_emoji.to_webp(noise))).convert("RGBA")
    assert again.tobytes() == noise.tobytes(), "lossless"


def test_icons_are_found_by_code_point_first_and_serve_one_concept():
    concepts = [
        {"codepoint": "1F42F", "name": "tiger face"},
        {"codepoint": "1F405", "name": "tiger"},
    ]
    icons = {"icons": {"tiger": {}, "tigerface": {}}}
    aliases = {"1F42F": {"tiger"}, "1F405": {"tiger2"}}
    found = build_emoji.icon_names(icons, {}, concepts, aliases)
    assert found == {"1F42F": "tigerface", "1F405": "tiger"}
    found = build_emoji.icon_names({"icons": {"tiger": {}}}, {"1f42f": "tiger"}, concepts, aliases)
    assert found == {"1F42F": "tiger"}, "the code point wins, and an icon is used once"


def test_pictures_are_normalised_as_the_processor_does(clip):
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(64, 64, 3)
    ours = emoji.normalize(pixels.permute(2, 0, 1)[None].float() / 255)
    torch.testing.assert_close(ours, clip.preprocess([image]), atol=1e-5, rtol=0)
