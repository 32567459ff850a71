"""What is read off a model that ran, against plain loops and against the model itself."""

import copy

import pytest
import torch
from torch.nn.functional import normalize

from clipnotes import compat, looking
from clipnotes.model import CLIP
from reference import assert_close, pixels, tiny_clip


@pytest.fixture(scope="module")
def model():
    return tiny_clip(3).eval()


@pytest.fixture(scope="module")
def pixel_values(model):
    return pixels(model.config.vision_config, 0)


@pytest.fixture(scope="module")
def states(model, pixel_values):
    with torch.no_grad():
        return compat.vision_states(model, pixel_values)


@pytest.fixture(scope="module")
def texts(model):
    generator = torch.Generator().manual_seed(1)
    return normalize(torch.randn(5, model.config.projection_dim, generator=generator), dim=-1)


def random_attention(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)).softmax(-1)


def test_what_belongs_to_the_patches_lies_row_by_row():
    assert torch.equal(
        looking.on_grid(torch.arange(18).view(2, 9))[1, 2], torch.tensor([15, 16, 17])
    )
    for many in (0, 10):
        with pytest.raises(ValueError, match=f"{many} values do not fill a square.*grid_of"):
            looking.on_grid(torch.zeros(2, many))


def test_a_picture_that_is_not_square_has_the_grid_that_it_is_given():
    values = torch.arange(16)
    assert looking.on_grid(values, (2, 8)).tolist() == [[*range(8)], [*range(8, 16)]]
    assert looking.on_grid(values, (8, 2))[1].tolist() == [2, 3]
    for grid in ((4, 5), (0, 0), (-4, -4)):
        with pytest.raises(ValueError, match=f"16 values do not fill a grid of {grid[0]} x"):
            looking.on_grid(values, grid)


def test_the_grid_is_that_of_the_pixels(model):
    for size, grid in (((8, 8), (2, 2)), ((4, 16), (1, 4)), ((15, 9), (3, 2))):
        pixel_values = pixels(model.config.vision_config, 0, size=size)
        assert looking.grid_of(model, pixel_values) == grid
        with torch.no_grad():
            states = compat.vision_states(model, pixel_values, interpolate_pos_encoding=True)
        assert states.last_hidden_state.shape[1] == 1 + grid[0] * grid[1]
    with pytest.raises(TypeError, match="no CLIP vision tower"):
        looking.grid_of(torch.nn.Linear(2, 2), pixel_values)


def test_maps_of_a_picture_that_is_not_square_lie_as_the_picture_does(model, texts):
    """4 x 16 pixels are 1 x 4 patches, as many as in a square of 2 x 2."""
    wide = pixels(model.config.vision_config, 0, size=(4, 16))
    grid = looking.grid_of(model, wide)
    with torch.no_grad():
        states = compat.vision_states(model, wide, interpolate_pos_encoding=True)
        hidden = states.last_hidden_state
        maps = looking.patch_text_maps(model, hidden, texts, grid)
        assert maps.shape == (2, 5, 1, 4)
        for column in range(4):
            vectors = looking.shared_vectors(model, hidden[:, 1 + column])
            assert_close("column", maps[:, :, 0, column], vectors @ texts.T)


@pytest.mark.parametrize("grid", [None, (2, 3), (3, 2), (1, 4)])
def test_attention_by_offset_is_a_mean_over_the_pairs_that_stand_so(grid):
    rows, columns = grid or (3, 3)  # a square unless it is said
    attention = random_attention(2, 3, 1 + rows * columns, 1 + rows * columns)
    found = looking.by_offset(attention, grid)
    assert found.shape == (3, 2 * rows - 1, 2 * columns - 1)
    for down in range(1 - rows, rows):
        for right in range(1 - columns, columns):
            pairs = [
                attention[:, :, 1 + y * columns + x, 1 + (y + down) * columns + x + right]
                for y in range(rows)
                for x in range(columns)
                if 0 <= y + down < rows and 0 <= x + right < columns
            ]
            mean = torch.stack(pairs).mean((0, 1))  # over pairs and images
            at = found[:, rows - 1 + down, columns - 1 + right]
            assert_close(f"offset {down}, {right}", at, mean)


def test_attention_by_offset_names_what_it_cannot_take():
    attention = random_attention(2, 3, 10, 10)
    with pytest.raises(ValueError, match="do not fill a square"):
        looking.by_offset(attention[..., :9, :9])
    with pytest.raises(ValueError, match=r"of shape \(10, 10\)"):
        looking.by_offset(attention[0, 0])
    with pytest.raises(TypeError, match="is a NoneType"):
        looking.by_offset(None)


