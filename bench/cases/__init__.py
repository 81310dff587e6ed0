"""What is measured, a module each: ``run(plan)`` gives a table."""
