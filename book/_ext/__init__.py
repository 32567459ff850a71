"""The Sphinx extensions of this book."""
