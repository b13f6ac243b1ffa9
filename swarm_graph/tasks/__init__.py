"""Custom task graphs: from a YAML row to a result row."""
