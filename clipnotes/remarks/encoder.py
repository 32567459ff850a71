"""What both towers have in common: attention, the MLP, a layer, and the loop over the layers."""

from clipnotes.remarks.places import Remark, at, either

MLP: list[Remark] = [
    at(
        "CLIPMLP.forward: hidden_states = self.fc1",
        "Each token becomes four times as wide. The two matrices in here are two thirds of a "
        "layer's weights.",
    ),
    at(
        "CLIPMLP.forward: hidden_states = self.activation_fn",
        "Which function this is, the configuration says (`hidden_act`). OpenAI's CLIP was trained "
        "with quick_gelu. With gelu nothing fails, and every vector comes out slightly different.",
    ),
    at(
        "CLIPMLP.forward: hidden_states = self.fc2",
        "It goes back to the width of the stream, so that the layer can add it. In all of the MLP "
        "no token hears of another.",
    ),
]

_EAGER = "eager_attention_forward: "
_CLASS = "CLIPAttention.forward: "

ATTENTION: list[Remark] = [
    at(
        _CLASS + "def forward",
        "Attention can run in several ways. The eager way forms the attention weights, so that we "
        "can look at them. The default is SDPA: one kernel that computes the same and never holds "
        "the weights.",
    ),
    either(
        _CLASS + "queries = self.q_proj",
        _CLASS + "query_states = self.q_proj",
        said="Three matrices read the same tokens. A query says what a token looks for, a key what "
        "it has to offer, and a value what it will hand over.",
    ),
    either(
        _CLASS + "queries = queries.view",
        _CLASS + "query_states = self._shape",
        said="First the channels are cut into heads, then heads and tokens change places. Going to "
        "the final shape with one `view` would run as well, and mix up the tokens.",
    ),
    either(
        _EAGER + "attn_weights = torch.matmul",
        _CLASS + "attn_weights = torch.bmm",
        said="Each query meets each key, in every head by itself. The factor 1/√head_dim keeps the "
        "scores small enough for the softmax; 4.49 has put it into the queries already.",
    ),
    either(
        _EAGER + "if attention_mask is not None",
        _CLASS + "if attention_mask is not None",
        said="The vision tower has no mask. The text tower's mask is added to the scores: 0 where "
        "a token may look, and a very large negative number where it may not.",
    ),
    either(
        _EAGER + "attn_weights = nn.functional.softmax",
        _CLASS + "attn_weights = nn.functional.softmax",
        said="Each row becomes weights that sum to 1.",
    ),
    either(
        _EAGER + "attn_weights = nn.functional.dropout",
        _CLASS + "attn_probs = nn.functional.dropout",
        said="This is the only dropout in the model. Its share is 0 in OpenAI's checkpoints and in "
        "ours, so nothing happens here, even in training.",
    ),
    either(
        _EAGER + "attn_output = torch.matmul",
        _CLASS + "attn_output = torch.bmm",
        said="A mean of the values, weighted by attention. Nowhere else in the encoder does one "
        "token hear of another.",
    ),
    at(
        _CLASS + "attn_output = self.out_proj",
        "The heads lie side by side again, and this matrix mixes what they found.",
    ),
]

_LAYER = "CLIPEncoderLayer.forward: "

LAYER: list[Remark] = [
    at(
        _LAYER + "residual = hidden_states",
        [
            "The stream is put aside. What follows computes a correction to it.",
            "The same once more, now with attention's correction in the stream.",
        ],
    ),
    at(
        _LAYER + "hidden_states = self.layer_norm1",
        "The norm comes first: attention reads a normalised copy, and the stream stays as it is.",
    ),
    at(
        _LAYER + "hidden_states, ",
        "Attention mixes the tokens. It returns its weights as well, or None where they were never "
        "formed.",
    ),
    at(
        _LAYER + "hidden_states = residual + hidden_states",
        [
            "The correction is added to the stream as it was before the norm.",
            "And so is the MLP's. Between the layers the stream is never normalised, and can grow.",
        ],
    ),
    at(
        _LAYER + "return",
        "In 4.49 and 4.57 this is a tuple, from 5.5 on a tensor. Code that takes `[0]` of it works "
        "with the tuple. Of the tensor it takes the first image of the batch.",
    ),
]

_ENCODER = "CLIPEncoder.forward: "

ENCODER: list[Remark] = [
    at(
        _ENCODER + "hidden_states = inputs_embeds",
        "What comes in has been embedded already. The encoder never sees a pixel or a token id, "
        "and so one class serves both towers.",
    ),
    at(
        _ENCODER + "for ",
        "All layers are made alike, and each has weights of its own.",
    ),
    either(
        _ENCODER + "hidden_states = encoder_layer",
        _ENCODER + "layer_outputs = encoder_layer",
        said="What one layer returns is what the next one reads. The shape never changes on the "
        "way.",
    ),
    at(
        _ENCODER + "return BaseModelOutput(",
        "In 4.49 and 4.57 the loop above also collects the states of all layers, if asked to. "
        "From 5.5 on it collects nothing: the tower has hooks on its layers that do.",
    ),
]
