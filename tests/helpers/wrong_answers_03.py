"""Wrong answers to the exercises of chapter 3, and a part of what each is told."""

import torch


def not_scaled(q, k, v):
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def scaled_by_the_width(q, k, v):
    return (q @ k.transpose(-1, -2) / q.shape[-1]).softmax(-1) @ v


def over_those_who_ask(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-2) @ v


def no_softmax(q, k, v):
    return q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 @ v


def only_the_weights(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


def rows_of_the_weight(mixed, weight, h):
    return mixed[:, h] @ weight.split(mixed.shape[-1], dim=0)[h]


def every_so_many(mixed, weight, h):
    return mixed[:, h] @ weight[:, h :: mixed.shape[1]].T


def always_head_0(mixed, weight, h):
    return mixed[:, h] @ weight[:, : mixed.shape[-1]].T


def nobody_looks_at_the_class_token(n):
    mask = torch.zeros(n, n)
    mask[1:, 0] = -torch.inf
    return mask


def the_class_token_looks_nowhere(n):
    mask = torch.zeros(n, n)
    mask[0] = -torch.inf
    return mask


def ones_and_zeros(n):
    mask = torch.ones(n, n)
    mask[0, 1:] = 0
    return mask


def everybody_alone(n):
    return torch.full((n, n), -torch.inf).fill_diagonal_(0)


def the_others_alone(n):
    mask = torch.full((n, n), -torch.inf).fill_diagonal_(0)
    mask[:, 0] = 0
    return mask


def post_norm(x, attention, mlp, norm1, norm2):
    x = norm1(x + attention(x))
    return norm2(x + mlp(x))


def without_norms(x, attention, mlp, norm1, norm2):
    x = x + attention(x)
    return x + mlp(x)


def side_by_side(x, attention, mlp, norm1, norm2):
    return x + attention(norm1(x)) + mlp(norm2(x))


def attention_not_added(x, attention, mlp, norm1, norm2):
    x = attention(norm1(x))
    return x + mlp(norm2(x))


def mlp_not_added(x, attention, mlp, norm1, norm2):
    return mlp(norm2(x + attention(norm1(x))))


def norms_interchanged(x, attention, mlp, norm1, norm2):
    x = x + attention(norm2(x))
    return x + mlp(norm1(x))


WRONG = [
    ("3.1", not_scaled, "still grow with the width"),
    ("3.1", scaled_by_the_width, "not what PyTorch's"),
    ("3.1", over_those_who_ask, "over the wrong axis"),
    ("3.1", no_softmax, "no weights yet"),
    ("3.1", only_the_weights, "These are the weights"),
    ("3.1", lambda q, k, v: torch.zeros(1), "The shape is (1,)"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + 4 * D, "the biases of the linear layers"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + M + 5 * D, "as two norms have"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + 8 * D, "of the MLP's two linear layers"),
    ("3.2", lambda D, M: 3 * D * D + 2 * D * M + M + 8 * D, "one linear layer of attention"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + M + 7 * D, "each can stretch and can shift"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + M + 10 * D, "too many, by 8"),
    ("3.2", lambda D, M: 0, "too few, by"),
    ("3.3", rows_of_the_weight, "You cut the rows"),
    ("3.3", every_so_many, "channels are neighbours"),
    ("3.3", always_head_0, "right for head 0 only"),
    ("3.3", lambda mixed, weight, h: torch.zeros(2, 5, 12), "The share of head 0 is not right"),
    ("3.4", nobody_looks_at_the_class_token, "Rows ask, columns answer"),
    ("3.4", the_class_token_looks_nowhere, "its softmax is NaN"),
    ("3.4", ones_and_zeros, "A mask is added to the scores"),
    ("3.4", lambda n: ones_and_zeros(n).bool(), "A mask is added to the scores"),
    ("3.4", everybody_alone, "may not look at the class token"),
    ("3.4", the_others_alone, "does not see all"),
    ("3.4", lambda n: torch.zeros(n, n), "still looks at others"),
    ("3.4", lambda n: torch.zeros(n), "a mask of shape (6, 6)"),
    ("3.5", post_norm, "That is post-norm"),
    ("3.5", without_norms, "Nothing is normalised"),
    ("3.5", side_by_side, "before attention was added"),
    ("3.5", attention_not_added, "What attention found is not added"),
    ("3.5", mlp_not_added, "What the MLP found is not added"),
    ("3.5", norms_interchanged, "interchanged"),
    ("3.5", lambda x, attention, mlp, norm1, norm2: x + attention(norm1(x)), "still to come"),
    ("3.5", lambda x, *parts: x, "not what a layer of transformers gives"),
]
