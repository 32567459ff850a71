"""What a model carries: tokens that were added, parts that were replaced, weights elsewhere."""

import copy

import accelerate
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPModel

import clipnotes
from clipnotes.compat import text_features, text_tower, vision_tower
from clipnotes.compat.carried import check_here, text_ends
from clipnotes.explorer import explore_text
from clipnotes.model import CLIP, TextTower, VisionTower
from clipnotes.prompts import PromptLearner, ZeroShot
from pages import data_of
from reference import assert_close, pixels, tiny_clip
from reference_text import tiny_text


@pytest.fixture
def twin(clip):
    """A copy of Emoji-CLIP that a test may spoil."""
    return clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)


# An added token


@pytest.fixture
def added(clip):
    """Emoji-CLIP with a token added above the end, and with the old rule for the end."""
    model, tokenizer = copy.deepcopy(clip.model), copy.deepcopy(clip.tokenizer)
    tokenizer.add_tokens(["<rose-of-mine>"])
    table = text_tower(model).embeddings.token_embedding.weight.detach()
    larger = torch.cat([table, table[100:101]])
    text_tower(model).embeddings.token_embedding = nn.Embedding.from_pretrained(larger)
    model.eval()
    text_tower(model).eos_token_id = 2
    return clipnotes.Clip(model, tokenizer, clip.image_processor)


def test_with_an_added_token_a_text_is_read_out_at_its_end(added):
    texts = ["a photo of a <rose-of-mine>.", "a photo of a tulip.", "<rose-of-mine>"]
    ids = added.tokenize(texts)["input_ids"]
    ends = [row.index(added.tokenizer.eos_token_id) for row in ids.tolist()]
    assert text_ends(added.tokenizer, ids).tolist() == ends
    with torch.no_grad():
        tower = text_tower(added.model)
        states = tower(input_ids=ids)[0][torch.arange(3), ends]
        right = nn.functional.normalize(added.model.text_projection(states), dim=-1)
        theirs = nn.functional.normalize(text_features(added.model, ids), dim=-1)
    found = added.encode_text(texts)
    assert_close("texts", found, right)
    off = (theirs - right).norm(dim=-1)  # transformers reads them at the token that was added
    assert off[0] > 0.05 and off[1] < 1e-5 and off[2] > 0.05
    # Both halves of the package agree.
    learner = PromptLearner(added, ["<rose-of-mine>", "tulip"], init="a photo of a")
    assert_close("prompts", learner(), right[:2])
    plain = PromptLearner(added, ["<rose-of-mine>", "tulip"], init="a photo of a", fast=False)
    assert_close("prompts, plainly", plain(), right[:2])
    zero = ZeroShot(added, ["<rose-of-mine>", "tulip"], templates="a photo of a {}.")
    picture = added.encode_image([Image.new("RGB", (8, 8), "red")])
    expected = added.model.logit_scale.exp() * picture @ right[:2].T
    assert_close("zero shot", zero.logits(picture), expected)
    classified = added.classify(
        [Image.new("RGB", (8, 8), "red")], ["<rose-of-mine>", "tulip"], "a photo of a {}."
    )
    assert_close("classify", classified, expected.softmax(-1))
    assert data_of(explore_text(added, texts[0], layers=[0]).html)["read"] == ends[0]


@pytest.mark.parametrize("eos_token_id", [2, 3999])
def test_without_one_it_is_transformers_to_the_bit(twin, eos_token_id):
    text_tower(twin.model).eos_token_id = eos_token_id
    texts = ["a tulip", "an emoji of a steam locomotive", "x"]
    with torch.no_grad():
        theirs = text_features(twin.model, **twin.tokenize(texts))
    found = twin.encode_text(texts)
    assert torch.equal(found, nn.functional.normalize(theirs, dim=-1))  # rows that were only moved


def test_a_tokenizer_that_ends_no_text_is_refused(twin):
    twin.tokenizer = copy.deepcopy(twin.tokenizer)
    ids = torch.tensor([[3998, 5, 3999], [3998, 5, 6]])
    with pytest.raises(ValueError, match=r"no end token.*its eos_token is '<\|endoftext\|>'"):
        text_ends(twin.tokenizer, ids)
    twin.tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"no end token.*its eos_token is None.*that belongs to"):
        twin.encode_text(["a tulip"])


# Parts that were replaced


