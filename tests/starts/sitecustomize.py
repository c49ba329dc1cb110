"""Python reads this at its start where the folder is on PYTHONPATH: what tests start looks for garbage rarely.

Airflow, Triton's model processes and others import for seconds, a third of which such looks took.
"""

import gc

gc.set_threshold(50_000, 20, 20)
