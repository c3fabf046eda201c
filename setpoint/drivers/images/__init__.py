"""Images on this node: archives that are loaded, registries that are pulled from, files read out of a root file system."""
