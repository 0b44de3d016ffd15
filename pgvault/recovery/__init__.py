"""What can be recovered, and by which way: facts, the recovery window, the plan of a restore. Changes nothing."""
