"""Contract test classes: what every accessor and every volume source has to do.

A new implementation is tested by a sub-class with one fixture. Needs pytest.
"""
