"""Reading the user's documents (PDF, Word, mail …) as text, in parts that fit a model."""
