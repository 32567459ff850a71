"""Emoji-LLaVA: a small language model that sees through Emoji-CLIP's vision tower."""

from clipnotes.llava.loading import EmojiLlava, check_inputs, load_llava
from clipnotes.llava.questions import SORTS, Question, questions, words
from clipnotes.llava.scenes import COLOURS, PLACES, Scene, make_scenes
from clipnotes.llava.things import CORE, KINDS, NAMES

__all__ = [
    "COLOURS",
    "CORE",
    "KINDS",
    "NAMES",
    "PLACES",
    "SORTS",
    "EmojiLlava",
    "Question",
    "Scene",
    "check_inputs",
    "load_llava",
    "make_scenes",
    "questions",
    "words",
]
