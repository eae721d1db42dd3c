"""What the benchmarks of scripts/ share: timing, reports, trained models, and the reference code beside ours."""
