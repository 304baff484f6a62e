"""How rows are split into chunks: by the data's shape alone, never by the number of threads."""


def row_chunks(n_rows):
    """Rows per chunk and the number of chunks, for a pass over ``n_rows`` rows."""
    rows = min(max(n_rows // 64, 512), 16384) // 64 * 64
    return rows, -(-n_rows // rows)
