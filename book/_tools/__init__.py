"""The programs that make the book, each started as `python book/_tools NAME`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "_build"
