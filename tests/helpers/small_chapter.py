"""A chapter of two cells."""

CHAPTER = """\
---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
---

# A chapter

```{code-cell} ipython3
:tags: [hide-input]

1 + 1
```

Text in between.

```{code-cell} ipython3
2 + 2
```
"""
