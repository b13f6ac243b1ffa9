"""Sessions on many machines: a queue of jobs in PostgreSQL, and the workers that do them."""
