"""What all roles share: a declaration, one turn of asking a model, and reading its answer."""
