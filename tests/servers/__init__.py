"""Real model servers on loopback for the tests: llama.cpp's own, and Ollama's API in front of it."""
