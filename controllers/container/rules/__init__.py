"""One small pure function per rule: ``Situation -> Plan | None``. None leaves the answer to the next rule."""
