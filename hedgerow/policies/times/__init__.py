"""Schedules, days, budgets and the closures that follow from them. Pure: time is an argument."""
