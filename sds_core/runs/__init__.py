"""A run as a folder and a process: configuration, record, worker; and the experiments that runs belong to."""
