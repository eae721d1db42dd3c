"""What the benchmarks of scripts/ share: timing, reports, trained models, and the reference code beside ours."""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)
