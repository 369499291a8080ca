from .budget import fit_cost as fit_cost
from .correlation import rank_correlation as rank_correlation
from .correlation import rank_correlations as rank_correlations
from .plans import Plan as Plan
from .tables import plan_tables as plan_tables
from .transfer import run_plan as run_plan
