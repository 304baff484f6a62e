"""Says what a change makes slower: `python -m asv_benchmarks.gate`, see CONTRIBUTING.md."""
