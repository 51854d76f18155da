"""What time does to a policy: schedules, days, budgets, and what ends when. Pure: the moment is an argument."""
