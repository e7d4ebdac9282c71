"""Where runs lie: places on a disk or in an object store, files and lines in them, locks, waiting for a storage."""
