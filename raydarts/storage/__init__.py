"""Where runs are stored: places on a disk or in an object store, files and lines, locks, retries."""
