"""Many runs compared: plans, budgets, audits and tables."""
