"""Wrong answers to the exercises of chapter 16, and a part of what each is told."""

import torch


def put(words, patches, ids, image_id, in_place=False, order=None, everywhere=False):
    row = words if in_place else words.clone()
    vectors = patches if order is None else patches.flip(order)
    row[ids == image_id] = vectors.flatten(0, 1)
    if everywhere:
        row = row + 1.0 * (ids != image_id)[..., None]
    return row


def fixed(ids, image_id, n, at_end=False, drop=False):
    rows = []
    for row in ids:
        words = row[row != image_id]
        first = len(words) if at_end else int((row == image_id).nonzero()[0, 0])
        if drop:
            words = words[:1]
        rows.append(torch.cat([words[:first], torch.full((n,), image_id), words[first:]]))
    return rows


def said(logits, ids, end, limit, prompt=False, with_end=False, last_only=False, more=0):
    row, new = list(ids), []
    for _ in range(limit + more):
        token = int(logits(row[-1:] if last_only else row).argmax())
        if token == end:
            return new + [end] * with_end
        row.append(token)
        new.append(token)
    return row if prompt else new


def grown(logits, ids, end, limit):
    new = []
    while len(new) < limit and int(logits(ids).argmax()) != end:
        new.append(int(logits(ids).argmax()))
        ids.append(new[-1])
    return new


WRONG = [
    ("16.1", lambda *given: put(*given, in_place=True), "changes the tensor that it was given"),
    ("16.1", lambda words, *_: words.clone(), "still have their own vectors"),
    ("16.1", lambda *given: put(*given, order=0), "not in their order"),
    ("16.1", lambda *given: put(*given, order=1), "not in their order"),
    ("16.1", lambda *given: put(*given, everywhere=True), "Words have changed"),
    ("16.1", lambda words, patches, *_: torch.cat([words, patches], 1), "nothing is added"),
    ("16.2", lambda ids, *_: list(ids), "A row has 3 image tokens; each needs 4"),
    ("16.2", lambda *given: fixed(*given, at_end=True), "stay where they stood"),
    ("16.2", lambda *given: fixed(*given, drop=True), "All others than the image tokens stay"),
    ("16.2", lambda ids, *_: fixed(ids, 7, 4), "your function raised IndexError"),
    ("16.3", lambda *given: said(*given, last_only=True), "with the whole row so far"),
    ("16.3", lambda *given: said(*given, with_end=True), "The end is not a part"),
    ("16.3", lambda f, ids, *rest: ids + said(f, ids, *rest), "without the prompt"),
    ("16.3", lambda f, ids, end, limit: said(f, ids, end, limit - 8), "then the end; it was"),
    ("16.3", lambda *given: said(*given, more=1), "the loop has to stop"),
    ("16.3", grown, "has grown"),
    ("16.2", lambda ids, *given: fixed(ids[:2], *given), "There are 3 prompts, and 2"),
]
