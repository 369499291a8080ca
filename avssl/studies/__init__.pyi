from .budget import fit_cost as fit_cost
from .plans import Plan as Plan
from .tables import plan_tables as plan_tables
from .transfer import run_plan as run_plan
