"""``python -m clipnotes`` is the command line."""

from clipnotes.cli import app

if __name__ == "__main__":
    app(prog_name="clipnotes")
