"""What the supported versions of transformers do: their pins, facts, outputs and page."""
