"""What learners leave behind: tensors with a card, and what the authors' own code wrote."""
