"""Break each stage of a copy of the package: the chapter that explains it must stop."""

import os
import shutil
from typing import NamedTuple

import pytest

from _tools import chapters
from repository import ROOT
from shapes_said import HOOK
from warmed import Warmed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the chapters run in forks of a process"),
]


class Break(NamedTuple):
    file: str  # below clipnotes/
    old: str
    new: str
    chapter: str  # how its name begins


BREAKS = {
    "patches of 16 in ViT-L/14-336": Break(
        "model/real_clips.py", "336, 14, 24, 1024", "336, 16, 24, 1024", "01"
    ),
    "heads of 32 in the real CLIPs": Break(
        "model/real_clips.py", "HEAD_WIDTH = 64", "HEAD_WIDTH = 32", "01"
    ),
    "the right id for the end of OpenAI's texts": Break(
        "model/real_clips.py", '"eos_token_id": 2}', '"eos_token_id": 49407}', "01"
    ),
    "no class token": Break("model/vision.py", "cat([class_token,", "cat([class_token * 0,", "02"),
    "class token at the end": Break(
        "model/vision.py", "([class_token, patches]", "([patches, class_token]", "02"
    ),
    "no positions": Break(
        "model/vision.py",
        "return tokens + self.position",
        "return tokens + 0 * self.position",
        "02",
    ),
    "patches column by column": Break(
        "model/vision.py",
        "patches = patches.flatten(2)",
        "patches = patches.transpose(2, 3).flatten(2)",
        "02",
    ),
    "positions stretched bilinearly": Break(
        "model/vision.py", 'mode="bicubic"', 'mode="bilinear"', "02"
    ),
    "no scale": Break("model/encoder.py", "self.head_dim**-0.5", "1.0", "03"),
    "gelu for quick_gelu": Break(
        "model/encoder.py", "return x * torch.sigmoid(1.702 * x)", "return F.gelu(x)", "03"
    ),
    "no norm before attention": Break(
        "model/encoder.py", "self.layer_norm1(hidden_states), mask", "hidden_states, mask", "03"
    ),
    "no norm before the MLP": Break(
        "model/encoder.py",
        "self.mlp(self.layer_norm2(hidden_states))",
        "self.mlp(hidden_states)",
        "03",
    ),
    "heads of every so many channels": Break(
        "model/encoder.py",
        "x = x.unflatten(-1, (self.num_heads, self.head_dim))",
        "x = x.unflatten(-1, (self.head_dim, self.num_heads)).transpose(-1, -2)",
        "03",
    ),
    "the MLP replaces the stream": Break(
        "model/encoder.py",
        "hidden_states = hidden_states + self.mlp(",
        "hidden_states = self.mlp(",
        "03",
    ),
    "the first state is not kept": Break(
        "model/encoder.py",
        "all_states, all_weights = [hidden_states]",
        "all_states, all_weights = []",
        "04",
    ),
    "checkpointing in name only": Break(
        "model/encoder.py",
        "again = self.gradient_checkpointing and self.training",
        "again = False",
        "04",
    ),
    "no norm before the encoder": Break(
        "model/vision.py", "tokens = self.pre_layrnorm(tokens)", "tokens = tokens", "05"
    ),
    "pooled at the last token": Break(
        "model/vision.py",
        "self.post_layernorm(last_hidden_state[:, 0])",
        "self.post_layernorm(last_hidden_state[:, -1])",
        "05",
    ),
    "the last norm on everything": Break(
        "model/vision.py",
        "pooler_output = self.post_layernorm(last_hidden_state[:, 0])",
        "last_hidden_state = self.post_layernorm(last_hidden_state)\n"
        "        pooler_output = last_hidden_state[:, 0]",
        "05",
    ),
    "no unit length": Break(
        "model/clip.py", "return x / x.square().sum(dim=-1, keepdim=True).sqrt()", "return x", "06"
    ),
    "the loss asks in one direction": Break(
        "model/clip.py",
        "+ F.cross_entropy(logits.T, right)) / 2",
        "+ F.cross_entropy(logits, right)) / 2",
        "06",
    ),
    "the scale without exp": Break(
        "model/clip.py", "cosines * self.logit_scale.exp()", "cosines * self.logit_scale", "06"
    ),
    "no mask": Break("model/masks.py", "device=device).tril()", "device=device)", "07"),
    "padding is not masked": Break(
        "model/masks.py",
        "visible = visible & attention_mask.bool()[:, None, None, :]",
        "visible = visible",
        "07",
    ),
    "no norm before the text is pooled": Break(
        "model/text.py",
        "last_hidden_state = self.final_layer_norm(encoded)",
        "last_hidden_state = encoded",
        "07",
    ),
    "the last EOS": Break(
        "model/text.py",
        "(input_ids == eos_token_id).int().argmax(dim=-1)",
        "input_ids.shape[-1] - 1 - (input_ids == eos_token_id).int().flip(-1).argmax(dim=-1)",
        "07",
    ),
    "a cache in which the farthest is the loudest": Break(
        "prompts/methods/tip.py",
        "near = torch.exp(-self.beta * (1 - cosines))",
        "near = torch.exp(self.beta * (1 - cosines))",
        "11",
    ),
    "no bias for the image": Break(
        "prompts/methods/cocoop.py",
        "ctxs = self.ctx + bias.unsqueeze(1)",
        "ctxs = self.ctx + 0 * bias.unsqueeze(1)",
        "11",
    ),
    "maps the wrong way round": Break(
        "prompts/methods/maple.py",
        "return self.ctx @ self.weight.mT",
        "return self.ctx @ self.weight",
        "11",
    ),
    "prompts that stay in the vision tower": Break(
        "prompts/deep.py",
        "stack.callback(embeddings.register_forward_hook(insert).remove)",
        "embeddings.register_forward_hook(insert)",
        "11",
    ),
    "no leash": Break("prompts/methods/kgcoop.py", "return self.weight * (", "return 0 * (", "11"),
    "the opened layer looks ahead": Break(
        "model/opened.py", "attn_mask=mask", "attn_mask=None", "10"
    ),
    "the prefix offers nothing": Break(
        "model/opened.py",
        "torch.cat([before[1], values], 1)",
        "torch.cat([0 * before[1], values], 1)",
        "10",
    ),
    "no gradient through the prefix": Break(
        "model/opened.py",
        "kept.append((keys, values))",
        "kept.append((keys.detach(), values.detach()))",
        "10",
    ),
    "rollout without the residual stream": Break(
        "looking.py", "product = (mean + identity) / 2 @ product", "product = mean @ product", "12"
    ),
    "the lens without the last norm": Break(
        "compat/families/base.py",
        "(tower.post_layernorm(states[:, 0]))",
        "(states[:, 0])",
        "12",
    ),
    "the wrong patches are kept": Break(
        "looking.py", "kept + front], dim=1)", "kept], dim=1)", "12"
    ),
    "only texts look for images": Break(
        "model/clip.py",
        "return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2",
        "return F.cross_entropy(logits, right)",
        "13",
    ),
    "a context written into the caller's tensor": Break(
        "prompts/substitute.py", "return embeddings.scatter(", "return embeddings.scatter_(", "08"
    ),
    "no positions behind the context": Break(
        "prompts/embeddings.py",
        "return embeddings + self.position_embedding(position_ids)",
        "return embeddings",
        "08",
    ),
    "nothing frozen": Break(
        "prompts/replaced.py", "model.requires_grad_(False)", "model.requires_grad_(True)", "08"
    ),
    "a hook that stays": Break("prompts/embeddings.py", "handle.remove()", "pass", "08"),
    "logits of a prompt without the scale": Break(
        "prompts/methods/coop.py",
        "return compat.logits(self.clip.model, image_features.to(features) @ features.T)",
        "return image_features.to(features) @ features.T",
        "09",
    ),
    "each name chooses among the images": Break(
        "checkpoints.py", "@ texts.T).softmax(dim=-1)", "@ texts.T).softmax(dim=0)", "14"
    ),
    "a probe that weighs all patches alike": Break(
        "model/siglip.py",
        "weights = scores.softmax(dim=-1)",
        "weights = scores.mul(0).softmax(dim=-1)",
        "15",
    ),
    "a sigmoid loss without the bias": Break(
        "model/siglip.py", "* scale + bias  #", "* scale  #", "15"
    ),
    "SigLIP's texts without their head": Break(
        "compat/families/siglip.py",
        "return output[1]  # (B, P)\n\n    def vision_tower",
        "return output[0][:, -1]\n\n    def vision_tower",
        "15",
    ),
    "patches of the last layer for a language model": Break(
        "model/llava.py", "feature_layer=config.vision_feature_layer", "feature_layer=-1", "16"
    ),
    "a projector without its GELU": Break(
        "model/llava.py", "F.gelu(self.linear_1(patches))", "self.linear_1(patches)", "16"
    ),
    "patches spliced in from behind": Break(
        "model/llava.py", "= patches.flatten(0, 1)", "= patches.flip(1).flatten(0, 1)", "16"
    ),
    "an answer that begins one token too early": Break(
        "model/llava.py", "self._logits(inputs)[:, -1]", "self._logits(inputs)[:, -2]", "16"
    ),
}

