"""Wrong answers to the exercises of chapter 14, and a part of what each is told."""


def shares(features, texts, right, written, divide=True):
    nearest = (features @ texts.T).argmax(1)
    hits = [(nearest == wanted).float().sum() for wanted in (right, written)]
    return [hit / len(features) if divide else hit for hit in hits]


def of_all(probabilities, labels, threshold):
    highest, answers = probabilities.max(1)
    answered = highest >= threshold
    return answered.float().mean(), ((answers == labels) & answered).float().mean()


def above(probabilities, labels, threshold, or_equal=False):
    highest, answers = probabilities.max(1)
    answered = highest >= threshold if or_equal else highest > threshold
    right = (answers == labels)[answered].float()
    return answered.float().mean(), right.mean() if or_equal or len(right) else 0.0


def in_two_groups(features, wanted, unwanted):
    bad = features @ unwanted
    return (features @ wanted - 3.0 * (bad > bad.median())).argsort(descending=True)


WRONG = [
    ("14.1", lambda *given: shares(*given)[::-1], "are interchanged"),
    ("14.1", lambda *given: shares(*given, divide=False), "Those are numbers of images"),
    ("14.1", lambda *given: (1.0, 0.0), "Compare the nearest text"),
    ("14.1", lambda *given: [0.3], "Two shares are asked for"),
    ("14.2", of_all, "Only the answered ones count"),
    ("14.2", above, "at least, not more than"),
    ("14.2", lambda *given: above(*given, or_equal=True), "both numbers are 0"),
    ("14.2", lambda *given: (1.0, 0.4), "three are answered"),
    ("14.3", lambda *given: in_two_groups(*given).flip(0), "upside down"),
    ("14.3", lambda f, good, bad: (f @ good).argsort(descending=True), "has no part in it"),
    ("14.3", lambda f, g, b: (f @ g - f @ b).argsort(descending=True), "however well they fit"),
    ("14.3", lambda f, good, bad: (f @ bad).argsort(), "below the median"),
    ("14.3", lambda *given: in_two_groups(*given)[:3], "Each image's number"),
]
