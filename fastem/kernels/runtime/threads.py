"""How many threads a run may use."""

import threading

import numba
import threadpoolctl
from numba.np.ufunc import parallel as numba_parallel


class _Limit(threading.local):
    """What ``threadpoolctl`` allows the calling thread."""

    n_threads = numba.config.NUMBA_NUM_THREADS


_limit = _Limit()


class FastemController(threadpoolctl.LibController):
    """Has ``threadpoolctl.threadpool_limits`` count, and ``threadpool_info`` tell of fastem.

    It only knows of shared libraries, and fastem has none: one that Numba always loads, under this
    name, stands in.
    """

    user_api = "fastem"
    internal_api = "fastem"
    filename_prefixes = ("_helperlib",)

    def get_num_threads(self):
        return _limit.n_threads

    def set_num_threads(self, num_threads):
        _limit.n_threads = max(int(num_threads), 1)

    def get_version(self):
        return None


threadpoolctl.register(FastemController)


def get_num_threads() -> int:
    """Number of threads the calling thread may use.

    The lesser of what Numba would use, by ``numba.set_num_threads`` or by default, and what
    ``threadpoolctl`` allows. Unlike ``numba.get_num_threads``, this neither starts one of Numba's
    threading layers nor fails where none can be loaded.
    """
    return min(_numbas(), _limit.n_threads)


def _numbas():
    if not getattr(numba_parallel, "_is_initialized", True):
        # Nothing was set: that would have started the layer.
        return numba.config.NUMBA_NUM_THREADS
    try:
        # Numba's public function takes a lock that a fork may have left held.
        n_threads = numba_parallel._get_num_threads()
    except AttributeError:
        n_threads = numba.get_num_threads()
    return n_threads if n_threads > 0 else numba.config.NUMBA_NUM_THREADS
