"""Custom task graphs: from a row in a YAML file to a row in results.csv."""
