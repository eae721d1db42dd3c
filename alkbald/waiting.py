"""How PyTorch's threads wait for each other: set for this process and its children when this module is imported.

Entry points import it before PyTorch, whose OpenMP library (GNU's, libgomp) reads the environment once. By default its
threads spin for milliseconds before they sleep, and so take the time of other runs on the same cores. A short spin
costs a run alone nothing that was measured, and lets two runs share the cores (results/bench_sharing). A library must
not change its user's environment: `alkbald` itself does not import this.

[libgomp] GNU libgomp manual, environment variables, GOMP_SPINCOUNT and OMP_WAIT_POLICY.
"""

import os

#: Variables by which users choose how threads wait; such a choice is kept.
CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
#: Turns of the loop that a thread waits in before it sleeps.
SPIN_COUNT = "1000"

if not any(name in os.environ for name in CHOICES):
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
