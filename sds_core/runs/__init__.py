"""One experiment is a folder and a process: configuration, record, worker, export."""
