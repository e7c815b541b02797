"""Processes that work for another: started, spoken to in JSON lines, never left behind.

`environment` is what they run in, `parent` the side of the one that started them, `child` theirs.
Stopping is killing: whatever they leave is good at every moment, so there is one way to stop, the
way that must work anyway, and no other to get wrong.
"""