CHAPTERS = {path.name[:2]: path for path in chapters.chapters()}


@pytest.fixture(scope="module")
def warmed():
    """The program that runs the chapters."""
    program = Warmed(ROOT / "book")
    yield program
    program.close()


def copied(folder, edit=None):
    """A copy of the package, broken or not; what is not edited is linked."""
    package = folder / "clipnotes"
    package.mkdir()
    name = "model" if edit is None else edit.file.split("/")[0]
    for path in (ROOT / "clipnotes").iterdir():
        if path.name != name:
            (package / path.name).symlink_to(path)
    if name.endswith(".py"):
        shutil.copy(ROOT / "clipnotes" / name, package / name)
    else:
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "clipnotes" / name, package / name, ignore=without)
    if edit is not None:
        text = (package / edit.file).read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"{edit.old!r} is not in {edit.file} once"
        (package / edit.file).write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return folder


# The whole runs first, since they are the longest.
@pytest.mark.parametrize("number", CHAPTERS)
def test_unbroken_it_comes_through_and_shapes_are_what_it_says(number, tmp_path, warmed):
    ran = warmed.run(copied(tmp_path), CHAPTERS[number], before=HOOK)
    assert ran == ("came through", [])


@pytest.mark.parametrize("name", BREAKS)
def test_a_chapter_stops_at(name, tmp_path, warmed):
    edit = BREAKS[name]
    ending, _ = warmed.run(copied(tmp_path, edit), CHAPTERS[edit.chapter])
    assert ending == "stopped by AssertionError"
