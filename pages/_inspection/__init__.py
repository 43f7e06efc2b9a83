"""The parts of the Inspect page: each is a view of one stored question."""
