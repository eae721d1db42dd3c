"""From records to tables and figures."""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)
