"""The Node slice: one object per agent that tells who it is and what its host has."""
