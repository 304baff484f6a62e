"""The EM loop: restarts, convergence, history, progress. It knows no model."""
