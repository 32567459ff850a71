"""Other families, wrapped layers, weights elsewhere: the same numbers as transformers, or a no."""

import copy

import accelerate
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from torch import nn
from transformers import CLIPModel, CLIPTextModel

import clipnotes
from clipnotes.compat import text_features, text_projection, text_tower, vision_tower
from clipnotes.compat.carried import (
    TEXT,
    VISION,
    check_copyable,
    check_here,
    end_rule,
    family,
    text_ends,
)
from clipnotes.explorer import explore_text
from clipnotes.model import CLIP, TextTower, VisionTower, eos_positions
from clipnotes.prompts import LearnableTextEmbeddings, PromptLearner, ZeroShot, inject
from pages import data_of
from reference import assert_close, pixels, randomise, tiny_clip
from reference_text import tiny_text

HERE = Version(transformers.__version__)
# Which family has CLIP's text tower, its vision tower, all of CLIP.
FAMILIES = {
    "AltCLIP": ("altclip", False, True, False),
    "CLIP": ("clip", True, True, True),
    "CLIPSeg": ("clipseg", True, True, True),
    "ChineseCLIP": ("chinese_clip", False, True, False),
    "GroupViT": ("groupvit", True, False, False),
    "OwlViT": ("owlvit", True, False, False),
    "Owlv2": ("owlv2", True, False, False),
    "Siglip": ("siglip", False, False, False),
    "XCLIP": ("x_clip", True, False, False),
}
if Version("4.56") <= HERE:  # older ones do not know it
    FAMILIES["MetaClip2"] = ("metaclip_2", True, True, True)
SIZES = {
    "hidden_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "hidden_act": "gelu",
}
PICTURE = {"image_size": 8, "patch_size": 4}
GROUPS = {"depths": [1, 1, 1], "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 0]}
FRAMES = {"mit_hidden_size": 12, "mit_num_attention_heads": 2, "num_frames": 2}
# 2 and 3 may be the end, 19 is the largest id. Each rule reads these out at places of its own.
IDS = torch.tensor([[1, 7, 2, 19, 3, 0], [1, 19, 3, 2, 3, 0], [1, 5, 6, 7, 19, 2]])


def tiny_of(name, eos_token_id):
    """A small random model of a family."""
    text = {"vocab_size": 20, "max_position_embeddings": 9, "eos_token_id": eos_token_id}
    vision = PICTURE | (GROUPS if name == "GroupViT" else FRAMES if name == "XCLIP" else {})
    more = {"prompt_num_attention_heads": 2} if name == "XCLIP" else {}
    config = getattr(transformers, f"{name}Config")(
        text_config=SIZES | text | {"bos_token_id": 1, "pad_token_id": 0},
        vision_config=SIZES | vision,
        projection_dim=6,
        **more,
    )
    return randomise(getattr(transformers, f"{name}Model")(config), 1)


@pytest.fixture
def twin(clip):
    """A copy of Emoji-CLIP that a test may spoil."""
    return clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)


# The families


def test_the_families_are_those_that_are_tried_here():
    kinds = FAMILIES | {"MetaClip2": ("metaclip_2", True, True, True)}
    assert {kind for kind, text, _, _ in kinds.values() if text} == TEXT
    assert {kind for kind, _, vision, _ in kinds.values() if vision} == VISION
    assert hasattr(transformers, "MetaClip2Model") == ("MetaClip2" in FAMILIES)


