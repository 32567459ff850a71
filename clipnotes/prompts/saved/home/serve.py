"""Name images with the classifier in this folder.

To run it: python serve.py IMAGE... It needs numpy, pillow and onnxruntime, and nothing else. Each
line of the answer is the image, its class and the probability of that class, with tabs between.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def preprocess(image: Any, how: dict[str, Any]) -> np.ndarray:
    """Make pixels, (1, 3, height, width) float32, of an image, by what ``classifier.json`` says."""
    if image.mode.startswith("I") or image.mode == "F":  # convert() would make them white
        raise ValueError(f"an image of mode {image.mode}, with more than 8 bits: save it in 8 bits")
    image = ImageOps.exif_transpose(image).convert("RGBA")
    below = Image.new("RGBA", image.size, how["background"])
    image = Image.alpha_composite(below, image).convert("RGB")
    if resize := how["resize"]:
        width, height = resize.get("width"), resize.get("height")
        if edge := resize.get("shortest_edge"):
            short, long = min(image.size), int(edge * max(image.size) / min(image.size))
            width, height = (edge, long) if image.width == short else (long, edge)
        image = image.resize((width, height), Image.Resampling[resize["resampling"].upper()])
    if crop := how["crop"]:
        left, top = (image.width - crop["width"]) // 2, (image.height - crop["height"]) // 2
        image = image.crop((left, top, left + crop["width"], top + crop["height"]))
    pixels = np.asarray(image, np.float32) * how["rescale"]  # (height, width, 3)
    pixels = (pixels - how["mean"]) / how["std"]
    return pixels.transpose(2, 0, 1)[None].astype(np.float32)  # (1, 3, height, width)


def main(paths: list[str]) -> None:
    """Print the class of each image."""
    import onnxruntime

    folder = Path(__file__).parent
    card = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(
        str(folder / card["file"]), providers=["CPUExecutionProvider"]
    )
    for path in paths:
        with Image.open(path) as image:
            pixel_values = preprocess(image, card["preprocessing"])
        ((probabilities,),) = session.run(["probabilities"], {"pixel_values": pixel_values})
        best = int(probabilities.argmax())
        print(f"{path}\t{card['labels'][best]}\t{probabilities[best]:.6f}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(sys.argv[1:])
