"""Wrong answers to the exercises of chapters 7 to 13, and a part of what each is told."""

WRONG: list = []
