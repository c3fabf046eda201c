"""The loop itself, free of any kind: queue, workers, back-off, results, resync."""
