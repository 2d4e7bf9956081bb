"""The commands: a file for each. They parse, call one library function, and report."""
