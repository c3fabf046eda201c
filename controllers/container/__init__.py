"""The Container slice: one process tree and its sandbox, kept as declared.

``observe`` reads, ``decide`` chooses (pure), ``act`` changes through ``ports``, ``reconciler`` is the glue.
"""
