"""What all roles share; the nine themselves are in nodes/, their words in prompts/."""
