"""Emoji-LLaVA, loaded and asked: transformers' own model, and errors before wrong answers."""

import copy

import pytest
import torch
from PIL import Image

import clipnotes
from clipnotes import compat
from clipnotes.compat.llava import llava_parts
from clipnotes.llava import SORTS, EmojiLlava, check_inputs, make_scenes
from clipnotes.llava import loading as llava_loading
from clipnotes.model import Llava
from reference import assert_close

PROMPT = "USER: <image>\nhow many things are there? ASSISTANT:"


@pytest.fixture(scope="module")
def llava():
    return clipnotes.load_llava()


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(6, seed=11)


@pytest.fixture
def inputs(llava, scenes):
    images = [scene.image for scene in scenes[:2]]
    return llava.processor(images=images, text=[PROMPT] * 2, return_tensors="pt")


def test_it_is_transformers_own_with_emoji_clips_tower(llava, clip):
    assert type(llava.model).__name__ == "LlavaForConditionalGeneration"
    assert type(llava.processor).__name__ == "LlavaProcessor"
    parts = llava_parts(llava.model)
    ours = compat.vision_tower(clip.model).state_dict()
    theirs = compat.vision_tower(parts.vision_tower).state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name
    assert parts.lm_head.weight is parts.language_model.embed_tokens.weight
    assert not llava.model.training
    assert {p.dtype for p in llava.model.parameters()} == {torch.float32}
    assert llava.model.config.vision_feature_layer == -2


def test_the_prompt_is_one_token_a_patch(llava, inputs):
    ids = inputs["input_ids"]
    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"}
    assert (ids == llava.model.config.image_token_index).sum(1).tolist() == [64, 64]
    tokens = llava.processor.tokenizer.convert_ids_to_tokens(ids[0])
    assert tokens[:3] == ["<s>", "USER:", "<image>"]
    asked = ["how", "many", "things", "are", "there", "?", "ASSISTANT:"]
    assert tokens[66:] == asked


def test_from_scratch_says_the_same(llava, inputs):
    ours = Llava.from_transformers(llava.model)
    with torch.no_grad():
        expected = llava.model(**inputs).logits
        assert_close("logits", ours(inputs["input_ids"], inputs["pixel_values"]), expected, 1e-4)


def test_answers_of_a_batch_are_those_of_each_alone(llava, scenes):
    images = [scene.image for scene in scenes]
    asked = [
        "how many things are there?",
        "what colour is the background?",
        "describe the image.",
        "is there a dog?",
        "what is at the top left?",
        "where is the tulip?",
    ]
    together = llava.ask(images, asked)
    alone = [llava.ask(image, text)[0] for image, text in zip(images, asked, strict=True)]
    assert together == alone
    assert all(together) and len(set(together)) > 3


def test_a_question_may_be_written_carelessly(llava, scenes):
    image = scenes[0].image
    exact = llava.ask(image, "how many things are there?")
    assert llava.ask(image, "  How many things are there ") == exact
    assert llava.check_question("Describe the image") == "describe the image."
    for example in SORTS.values():
        assert llava.check_question(example) == example


def test_it_sees(llava):
    """Far above chance; training/llava measures how far."""
    scenes = make_scenes(40, style="twemoji", seed=77)
    said = llava.ask([scene.image for scene in scenes], "what colour is the background?")
    right = sum(a == s.background for a, s in zip(said, scenes, strict=True))
    assert right >= 36


@pytest.mark.parametrize(
    ("images", "question", "error", "said"),
    [
        ([], "what is this?", ValueError, "0 images and 0 questions"),
        (2, ["what is this?"], ValueError, "2 images and 1 questions"),
        (1, "", ValueError, "the question is empty; ask one of 'what is this"),
        (1, "  ", ValueError, "the question is empty"),
        (1, "is there a zebra?", ValueError, "never read the word 'zebra'"),
        (1, "how many tings are there?", ValueError, "'tings'; did you mean things"),
        (1, "what is <image>?", ValueError, "never read the word '<image>'"),
        (1, 3, TypeError, "the question is a int; give a text, or a list"),
        (1, [3], TypeError, "the question is a int; give a text"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(
    llava, scenes, images, question, error, said, monkeypatch
):
    monkeypatch.setattr(llava.model, "generate", lambda **_: pytest.fail("it was asked"))
    given = [scene.image for scene in scenes[:images]] if isinstance(images, int) else images
    with pytest.raises(error, match=said):
        llava.ask(given, question)


def test_what_is_no_image_is_refused(llava):
    with pytest.raises(TypeError, match="a PIL image is needed"):
        llava.ask([torch.zeros(3, 64, 64)], "what is this?")


def test_images_of_any_size_and_transparency_are_made_to_fit(llava, scenes):
    image = scenes[0].image
    large = image.resize((320, 320), Image.Resampling.NEAREST)
    question = "what colour is the background?"
    assert llava.ask(large, question) == llava.ask(image, question)
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert llava.ask(clear, question) == ["white"]


def test_the_model_itself_refuses_what_would_be_silently_wrong(llava, inputs):
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    generate = llava.model.generate
    with pytest.raises(ValueError, match=r"\[64, 64\] image tokens, and no image"):
        generate(input_ids=ids, max_new_tokens=2)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 32, 32\)"):
        llava.model(input_ids=ids, pixel_values=pixels[..., :32, :32])
    uneven = ids.clone()
    uneven[0, 2], uneven[1, 1] = 9, 4  # 63 and 65: together as many as transformers expects
    with pytest.raises(ValueError, match=r"\[63, 65\] image tokens; each needs 64"):
        generate(input_ids=uneven, pixel_values=pixels, max_new_tokens=2)
    with pytest.raises(ValueError, match="1 images for 2 prompts"):
        llava.model(ids, pixels[:1])
    text = ids[:, 66:]
    with torch.no_grad():  # without image tokens, no image is needed
        assert llava.model(input_ids=text).logits.shape[:2] == text.shape
    check_inputs(llava.model, ids, pixels)


def test_a_tower_of_random_weights_would_be_noticed(llava, inputs):
    """What transformers does with a checkpoint whose tower has other names: not here."""
    other = copy.deepcopy(llava.model)
    tower = compat.vision_tower(llava_parts(other).vision_tower)
    with torch.no_grad():
        tower.embeddings.patch_embedding.weight.normal_()
        changed = (other(**inputs).logits - llava.model(**inputs).logits).abs().max()
    assert changed > 0.1


def test_a_file_that_was_changed_is_noticed(tmp_path, monkeypatch):
    for file in llava_loading.EMOJI_LLAVA.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(llava_loading, "EMOJI_LLAVA", tmp_path)
    assert isinstance(clipnotes.load_llava(), EmojiLlava)
    with (tmp_path / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not the file"):
        clipnotes.load_llava()


def test_it_asks_for_nothing_from_the_network_and_ships_small():
    files = list(llava_loading.EMOJI_LLAVA.iterdir())
    assert sum(file.stat().st_size for file in files) < 4_000_000
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".md", ""}
