"""Alarm logs of a plant."""
