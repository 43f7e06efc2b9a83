"""What users are promised, held against faults at random moments, load and hostile input.

These tests take minutes: `make trust` runs them, `make test` does not.
"""
