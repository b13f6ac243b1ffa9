"""Running generated code in isolation: the sandboxes, and the program that runs the tests inside one."""
