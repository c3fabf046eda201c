"""containerd, through gRPC: records, tasks, execs, snapshots, images, content and events.

Translates types and errors; decides nothing. The other side is one containerd at one unix socket, and there one namespace.
"""
