"""What an explorer's page holds, read back without a browser."""

import base64
import functools
import json
import re

import numpy as np


def data_of(html):
    """The numbers and names that the page's script reads."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', html)[1]
    )


@functools.lru_cache(maxsize=4)
def weights_of(html):
    """(n_layers, n_heads, N, N): attention weights as the page shows them."""
    data = data_of(html)
    flat = np.frombuffer(base64.b64decode(data["weights"]), np.uint8)
    n = round((len(flat) / len(data["layers"]) / data["heads"]) ** 0.5)
    return flat.reshape(len(data["layers"]), data["heads"], n, n) / 255


def similarity_of(html):
    """(n_depths, n_texts, N): cosines of tokens and texts."""
    data = data_of(html)
    flat = np.frombuffer(base64.b64decode(data["similarity"]), "<f4")
    return flat.reshape(-1, len(data["texts"]), data["grid"] ** 2 + 1)