@pytest.mark.parametrize("eos_token_id", [2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_copied_with_its_numbers_or_refused(name, eos_token_id):
    model = tiny_of(name, eos_token_id)
    kind, has_text, has_vision, is_clip = FAMILIES[name]
    assert family(model) == kind
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if has_text:
            theirs = text_tower(model)(input_ids=IDS)
            ours = TextTower.from_transformers(model)(IDS)
            assert_close("states", ours.last_hidden_state, theirs[0])
            assert_close("pooled", ours.pooler_output, theirs[1])
        else:
            with pytest.raises(TypeError, match=r"no CLIP text tower|not compute as CLIP's"):
                TextTower.from_transformers(model)
        if has_vision:
            theirs = vision_tower(model)(pixel_values=images)
            ours = VisionTower.from_transformers(model)(images)
            assert_close("states", ours.last_hidden_state, theirs[0])
            assert_close("pooled", ours.pooler_output, theirs[1])
        else:
            with pytest.raises(TypeError, match=r"no CLIP vision tower"):
                VisionTower.from_transformers(model)
        if is_clip:
            theirs = model(input_ids=IDS, pixel_values=images)
            ours = CLIP.from_transformers(model)(IDS, images)
            assert_close("logits", ours.logits_per_image, theirs.logits_per_image)
        else:
            with pytest.raises(TypeError):
                CLIP.from_transformers(model)


@pytest.mark.parametrize("eos_token_id", [2, 3])
@pytest.mark.parametrize("name", [name for name, kind in FAMILIES.items() if kind[1]])
def test_where_a_family_reads_a_text_out(name, eos_token_id):
    tower = text_tower(tiny_of(name, eos_token_id))
    with torch.no_grad():
        states, pooled = tower(input_ids=IDS)[:2]
    found = eos_positions(IDS, *end_rule(tower))
    assert_close("pooled", states[torch.arange(3), found], pooled)
    largest = [3, 1, 4]
    if name in ("OwlViT", "Owlv2", "XCLIP") or (eos_token_id == 2 and name != "MetaClip2"):
        assert found.tolist() == largest
    else:
        assert found.tolist() == {2: [2, 3, 5], 3: [4, 2, 0]}[eos_token_id]


@pytest.mark.parametrize("name", [name for name, kind in FAMILIES.items() if kind[1]])
def test_vectors_are_injected_into_a_family_and_never_where_it_reads_out(name):
    model = tiny_of(name, 3)
    tower, ids = text_tower(model), IDS[1:2]  # the largest id at 1, 3 at 2
    vectors = tower.embeddings.token_embedding.weight[ids[0, 3:5]].detach()
    with torch.no_grad():
        plain = tower(input_ids=ids)[0]
        with inject(model, vectors, start=3):
            assert_close("states", tower(input_ids=ids)[0], plain)
    end = 1 if name in ("OwlViT", "Owlv2", "XCLIP") else 2
    with (
        inject(model, vectors, start=end),
        pytest.raises(ValueError, match=f"text 0 ends at place {end}"),
    ):
        tower(input_ids=ids)


def test_into_a_family_that_is_not_known_nothing_is_injected():
    model = tiny_of("Siglip", 3)
    ctx = torch.zeros(2, 12)
    said = r"a SiglipText\w+ reads a text out is not known here.* clip, "
    with pytest.raises(TypeError, match=said), inject(model, ctx):
        pass
    with pytest.raises(TypeError, match=said):
        LearnableTextEmbeddings.replace(model)
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(TypeError, match=r"family that|not compute as CLIP's.*: altclip, chinese_"):
        check_copyable(text_tower(model), "tower", VISION)


def test_a_tower_that_does_not_know_its_end_token_says_so():
    ctx = torch.zeros(2, 12)
    model = tiny_of("CLIP", 3)
    tower = text_tower(model)
    for nothing in (None, "3"):
        tower.eos_token_id = nothing
        for use in (TextTower.from_transformers, lambda m: inject(m, ctx).__enter__()):
            with pytest.raises(ValueError, match=rf"eos_token_id {nothing!r}.*set model\.text_mod"):
                use(model)
    del tower.eos_token_id
    with pytest.raises(ValueError, match="eos_token_id None"):
        end_rule(tower)
    tower.eos_token_id = 3  # as the message says
    with inject(model, ctx):
        tower(input_ids=torch.tensor([[1, 5, 6, 3]]))


def test_of_a_subclass_the_code_that_it_runs_counts():
    class Named(CLIPTextModel):
        pass

    class Other(CLIPTextModel):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    config = tiny_text(0).config
    assert family(Named(config)) == "clip" and family(Other(config)) is None
    assert family(torch.compile(nn.Linear(2, 2))) is None
    TextTower.from_transformers(Named(config))
    model = Other(config)
    if text_tower(model) is model:  # in older versions the tower inside is transformers' own
        with pytest.raises(TypeError, match=r"text tower computes with .*Other, not as transf"):
            TextTower.from_transformers(model)


@pytest.mark.parametrize("name", ["CLIPSeg", "OwlViT"] + ["MetaClip2"] * ("MetaClip2" in FAMILIES))
def test_prompts_on_another_family_are_its_own_texts(clip, name):
    """Its tokenizer's end token decides, as for CLIP: here Emoji-CLIP's, with the same ids."""
    text = clip.model.config.text_config
    model = tiny_of(name, 2)
    tower = text_tower(model)
    generator = torch.Generator().manual_seed(2)
    for table in ("token_embedding", "position_embedding"):
        rows = torch.randn(text.vocab_size, 12, generator=generator)
        setattr(tower.embeddings, table, nn.Embedding.from_pretrained(rows))
    tower.embeddings.position_ids = torch.arange(text.vocab_size)[None]
    both = clipnotes.Clip(model, clip.tokenizer, clip.image_processor)
    model.config.text_config.max_position_embeddings = 32
    learner = PromptLearner(both, ["rose", "tulip"], init="a photo of a", fast=False)
    plain = both.encode_text(["a photo of a rose.", "a photo of a tulip."])
    assert_close("features", learner(), plain)


def test_a_projection_that_is_no_matrix_is_no_projection_of_clip(clip):
    model = tiny_of("GroupViT", 3)
    assert text_features(model, IDS).shape == (3, 6)  # its own, as it computes it
    with pytest.raises(TypeError, match="text_projection of a GroupViTModel is a Sequential"):
        text_projection(model)
    other = clipnotes.Clip(model, clip.tokenizer, clip.image_processor)
    with pytest.raises(TypeError, match="is a Sequential"):
        PromptLearner(other, ["rose", "tulip"])


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
    assert data_of(explore_text(added, texts[0], layers=[0]).html)["eos"] == ends[0]


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
    expected = CLIP.from_transformers(model)(IDS, images).logits_per_image
    accelerate.hooks.add_hook_to_module(
        model.text_projection, accelerate.hooks.AlignDevicesHook("cpu")
    )
    assert_close("logits", CLIP.from_transformers(model)(IDS, images).logits_per_image, expected)


def test_a_model_of_shapes_alone_is_copied_as_one_and_computes_nothing(twin):
    with torch.device("meta"):
        model = CLIPModel(tiny_clip(0).config)
    assert TextTower.from_transformers(model).final_layer_norm.weight.is_meta
    with pytest.raises(ValueError, match=r"logit_scale of this .* not in memory"):
        check_here(model)
    twin.model = model
    with pytest.raises(ValueError, match="or because they were never loaded"):
        twin.encode_text(["a tulip"])