class Adapted(nn.Module):
    """As PEFT puts it in the place of a linear layer: the old one inside, something beside it."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.extra = nn.Linear(base_layer.in_features, base_layer.out_features, bias=False)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def forward(self, x):
        return self.base_layer(x) + self.extra(x)


class Loud(nn.Linear):
    """A subclass with the same weights under the same names, and other numbers."""

    def forward(self, x):
        return 2 * super().forward(x)


def louder(linear):
    twin = Loud(linear.in_features, linear.out_features, linear.bias is not None)
    twin.load_state_dict(linear.state_dict())
    return twin


@pytest.mark.parametrize("replace", [Adapted, louder], ids=["wrapped", "subclass"])
def test_a_replaced_part_is_named_and_not_copied(replace):
    where = "encoder.layers.1.self_attn.q_proj"
    builds = {text_tower: TextTower, vision_tower: VisionTower}
    for find, build in builds.items():
        model = tiny_clip(0)
        attention = find(model).encoder.layers[1].self_attn
        attention.q_proj = replace(attention.q_proj)
        said = rf"tower\.{where} computes with test_carried\.\w+, .*merge_and_unload\(\)"
        for whole in (build, CLIP):
            with pytest.raises(TypeError, match=said):
                whole.from_transformers(model)
        for other in builds.values():
            if other is not build:
                other.from_transformers(model)  # nothing was replaced there
    model = tiny_clip(0)
    model.text_projection = replace(model.text_projection)
    with pytest.raises(TypeError, match=r"text_projection computes with"):
        CLIP.from_transformers(model)


def test_so_is_a_forward_of_one_s_own_and_a_weight_of_another_type():
    model = tiny_clip(0)
    norm = vision_tower(model).post_layernorm
    norm.forward = lambda x: x
    with pytest.raises(TypeError, match=r"vision tower\.post_layernorm computes with"):
        VisionTower.from_transformers(model)
    del norm.forward
    VisionTower.from_transformers(model)

    class Quantised(nn.Parameter):
        pass

    norm.weight = Quantised(norm.weight.detach())
    with pytest.raises(TypeError, match=r"post_layernorm has weights of type .*Quantised"):
        VisionTower.from_transformers(model)


def test_a_tower_that_was_compiled_is_named():
    model = tiny_text(0)
    with pytest.raises(TypeError, match=r"OptimizedModule, .*model\._orig_mod"):
        TextTower.from_transformers(torch.compile(text_tower(model)))


# Weights that are elsewhere


def test_an_offloaded_model_says_so_and_comes_back(twin):
    picture = Image.new("RGB", (8, 8), "red")
    before = twin.encode_text(["a tulip"]), twin.encode_image([picture])
    accelerate.cpu_offload(twin.model, execution_device=torch.device("cpu"))
    for use in (
        lambda: twin.encode_text(["a tulip"]),
        lambda: twin.encode_image([picture]),
        lambda: twin.classify([picture], ["tulip"]),
        lambda: TextTower.from_transformers(twin.model),
        lambda: VisionTower.from_transformers(twin.model),
        lambda: CLIP.from_transformers(twin.model),
    ):
        with pytest.raises(ValueError, match=r"not in memory.*meta.*remove_hook_from_module"):
            use()
    accelerate.hooks.remove_hook_from_module(twin.model, recurse=True)  # as the message says
    assert_close("texts", twin.encode_text(["a tulip"]), before[0])
    assert_close("pictures", twin.encode_image([picture]), before[1])
    CLIP.from_transformers(twin.model)


def test_hooks_that_keep_the_weights_here_do_no_harm():
    model, images = tiny_clip(0), pixels(tiny_clip(0).config.vision_config, 0)
    ids = torch.tensor([[1, 7, 2, 19, 3, 0], [1, 19, 3, 2, 3, 0]])
    expected = CLIP.from_transformers(model)(ids, images).logits_per_image
    accelerate.hooks.add_hook_to_module(
        model.text_projection, accelerate.hooks.AlignDevicesHook("cpu")
    )
    assert_close("logits", CLIP.from_transformers(model)(ids, images).logits_per_image, expected)


def test_a_model_of_shapes_alone_is_copied_as_one_and_computes_nothing(twin):
    with torch.device("meta"):
        model = CLIPModel(tiny_clip(0).config)
    assert TextTower.from_transformers(model).final_layer_norm.weight.is_meta
    with pytest.raises(ValueError, match=r"logit_scale of this .* not in memory"):
        check_here(model)
    twin.model = model
    with pytest.raises(ValueError, match="or because they were never loaded"):
        twin.encode_text(["a tulip"])
