"""The disaster-recovery runbook of one configuration: what lies where, who opens it, and the commands to paste."""
