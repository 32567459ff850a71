"""The text tower: where vectors could get in, the mask, and where a text ends."""

from clipnotes.remarks.places import Remark, at, either

_HERE = "CLIPTextEmbeddings.forward: "

EMBEDDINGS: list[Remark] = [
    at(
        _HERE + "def forward",
        "Transformers' own code passes the first two of these. `inputs_embeds` is offered here, "
        "and no caller hands one on.",
    ),
    at(
        _HERE + "if seq_length > max_position_embedding",
        "There is a position vector for each place up to the limit, 77 in OpenAI's models, and "
        "none beyond it.",
    ),
    at(
        _HERE + "position_ids = self.position_ids",
        "A buffer that counts 0, 1, 2, ..., cut to the length of this batch.",
    ),
    at(
        _HERE + "inputs_embeds = self.token_embedding",
        "Each id picks a row of the table. A learnable prompt needs vectors of its own in some of "
        "these places, and this is the last moment for it: ids in, vectors out.",
    ),
    at(
        _HERE + "embeddings = inputs_embeds + position_embeddings",
        "The positions are added to whatever is there. Vectors that you pass must come without "
        "them.",
    ),
]

_PLACES = ("CLIPTextTransformer.forward: ", "CLIPTextModel.forward: ")


def _tower(*beginnings: str, said: str | list[str]) -> Remark:
    return either(*(place + one for one in beginnings for place in _PLACES), said=said)


TOWER: list[Remark] = [
    _tower(
        "if input_ids is None",
        said="The ids are needed twice: for the embeddings, and at the end to find where the text "
        "stops. That is why vectors alone would not do.",
    ),
    _tower(
        "hidden_states = self.embeddings",
        said="This is the line that leaves out `inputs_embeds`. A learnable prompt has to get past "
        "it.",
    ),
    _tower(
        "attention_mask = create_causal_mask",
        "causal_attention_mask = _create_4d_causal_attention_mask",
        said="Nobody may look ahead, as in a language model. So the end token is the only one that "
        "has seen the whole text.",
    ),
    _tower(
        "encoder_outputs",
        said="The encoder is the vision tower's class. The mask makes the difference.",
    ),
    _tower(
        "last_hidden_state = self.final_layer_norm",
        said="Here all tokens are normalised, and before pooling. In the vision tower it is the "
        "pooled vector alone.",
    ),
    _tower(
        "if self.eos_token_id == 2",
        said="Old configurations give 2 as the end token, OpenAI's among them, and that was never "
        "right. For them the largest id counts as the end, until somebody adds a token whose id is "
        "larger.",
    ),
    _tower(
        "pooled_output = last_hidden_state[",
        said=[
            "The row of the largest id.",
            "The row of the first end token; those behind it are padding. In a text without an end "
            "every comparison gives 0, `argmax` says 0, and the start token is pooled.",
        ],
    ),
]

MASK: list[Remark] = [
    {
        "create_causal_mask: causal_mask = mask_interface": "The mask is made in the form that the "
        "attention function wants: yes and no for SDPA, numbers to add for eager.",
        "_create_4d_causal_attention_mask: attention_mask = attn_mask_converter": "In these "
        "versions the causal mask knows nothing of padding. The tower makes a second mask for "
        "that, and attention adds both.",
    },
    {
        "sdpa_mask: if padding_mask is not None": "Padding goes into the same mask, so one is "
        "enough.",
        "AttentionMaskConverter._make_causal_mask: mask = torch.full": "At first everything is "
        "forbidden, with the smallest number that the dtype has. The softmax makes 0 of it.",
    },
    {
        "sdpa_mask: attention_mask = mask_function": "A token at q may look at k if k is not "
        "larger than q. All pairs are compared at once, a column of q with a row of k.",
        "AttentionMaskConverter._make_causal_mask: mask.masked_fill_(mask_cond": "Allowed, that "
        "is 0, is every place up to the token's own: the diagonal and all below it.",
    },
]
