"""What OpenAI's own CLIP prints: its record, and the program that makes one."""