def test_rollout_adds_up_all_ways_through_the_layers():
    attentions = random_attention(3, 2, 2, 4, 4)  # 3 layers, 2 images, 2 heads, 4 tokens
    found = looking.rollout(tuple(attentions))
    for picture in range(2):
        step = [(a[picture].mean(0) + torch.eye(4)) / 2 for a in attentions]
        for end in range(4):
            for start in range(4):
                ways = sum(
                    step[2][end, j] * step[1][j, i] * step[0][i, start]
                    for i in range(4)
                    for j in range(4)
                )
                assert found[picture, end, start] == pytest.approx(ways.item(), abs=1e-6)
    assert_close("rows", found.sum(-1), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"no layer.*vision_states"):
        looking.rollout(())  # what newer versions give under SDPA
    for nothing in (None, (None, None), [*attentions[:2], None]):  # what older ones give
        with pytest.raises(TypeError, match=r"is a NoneType.*SDPA.*vision_states.*eager"):
            looking.rollout(nothing)
    with pytest.raises(ValueError, match=r"of shape \(4, 4\)"):
        looking.rollout(list(attentions[0, 0]))


def test_logits_of_each_layer_are_those_of_a_tower_that_ends_there(
    model, pixel_values, states, texts
):
    """The reference is transformers' own model with its upper layers taken away."""
    with torch.no_grad():
        found = looking.logits_by_layer(model, states.hidden_states, texts)
    n_layers = len(states.attentions)
    assert found.shape == (n_layers + 1, 2, 5)
    for passed in range(n_layers + 1):
        short = copy.deepcopy(model)
        encoder = compat.vision_tower(short).encoder
        encoder.layers = encoder.layers[:passed]
        with torch.no_grad():
            vectors = normalize(compat.image_features(short, pixel_values), dim=-1)
            assert_close(
                f"{passed} layers", found[passed], short.logit_scale.exp() * vectors @ texts.T
            )


def test_each_patch_is_compared_with_each_text(model, states, texts):
    tower, hidden = compat.vision_tower(model), states.hidden_states[-2]
    with torch.no_grad():
        found = looking.patch_text_maps(model, hidden, texts)
        side = int((hidden.shape[1] - 1) ** 0.5)
        assert found.shape == (2, 5, side, side)
        for row in range(side):
            for column in range(side):
                patch = tower.post_layernorm(hidden[1, 1 + row * side + column])
                cosine = texts @ normalize(model.visual_projection(patch), dim=0)
                assert_close(f"patch {row}, {column}", found[1, :, row, column], cosine)


def test_pictures_from_some_patches_are_pictures_with_the_others_masked(model, pixel_values):
    """Our own tower, with a mask that lets no token look at a patch that is left out."""
    ours = CLIP.from_transformers(model).vision_model
    n_patches = ours.embeddings.position_embedding.num_embeddings - 1
    kept = torch.tensor([[0, n_patches - 1, 2], [3, 1, 2]])
    with torch.no_grad():
        found = looking.features_from(model, pixel_values, kept)
        mask = torch.full((2, 1, 1, n_patches + 1), -torch.inf)
        for picture in range(2):
            mask[picture, 0, 0, [0, *(kept[picture] + 1)]] = 0
        last = ours.encoder(ours.pre_layrnorm(ours.embeddings(pixel_values)), mask)[0]
        pooled = ours.post_layernorm(last[:, 0])
        assert_close("some", found, normalize(model.visual_projection(pooled), dim=-1))
        everything = torch.arange(n_patches).expand(2, -1)
        whole = normalize(compat.image_features(model, pixel_values), dim=-1)
        assert_close("all", looking.features_from(model, pixel_values, everything), whole)
        nothing = looking.features_from(model, pixel_values, everything[:, :0])
    assert_close("none", nothing[0], nothing[1])
    assert (nothing - found).abs().max() > 0.01


def test_patches_that_are_not_there_are_refused(model, pixel_values):
    with pytest.raises(ValueError, match=r"kept is \(3, 1\); 2 images need \(2, how many stay\)"):
        looking.features_from(model, pixel_values, torch.zeros(3, 1, dtype=torch.long))
    n_patches = compat.vision_tower(model).embeddings.num_patches
    for wrong in (-1, n_patches):
        with pytest.raises(ValueError, match=f"there are 0 to {n_patches - 1}"):
            looking.features_from(model, pixel_values, torch.tensor([[0], [wrong]]))


def test_a_model_without_a_projection_is_named(model):
    with pytest.raises(TypeError, match="visual_projection"):
        looking.shared_vectors(compat.vision_tower(model), torch.zeros(1, 8))


def test_gradients_pass(model, pixel_values, texts):
    free = pixel_values.clone().requires_grad_()
    states = compat.vision_states(model, free)
    looking.logits_by_layer(model, states.hidden_states, texts).sum().backward()
    assert free.grad.abs().max() > 0
