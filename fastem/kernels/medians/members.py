"""The rows of clusters, listed cluster by cluster."""

import numpy as np

from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

# Places that two threads write all the time lie so far apart, two cache lines.
SPACING = 32


@kernel
def count_members(tickets, n_chunks, chunk_rows, labels, sample_weight, counts):
    """Each chunk's number of rows of positive weight in each cluster.

    Parameters
    ----------
    labels : int32 array of shape (n_rows,)
    sample_weight : float64 array of n_rows values, or of none
    counts : int64 array of shape (n_chunks, n_clusters)
    """
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        own_counts = np.zeros(counts.shape[1], np.int64)  # whose cache lines no other thread writes
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
            if len(sample_weight) == 0 or sample_weight[row] > 0.0:
                own_counts[labels[row]] += 1
        write_row(own_counts, counts, chunk)


@kernel
def list_members(tickets, n_chunks, chunk_rows, labels, sample_weight, wanted, places, members):
    """Write the rows of positive weight of the wanted clusters to where their chunk's begin.

    Parameters
    ----------
    labels : int32 array of shape (n_rows,)
    sample_weight : float64 array of n_rows values, or of none
    wanted : bool array of shape (n_clusters,)
    places : int64 array of shape (n_chunks, n_clusters)
        Where each chunk's rows of each cluster begin among the members.
    members : int32 array
        Behind all members are ``SPACING`` more places for each chunk.
    """
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        next_place = places[chunk].copy()
        # Unwanted rows are written, too, to a place of the chunk's own: a branch would often be
        # predicted wrongly. Unsigned indices need no test for being negative.
        nowhere = len(members) - (n_chunks - chunk) * SPACING
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
            label = np.uint32(labels[row])
            listed = wanted[label]
            if len(sample_weight) > 0:
                listed &= sample_weight[row] > 0.0
            place = next_place[label]
            next_place[label] = place + listed
            members[np.uint64(place if listed else nowhere)] = row


@kernel
def room_for_members(wanted, counts):
    """Where the rows of the wanted clusters are to be listed.

    Parameters
    ----------
    wanted : bool array of shape (n_clusters,)
    counts : int64 array of shape (n_chunks, n_clusters)
        From :func:`count_members`.

    Returns
    -------
    places : int64 array of shape (n_chunks, n_clusters)
        Where each chunk's rows of each cluster begin.
    members : int32 array
        Not yet written, for :func:`list_members`.
    starts : int64 array of shape (n_clusters + 1,)
        Where each cluster's rows begin.
    """
    n_chunks, n_clusters = counts.shape
    places, starts = np.empty_like(counts), np.empty(n_clusters + 1, np.int64)
    place = 0
    for j in range(n_clusters):
        starts[j] = place
        for chunk in range(n_chunks):
            places[chunk, j] = place
            if wanted[j]:
                place += counts[chunk, j]
    starts[n_clusters] = place
    return places, np.empty(place + n_chunks * SPACING, np.int32), starts


def members_of(wanted, labels, sample_weight, chunk_rows, counts):
    """The rows of some clusters, in order.

    Parameters
    ----------
    wanted : ndarray of shape (n_clusters,), bool
    labels : ndarray of shape (n_rows,), int32
    sample_weight : ndarray of shape (n_rows,) or (0,), float64
        Rows of weight zero are no members.
    chunk_rows : int
    counts : ndarray of shape (n_chunks, n_clusters), int64
        From :func:`count_members`.

    Returns
    -------
    members : ndarray of int32
        The rows, cluster by cluster, and some more values.
    starts : ndarray of shape (n_clusters + 1,), int64
        Where each cluster's begin.
    """
    places, members, starts = room_for_members(wanted, counts)
    n_chunks = len(counts)
    run(
        list_members,
        n_chunks,
        chunk_rows,
        labels,
        sample_weight,
        wanted,
        places,
        members,
    )
    return members, starts
