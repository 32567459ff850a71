"""What was learned on one family is saved with it, loaded with it, and refused by every other."""

import json

import pytest
import torch

import clipnotes
from clipnotes import compat
from clipnotes.prompts import VPT, PromptLearner, load_prompt
from clipnotes.prompts.saved import identity
from families import NAMES, tiny_clip
from reference import assert_close

pytestmark = pytest.mark.filterwarnings("ignore:prompts take the plain path")
CLASSES = ["rose", "red dog"]


def learned(clip, kind=PromptLearner):
    learner = kind(clip, CLASSES, 2)
    with torch.no_grad():
        learner.ctx += 0.5
    return learner


@pytest.mark.parametrize("kind", [PromptLearner, VPT])
@pytest.mark.parametrize("name", NAMES)
def test_it_comes_back_with_its_own_model_and_no_other(name, kind, tmp_path):
    learner = learned(tiny_clip(name), kind)
    learner.save(tmp_path)
    loaded = load_prompt(tmp_path, tiny_clip(name))
    assert type(loaded) is kind and loaded.classnames == CLASSES
    assert torch.equal(loaded.ctx, learner.ctx)
    assert_close("classes", loaded(), learner())
    with pytest.raises(ValueError, match=r"the prompt was learned with the text tower \w+ of"):
        load_prompt(tmp_path, tiny_clip(name, seed=1))
    with pytest.raises(ValueError, match=r"vectors of 12 numbers .* have 24; load the model"):
        load_prompt(tmp_path, tiny_clip(name, "larger"))
    another = "ChineseCLIP" if name == "Siglip" else "Siglip"  # of the same width
    with pytest.raises(ValueError, match=r"the prompt was learned with the text tower \w+ of"):
        load_prompt(tmp_path, tiny_clip(another))


@pytest.mark.parametrize("name", NAMES)
def test_a_card_sees_every_weight_that_decides(name):
    clip = tiny_clip(name)
    model = clip.model
    for kind, digest in (
        ("text", identity.text_tower_digest),
        ("vision", identity.vision_tower_digest),
    ):
        digests, tables = {digest(model)}, {identity.tables_digest(model, kind)}
        probe = identity.probe(model, kind)
        assert len(set(probe)) > 4 and identity.distance(identity.probe(model, kind), probe) == 0
        last = {"text": "text_projection.weight", "vision": "visual_projection.weight"}[kind]
        if name == "Siglip":
            last = {"text": "text_model.head.bias", "vision": "vision_model.head.probe"}[kind]
        weights = dict(model.named_parameters())
        table = next(weight for key, weight in weights.items() if f"{kind}_model" in key)
        for weight in (weights[last], table):
            with torch.no_grad():
                weight += 0.1 * torch.randn_like(weight)
            digests.add(digest(model))
        tables.add(identity.tables_digest(model, kind))
        assert len(digests) == 3 and len(tables) == 2
        assert identity.distance(identity.probe(model, kind), probe) > 1e-3


def test_weights_have_one_name_in_every_version():
    """The digest counts names, and transformers has given some of them new ones."""
    alt, dual = tiny_clip("AltCLIP").model, tiny_clip("VisionTextDualEncoder").model
    names = {*compat.family_of(alt).text_weights(alt)}
    assert {"roberta.encoder.layers.1.attention.self.query.bias", "text_projection.weight"} < names
    names = {*compat.family_of(dual).vision_weights(dual)}
    parts = ["attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"]
    parts += ["layernorm_before", "layernorm_after", "mlp.fc1", "mlp.fc2"]
    wanted = {f"layers.1.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert wanted == {name for name in names if name.startswith("layers.1.")}
    assert not any("encoder" in name for name in names)


def test_another_activation_is_seen(tmp_path):
    learned(tiny_clip("Siglip")).save(tmp_path)
    other = tiny_clip("Siglip")
    other.model.text_model.encoder.layers[0].mlp.activation_fn = torch.nn.ReLU()
    with pytest.raises(ValueError, match="computes something else"):
        PromptLearner.load(tmp_path, other)


@pytest.mark.parametrize("name", ["Siglip", "ChineseCLIP"])
def test_coops_own_checkpoints_are_of_clip(name, tmp_path):
    path = tmp_path / "model.pth.tar-1"
    torch.save({"state_dict": {"ctx": torch.zeros(4, 12)}}, path)
    with pytest.raises(ValueError, match=r"CoOp's program learns with CLIP, and this model is of"):
        PromptLearner.from_coop(path, tiny_clip(name), CLASSES)


def test_the_loss_is_on_the_card_only_if_it_is_not_the_usual_one(tmp_path):
    from clipnotes.prompts.methods import PUBLISHED
    from clipnotes.prompts.methods.published import Settings

    clip = tiny_clip("Siglip")
    coop, images = PUBLISHED["coop"], torch.eye(12)[:2]
    for recipe in ({"epochs": 1}, {"epochs": 1, "loss": "sigmoid"}):
        settings = Settings("a {}", options={"n_ctx": 2}, recipe=recipe)
        trained = coop.train(coop.make(clip, CLASSES, settings), images, [0, 1], settings)
        folder = tmp_path / recipe.get("loss", "usual")
        trained.learner.save(folder, recipe=trained.recipe)
        card = json.loads((folder / "card.json").read_text())
        assert card["recipe"].get("loss") == recipe.get("loss")
    assert isinstance(clip, clipnotes.Clip)
