"""What the experiments beyond single runs compute, and how it is recorded."""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)
