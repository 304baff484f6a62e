"""What Numba emits of a function, in fewer of LLVM's instructions."""
