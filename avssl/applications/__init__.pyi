from .anomaly.finding import find_odd as find_odd
from .anomaly.measuring import one_class as one_class
from .cluster.clustering import cluster_videos as cluster_videos
from .compare.measuring import compare_runs as compare_runs
from .detection import auroc as auroc
from .fewshot import few_shots as few_shots
from .robustness.measuring import measure_robustness as measure_robustness
from .splice.finding import find_splice as find_splice
