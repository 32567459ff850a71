"""What the notes of an annotation say, and whether hooks say the same."""

from clipnotes.trace import trace


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


def assert_same_calls(notes, model, inputs):
    """Compare deep notes with the calls that hooks see, and return how many were compared."""
    folded = [one for one in notes.walk() if one.title.endswith(".forward")]
    calls = [call for call in trace(model, **inputs).walk() if call.file is not None]
    by_path = {}
    for call in calls:
        by_path.setdefault(call.path, []).append(call)
    for one in folded:
        # The first of them is shown; a module can be called more than once.
        mine = one.to_dict()
        assert one.path in by_path, f"hooks saw no call of {one.path}"
        assert any(_alike(mine, call) for call in by_path[one.path]), (one.path, mine["arguments"])
    shown = {one.path for one in folded}
    for call in calls:
        assert call.path in shown or _in_a_fold(call.path, folded), f"{call.path} is not there"
    assert sum(one.times * _folds_above(one, folded) for one in folded) == len(calls)
    return len(folded)


def _alike(mine, call):
    given = {name: value.to_dict() for name, value in call.arguments.items()}
    both = set(given) & set(mine["arguments"])
    same_place = (mine["file"], mine["line"]) == (call.file, call.line)
    return same_place and all(_shape(mine["arguments"][n]) == _shape(given[n]) for n in both)


def _shape(value):
    return value.get("shape") or {k: _shape(v) for k, v in (value.get("fields") or {}).items()}


def _in_a_fold(path, folded):
    for one in folded:
        first, last = one.path, one.last_path
        stem, _, start = first.rpartition(".")
        if first == last or not start.isdigit():
            continue
        rest = path.removeprefix(f"{stem}." if stem else "")
        number = rest.partition(".")[0]
        if number.isdigit() and int(start) < int(number) <= int(last.rpartition(".")[2]):
            return True
    return False


def _folds_above(one, folded):
    """How many calls stand in one that is inside of folded ones."""
    product = 1
    for above in folded:
        if above is not one and any(below is one for below in above.walk()):
            product *= above.times
    return product
