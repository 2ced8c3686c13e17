"""The paper's comparisons: studies of cells, each made by commands that a user can repeat."""
