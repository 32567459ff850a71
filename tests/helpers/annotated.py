"""What the notes of an annotation say of one statement."""


def of(notes, beginning):
    """The notes of the statement that begins so."""
    notes = notes.to_dict()
    (found,) = (
        statement
        for statement in notes["statements"]
        if notes["lines"][statement["first"]].strip().startswith(beginning)
    )
    return found


def shapes(made):
    return {name: tuple(value["shape"]) for name, value in made.items()}
