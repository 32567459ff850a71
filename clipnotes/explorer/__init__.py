"""Interactive pages about attention: an image's patches, a text's tokens.

A page is one file that works by itself: it is plain JavaScript and sends no request anywhere.
"""

from clipnotes.explorer.page import Page
from clipnotes.explorer.picture import explore
from clipnotes.explorer.text import explore_text

__all__ = ["Page", "explore", "explore_text"]
