"""How learners learn, and how good they are."""
