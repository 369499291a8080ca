from .compare.measuring import compare_runs as compare_runs
from .detection import auroc as auroc
from .robustness.measuring import measure_robustness as measure_robustness
