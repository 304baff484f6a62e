"""What every kernel stands on: compiling, the cache on disk, threads, chunks, input."""
